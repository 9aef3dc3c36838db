# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

RUN := PATH="$(CURDIR)/.venv/bin:$$PATH" ANSIBLE_COLLECTIONS_PATH="$(CURDIR)/.venv/collections"

.DEFAULT_GOAL := help
.PHONY: help venv lint units coverage live-coverage sanity nox integration molecule docs docs-tools page samples pictures role-docs monitoring torture quick test release-check
.PHONY: bench demo demo-down clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: .venv/.stamp ## create .venv with the tools of tests/requirements.txt

.venv/.stamp: tests/requirements.txt tests/tools/venv
	tests/tools/venv

lint: venv ## check style, types, YAML, Ansible content, changelog and licences; LINT=--some without playbooks that import ours
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) yamllint --strict .
	$(if $(LINT),,$(RUN) ansible-lint --offline --profile production $$(git grep -l 'import_playbook: mailops' -- '*.yml'))
	$(RUN) ansible-lint --offline --profile production
	$(RUN) antsibull-changelog lint
	$(RUN) reuse lint

units: venv ## run the unit tests
	$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" pytest tests/unit

coverage: venv ## list the lines of plugins/ that no unit test runs; what talks to Dovecot is for the integration tests
	mkdir -p .build
	$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" COVERAGE_FILE=.build/coverage \
		coverage run --branch --include 'plugins/*,extensions/eda/*' -m pytest -q tests/unit
	$(RUN) COVERAGE_FILE=.build/coverage coverage report --skip-covered --show-missing --sort cover

live-coverage: venv ## list the lines of plugins/ that no test runs, neither a unit test nor one with live hosts, on Debian 12 and 13
	$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" python tests/tools/live_coverage.py

sanity: venv ## run ansible-test sanity on a copy in .build; SANITY="--core 2.16" for another ansible-core, SANITY=--some without pylint
	$(RUN) python tests/tools/sanity.py $(SANITY)

nox: venv ## check what all collections are to keep to, with antsibull-nox; NOX="-l" for its list, NOX="-e NAME" for one
	$(RUN) python -m pip install --quiet --disable-pip-version-check -r tests/tools/nox-requirements.txt
	$(RUN) nox $(NOX)

integration: venv ## run the integration tests against Dovecot pairs; one that fails is run again, and named at the end
	$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" pytest -v --durations 100 --numprocesses 3 \
		-o verbosity_assertions=2 --reruns 1 --rerun-show-tracebacks -rfER tests/integration

molecule: venv ## run the molecule scenarios on all releases; MOLECULE=SCENARIO:RELEASE for one
	$(RUN) python tests/tools/run_molecule.py $(MOLECULE)

docs: .venv/.docs-stamp ## build the site of docs/ into .build/site, with the reference from the code, and check its links
	$(RUN) python tests/tools/docs.py

docs-tools: .venv/.docs-stamp

.venv/.docs-stamp: .venv/.stamp docs/requirements.txt
	$(RUN) python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	touch $@

pictures: .venv/.docs-stamp ## write the pictures of runs in docs/pictures, from runs against a pair of its own
	$(RUN) python tests/tools/pictures.py

page: venv ## look at the page of the playbook report in Chromium, with axe-core; writes docs/pictures/page.png
	$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" python tests/tools/look_at_page.py

samples: venv ## write the tables and outputs in docs/ that come from test runs, and the pattern that comes from awx/
	$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" MAILOPS_UPDATE_DOCS=1 pytest tests/unit/test_awx_objects.py
	$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" MAILOPS_UPDATE_DOCS=1 \
		pytest -v --numprocesses 2 -m "not torture" tests/integration/test_verify.py \
		tests/integration/test_playbooks.py tests/integration/test_plan.py

role-docs: venv ## write the defaults and the variables in the README of the role from its argument_specs.yml
	$(RUN) python tests/tools/role_docs.py

monitoring: venv ## write the programs that the roles install on hosts, and rules, tests and dashboard in extensions/monitoring
	$(RUN) python tests/tools/standalone.py
	$(RUN) python tests/tools/monitoring.py

torture: venv ## what takes too long for test, resumable: faults, load, secrets, every Dovecot; TORTURE="TEXT ..." for some
	@$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" python tests/tools/torture.py $(TORTURE)

quick: venv ## the first check while you work: style, types, units and one live pair, which stays
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" pytest -q --numprocesses 2 tests/unit
	$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" MAILOPS_LAB_RELEASES=bookworm-backports MAILOPS_LAB_KEEP=1 \
		pytest -q tests/integration/test_replicator_user.py tests/integration/test_role.py tests/integration/test_runs.py

test: venv ## run lint, docs, units, sanity without pylint, and integration, and print a summary
	@$(RUN) python tests/tools/run_all.py

release-check: venv ## what a release needs beyond test: package, importer, versions; RELEASE="PART ..." for less
	@$(RUN) python tests/tools/release_check.py $(RELEASE)

bench: venv ## measure against a live Dovecot and write docs/benchmarks.md; BENCH=--full for more rounds
	$(RUN) python -m pip install --quiet --disable-pip-version-check -r tests/bench/requirements.txt
	$(RUN) PYTHONPATH="$(CURDIR)/.venv/collections" python tests/bench/bench.py $(BENCH)

demo: venv ## start a Dovecot pair to play with
	@$(RUN) python tests/lab/demo.py

demo-down: venv ## stop the pair that demo started
	@$(RUN) python tests/lab/demo.py --down

clean: ## remove .venv, .build and tool caches
	rm -rf .venv .build .ansible .pytest_cache .ruff_cache
