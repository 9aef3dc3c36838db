# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of the role's variables is said in one place, and of exactly those that there are."""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "replication"
sys.path.insert(0, str(ROOT / "tests" / "tools"))

import role_docs  # noqa: E402

OPTIONS = {name: spec for section in role_docs.read().values() for name, spec in section.items()}
# A fact that it sets, and a setting of Dovecot.
NO_VARIABLES = {"replication_findings", "replication_sync_timeout"}


def test_readme_and_defaults_are_what_is_written_of_the_specification():
    for path, text in role_docs.written().items():
        assert path.read_text() == text, f"{path.name} is not what `make role-docs` writes"


def test_the_defaults_are_those_of_the_specification():
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    assert defaults == {name: spec["default"] for name, spec in OPTIONS.items() if "default" in spec}


def test_each_variable_of_the_role_is_described_and_used():
    used = set()
    for path in ROLE.rglob("*"):
        if path.parent.name in ("tasks", "handlers", "vars", "templates"):
            # Not what is its own (__replication_...), nor a module (mailops.dovecot_replication.replication_...).
            used |= set(re.findall(r"(?<![\w.])replication_\w+|(?<=side[.])replication_\w+", path.read_text()))
    # What decides for the role reads them as fields of a Side, or as the keys of a table.
    named = re.compile(r"(?:\b(?:self|side)[.]|^    \")(replication_\w+)", re.M)
    for name in ("_side", "_pair", "_refusals"):
        source = (ROOT / "plugins" / "plugin_utils" / f"{name}.py").read_text()
        used |= set(named.findall(source))
    assert used - NO_VARIABLES == set(OPTIONS)


def test_each_section_has_its_heading():
    readme = (ROLE / "README.md").read_text()
    titles = re.findall(r"# Section: (.+)", (ROLE / "meta" / "argument_specs.yml").read_text())
    assert len(titles) > 5 and list(role_docs.read()) == titles
    assert [title for title in re.findall(r"^### (.+)", readme, re.M) if title in titles] == titles
