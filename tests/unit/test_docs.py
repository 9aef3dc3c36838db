# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation says of the repository is so."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
REPLICATOR_MODULES = [name for name in MODULES if name not in ("dovecot_config", "mailhost_info", "replication_plan")]


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
        named = re.findall(r"`(test_\w+\.py)?(?:::(test_\w+))?`", column)
        assert named and named[0][0], row
        path = None
        for file, test in named:
            path = next((ROOT / "tests").rglob(file)) if file else path
            assert path and (not test or f"def {test}(" in path.read_text()), (file, test)


@pytest.mark.parametrize("name", MODULES)
def test_each_module_is_in_the_readme_and_has_examples(name):
    assert f"module `{name}`" in (ROOT / "README.md").read_text()
    source = (ROOT / "plugins" / "modules" / f"{name}.py").read_text()
    examples = yaml.safe_load(re.search(r'EXAMPLES = r"""(.*?)"""', source, re.S)[1])
    assert len(examples) >= 3


def test_the_modules_for_the_replicator_are_in_its_action_group():
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    assert groups == {"replicator": REPLICATOR_MODULES}
