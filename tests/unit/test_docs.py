# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation says of the repository is so."""

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from cores import BETWEEN, CORES, ENDS, NEWEST, OLDEST  # noqa: E402

COLLECTION = "mailops.dovecot_replication"
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
# Modules without the common options.
OTHERS = (
    "dovecot_config",
    "replication_adopt",
    "replication_configure",
    "replication_pair",
    "replication_plan",
    "replication_report",
    "replication_result",
    "replication_status",
    "replication_verify",
)
REPLICATOR_MODULES = [name for name in MODULES if name not in OTHERS]


def test_each_trap_has_a_test_that_exists():
    rows = [line for line in (ROOT / "docs" / "traps.md").read_text().splitlines() if line.startswith("| ")]
    named = [re.search(r"`(test_\w+\.py)::(test_\w+)` \|$", row) for row in rows if not row.startswith("| Dovecot |")]
    assert len(named) > 30 and all(named)
    for match in named:
        assert f"def {match[2]}(" in (ROOT / "tests" / "integration" / match[1]).read_text(), match[0]


def test_each_fault_has_tests_that_exist():
    rows = [line for line in (ROOT / "docs" / "reliability.md").read_text().splitlines() if line.startswith("| ")]
    tables = [row for row in rows if not row.startswith("| fault |")]
    assert len(tables) > 25
    for row in tables:
        column = row.rstrip("| ").rpartition(" | ")[2]
        named = re.findall(r"`(test_\w+\.py)?(?:::(test_\w+))?`( ◆)?", column)
        assert named and named[0][0], row
        path = None
        for file, test, left_out in named:
            path = next((ROOT / "tests").rglob(file)) if file else path
            assert path and (not test or f"def {test}(" in path.read_text()), (file, test)
            assert bool(left_out) == (is_left_out(path.read_text(), test) if test else False), (file, test)


def is_left_out(module, test):
    """Tell whether `make test` leaves a test out, by its own mark or by that of its module."""
    decorators = re.search(rf"((?:^@.*\n(?:^[ )].*\n)*)*)def {test}\(", module, re.M)[1]
    mark = r"pytest\.mark\.(torture|rare)$"
    return any(
        re.search(f"^{begin}{mark}", text, re.M) for begin, text in (("@", decorators), ("pytestmark = ", module))
    )


@pytest.mark.parametrize("name", MODULES)
def test_each_module_is_in_the_readme_and_has_examples(name):
    assert f"module `{name}`" in (ROOT / "README.md").read_text()
    assert len(yaml.safe_load(part(name, "EXAMPLES"))) >= 3


def part(name, which):
    """The text of a part of a module's documentation."""
    source = (ROOT / "plugins" / "modules" / f"{name}.py").read_text()
    return re.search(rf'{which} = r"""(.*?)"""', source, re.S)[1]


@pytest.mark.parametrize("name", MODULES)
def test_each_module_says_all_that_a_module_should_say(name):
    said = yaml.safe_load(part(name, "DOCUMENTATION"))
    fragments = said["extends_documentation_fragment"]
    assert said["module"] == name and said["version_added"] and said["author"] and said["seealso"]
    # check_mode, diff_mode, idempotent and platform, those of an info module from its fragment.
    assert f"{COLLECTION}.attributes" in fragments
    if f"{COLLECTION}.attributes.info_module" not in fragments:
        assert {"check_mode", "diff_mode", "idempotent"} <= set(said["attributes"])
        assert not name.endswith("_info")
    assert (f"{COLLECTION}.attributes.action_group" in fragments) is (name in REPLICATOR_MODULES)
    assert all(value["description"] and value["returned"] for value in yaml.safe_load(part(name, "RETURN")).values())


KEYWORDS = set(
    "name register vars hosts become gather_facts tasks notify when loop delegate_to run_once check_mode diff "
    "failed_when until retries delay loop_control no_log async poll module_defaults connection".split()
)


def actions(tasks):
    for task in tasks:
        yield from actions(task.get("tasks", []))
        if "tasks" not in task:
            yield from set(task) - KEYWORDS


@pytest.mark.parametrize("name", MODULES)
def test_examples_have_full_names(name):
    used = list(actions(yaml.safe_load(part(name, "EXAMPLES"))))
    assert f"{COLLECTION}.{name}" in used
    assert all(action.startswith((f"{COLLECTION}.", "ansible.builtin.")) for action in used), used


def test_the_modules_for_the_replicator_are_in_its_action_group():
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    assert groups == {"replicator": REPLICATOR_MODULES}


def test_each_supported_version_is_tried():
    tried = [*ENDS, *BETWEEN]
    assert {series for series, _version in tried} == set(CORES)
    assert {version for _series, version in tried} | {"3.9", "3.11"} == {f"3.{minor}" for minor in range(6, 14)}
    assert all(version in CORES[series].managed for series, version in tried)
    required = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["requires_ansible"]
    assert required == f">={OLDEST}.0"
    assert f"ansible-core~={NEWEST}.0" in (ROOT / "tests" / "requirements.txt").read_text()


def test_the_links_of_the_readme_are_complete_and_lead_to_what_there_is():
    text = (ROOT / "README.md").read_text()
    targets = dict(re.findall(r"^\[(\w+)\]: (\S+)$", text, re.M))
    assert set(re.findall(r"\]\[(\w+)\]", text)) == set(targets)
    # Galaxy and Automation Hub show it without the repository; a picture is shown in a checkout, too.
    links = [*targets.values(), *re.findall(r"(?<!!)\[[^]]*\]\(([^)]+)\)", text)]
    assert all(link.startswith("https://") for link in links)
    repository = yaml.safe_load((ROOT / "galaxy.yml").read_text())["repository"]
    ours = [url.partition("/blob/main/")[2] for url in targets.values() if url.startswith(f"{repository}/blob/")]
    ours += re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert len(ours) > 10 and not [path for path in ours if not (ROOT / path).exists()]
