# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of the role's variables is said in one place, and of exactly those that there are."""

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "tools"))

import role_docs  # noqa: E402

# A fact that it sets, and a setting of Dovecot.
NO_VARIABLES = {"replication_findings", "replication_sync_timeout"}
each_role = pytest.mark.parametrize("role", role_docs.ROLES, ids=lambda role: role.name)


def options_of(role):
    return {name: spec for section in role_docs.read(role).values() for name, spec in section.items()}


@each_role
def test_readme_and_defaults_are_what_is_written_of_the_specification(role):
    for path, text in role_docs.written(role).items():
        assert path.read_text() == text, f"{path} is not what `make role-docs` writes"


@each_role
def test_the_defaults_are_those_of_the_specification(role):
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    assert defaults == {name: spec["default"] for name, spec in options_of(role).items() if "default" in spec}


@each_role
def test_each_variable_of_the_role_is_described_and_used(role):
    used = set()
    for path in role.rglob("*"):
        if path.parent.name in ("tasks", "handlers", "vars", "templates"):
            # Not what is its own (__replication_...), nor a module (mailops.dovecot_replication.replication_...).
            name = rf"(?<![\w.]){role.name}_\w+|(?<=side[.]){role.name}_\w+"
            used |= set(re.findall(name, path.read_text()))
    if role.name == "replication":
        # What decides for the role reads them as fields of a Side, or as the keys of a table.
        named = re.compile(r"(?:\b(?:self|side)[.]|^    \")(replication_\w+)", re.M)
        for name in ("_side", "_pair", "_refusals"):
            source = (ROOT / "plugins" / "plugin_utils" / f"{name}.py").read_text()
            used |= set(named.findall(source))
    assert used - NO_VARIABLES == set(options_of(role))


@each_role
def test_each_section_has_its_heading(role):
    readme = (role / "README.md").read_text()
    titles = re.findall(r"# Section: (.+)", (role / "meta" / "argument_specs.yml").read_text())
    assert len(titles) > 2 and list(role_docs.read(role)) == titles
    assert [title for title in re.findall(r"^### (.+)", readme, re.M) if title in titles] == titles
