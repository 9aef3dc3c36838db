# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each variable that is given to the role or a playbook, in tests, samples or pages, is one that they take.

Ansible ignores an unknown variable, so a test that passes one shows nothing.
"""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = yaml.safe_load((ROOT / "roles" / "replication" / "meta" / "argument_specs.yml").read_text())["argument_specs"]
OF_ROLE = {name for entry in ROLE.values() for name in entry["options"]}
NAME = r"(?<![\w./-])(replication_\w+)"
# A key of YAML or JSON, also in quotes that are escaped; `name=value`, as Python's keywords are; a survey's question.
GIVEN = [
    re.compile(rf"{NAME}[\"'\\]*:(?=\s|[\"'{{\[])(?!\s+&)"),
    re.compile(rf"{NAME}[\"']?=(?!=)"),
    re.compile(r"\bvariable\"?: \"?(replication_\w+)"),
]
KINDS = {".j2", ".json", ".md", ".py", ".sh", ".yml"}
NOT_KNOWN = {
    # Wrong on purpose: the tests show that they find it.
    # A fact of the role's, in what a run has left.
    "tests/unit/plugins/plugin_utils/test_result.py": {"replication_findings"},
    "tests/unit/test_docs_code.py": {"replication_sheme"},
    "tests/unit/test_variables.py": {"replication_confirm", "replication_sheme"},
    # The module, at the beginning of a line that describes it.
    "docs/architecture.md": {"replication_plan"},
}
NOT_SET_IN_PLAYBOOKS = {
    # The role's `verify` sets it.
    "replication_findings",
    # Defined nowhere, so that `mandatory` fails with its message.
    "replication_no_such_host",
}


def documented() -> set[str]:
    """The variables of the playbooks: the tables of two pages, and the example of a third."""
    rows = [
        line
        for page in ("running", "review")
        for line in (ROOT / "docs" / f"{page}.md").read_text().splitlines()
        if line.startswith("|")
    ]
    example = (ROOT / "docs" / "api.md").read_text()
    return set(re.findall(r"`(replication_\w+)", "\n".join(rows))) | set(
        re.findall(r"^(replication_\w+):", example, re.M)
    )


def given(text: str) -> set[str]:
    """The names to which a text gives values."""
    return {name for pattern in GIVEN for name in pattern.findall(text)}


def files(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in KINDS)


@pytest.mark.parametrize("folder", ["tests", "docs", "awx", "extensions"])
def test_what_is_given_is_known(folder):
    known = OF_ROLE | documented()
    unknown = {}
    for path in files(folder):
        where = str(path.relative_to(ROOT))
        unknown[where] = given(path.read_text()) - known - NOT_KNOWN.get(where, set())
    assert len(unknown) > 5 and {where: names for where, names in unknown.items() if names} == {}


def test_what_the_playbooks_use_is_known_or_set_by_them():
    """A name of their own is a key (``vars``, ``set_fact``, ``set_stats``), or registered."""
    texts = {path: path.read_text() for path in files("playbooks") if path.suffix in (".yml", ".j2")}
    own = set()
    for text in texts.values():
        own |= set(re.findall(r"^ *(replication_\w+):", text, re.M))
        own |= set(re.findall(r"\bregister: (replication_\w+)", text))
    known = OF_ROLE | documented() | own | NOT_SET_IN_PLAYBOOKS
    unknown = {path.name: set(re.findall(NAME, text)) - known for path, text in texts.items()}
    assert len(unknown) > 5 and {name: names for name, names in unknown.items() if names} == {}


def test_what_is_documented_is_used():
    used = "".join(path.read_text() for folder in ("playbooks", "roles", "plugins") for path in files(folder))
    assert documented() - set(re.findall(NAME, used)) == set()


@pytest.mark.parametrize(
    "text",
    [
        '"-e", "replication_confirm=true"',
        'play("setup", replication_confirm=True)',
        "  replication_confirm: true",
        '{"replication_confirm": true}',
        '"{\\"replication_confirm\\": true}"',
        'dict(replication_confirm="x")',
        "variable: replication_confirm",
        '"variable": "replication_confirm"',
    ],
)
def test_giving_is_found(text):
    assert given(text) == {"replication_confirm"}


@pytest.mark.parametrize(
    "text",
    [
        "mailops.dovecot_replication.replication_plan: {}",
        "plugins/action/replication_plan.py",
        "__replication_sheme: x",
        "replication_sheme: &anchor",
        "if replication_sheme == 1",
    ],
)
def test_what_gives_nothing_is_left_alone(text):
    assert given(text) == set()
