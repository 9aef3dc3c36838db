# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages of docs/ show as code is true against the code: options of modules, variables, messages."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "mailops.dovecot_replication"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
ROLE = yaml.safe_load((ROOT / "roles" / "replication" / "meta" / "argument_specs.yml").read_text())["argument_specs"]
VARIABLES = {name: option for entry in ROLE.values() for name, option in entry["options"].items()}
# What the playbooks take beside the role's variables stands in the comment at the head of each.
OF_PLAYBOOKS = set(
    re.findall(r"\breplication_\w+", "".join(path.read_text() for path in (ROOT / "playbooks").glob("*.yml")))
) | {"replication_api_ca_file"}
CODE = "".join(
    path.read_text()
    for part in ("playbooks", "plugins", "roles")
    for path in sorted((ROOT / part).rglob("*"))
    if path.suffix in (".yml", ".py", ".j2") and path.is_file()
)


def blocks(kind, paths=PAGES):
    """The fenced blocks of a kind, each as (where, text); also those within lists."""
    for path in paths:
        text = path.read_text()
        for found in re.finditer(rf"^( *)```{kind}\n(.*?)^\1```$", text, re.M | re.S):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{path.relative_to(ROOT)}:{line}", re.sub(rf"^{found[1]}", "", found[2], flags=re.M)


def fragment(name):
    """The options of a documentation fragment."""
    module, dummy, part = name.removeprefix(f"{COLLECTION}.").partition(".")
    source = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.doc_fragments.{module}")
    return yaml.safe_load(getattr(source.ModuleDocFragment, part.upper() or "DOCUMENTATION")).get("options", {})


def options_of(module):
    """The names of all options of a module, aliases too."""
    source = (ROOT / "plugins" / "modules" / f"{module}.py").read_text()
    documentation = yaml.safe_load(re.search(r'DOCUMENTATION = r"""(.*?)"""', source, re.S)[1])
    options = dict(documentation.get("options", {}))
    for name in documentation.get("extends_documentation_fragment", []):
        options.update(fragment(name))
    return set(options).union(*(option.get("aliases", []) for option in options.values()))


def problems(data, where=""):
    """What in a piece of YAML the code does not know: options of modules, variables, parts of variables."""
    if isinstance(data, list):
        return [problem for item in data for problem in problems(item, where)]
    if not isinstance(data, dict):
        return []
    found = []
    for key, value in data.items():
        kind, dummy, name = str(key).rpartition(f"{COLLECTION}.")
        if kind == "group/":
            unknown = set(value) - set(fragment("replicator"))
            found += [f"{where}: the group has no option {option}" for option in sorted(unknown)]
        elif name != key and (ROOT / "plugins" / "modules" / f"{name}.py").exists():
            unknown = set(value or {}) - options_of(name)
            found += [f"{where}: {name} has no option {option}" for option in sorted(unknown)]
        elif name != key:
            found.append(f"{where}: there is no module {name}")
        elif re.match("replication_", str(key)):
            if key not in VARIABLES and key not in OF_PLAYBOOKS:
                found.append(f"{where}: nothing knows the variable {key}")
            parts = VARIABLES.get(key, {}).get("options")
            if parts and isinstance(value, dict):
                found += [f"{where}: {key} has no {part}" for part in sorted(set(value) - set(parts))]
        found += problems(value, where)
    return found


@pytest.mark.parametrize("where, text", [pytest.param(*block, id=block[0]) for block in blocks("yaml")])
def test_yaml(where, text):
    assert problems(yaml.safe_load(text), where) == []


def test_what_is_wrong_is_found():
    wrong = """
    - mailops.dovecot_replication.replicator_user: {users: [], priorty: low}
    - mailops.dovecot_replication.nosuch: {}
    - vars: {replication_iterate: {driver: sql, qery: x}, replication_sheme: tcp}
      module_defaults:
        group/mailops.dovecot_replication.replicator: {wait: true}
    """
    assert [problem.split(": ", 1)[1] for problem in problems(yaml.safe_load(wrong), "here")] == [
        "replicator_user has no option priorty",
        "there is no module nosuch",
        "replication_iterate has no qery",
        "nothing knows the variable replication_sheme",
        "the group has no option wait",
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_variables_and_playbooks_in_the_text(path):
    """Also in prose and on command lines. What Dovecot itself has of such settings, the code names as well."""
    text = path.read_text()
    known = set(re.findall(r"\breplication_\w+", CODE))
    assert sorted(set(re.findall(r"\breplication_\w+", text)) - known) == []
    playbooks = {found.stem for found in (ROOT / "playbooks").glob("*.yml")}
    called = set(re.findall(rf"ansible-playbook (?:-\S+ \S+ )*{COLLECTION.replace('.', '[.]')}[.](\w+)", text))
    assert called - playbooks - {"NAME"} == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_are_whole(path):
    """An empty line in a table makes text of what follows."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        head, rule = table.splitlines()[:2]
        assert re.fullmatch(r"[|: -]+", rule), head
        assert len({row.replace("\\|", "").count("|") for row in table.splitlines()}) == 1, head


def test_each_playbook_has_its_place():
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "running.md").read_text().partition("\nThey reach")[0]))
    assert {path.stem for path in (ROOT / "playbooks").glob("*.yml")} <= named


def test_the_messages_of_the_collection_in_troubleshooting():
    """Those that this collection gives are in its code, word for word; ``...`` stands for what differs."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text().partition("\n## This collection says\n")[2]
    # As Python and YAML put texts together that are written in parts.
    code = re.sub(r"[\"']\s*\n\s*f?r?[\"']", "", CODE)
    code = " ".join(re.sub(r"\n\s*", " ", code).split())
    messages = [line for text in re.findall(r"^```text\n(.*?)^```$", page, re.M | re.S) for line in text.splitlines()]
    assert len(messages) > 12
    for message in messages:
        for part in filter(None, map(str.strip, message.split("..."))):
            assert part in code, message


def test_the_findings_in_troubleshooting_exist():
    """The findings that the page names are those of the rules."""
    from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _diagnosis

    rules = {rule.id for rule in _diagnosis.RULES + _diagnosis.PAIR_RULES}
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"\[((?:`\w+`(?:, )?)+)\](?!\()", page))))
    named |= set(re.findall(r"\| `(\w+_\w+)` \|$", page, re.M))
    assert len(named) > 20 and named <= rules
