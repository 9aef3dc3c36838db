# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an execution environment must have for this collection: nothing beyond ansible-core."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.mailops.dovecot_replication."
BUILDER = Path(sys.executable).parent / "ansible-builder"
EXAMPLE = ROOT / "docs" / "examples" / "execution-environment.yml"


def imports(path):
    """The names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(paths):
    """The top-level packages that files and what they import of this collection need, but for Python's own."""
    found, waiting, seen = set(), list(paths), set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        for name in imports(path):
            if name.startswith(COLLECTION):
                # A module, or what is in one.
                inner = ROOT / name[len(COLLECTION) :].replace(".", "/")
                (module,) = [
                    path for path in (inner.with_suffix(".py"), inner.parent.with_suffix(".py")) if path.exists()
                ]
                waiting += {module} - seen
            else:
                found.add(name.split(".")[0])
    return found - sys.stdlib_module_names


@pytest.mark.parametrize("kind", sorted({path.parent.name for path in (ROOT / "plugins").glob("*/*.py")}))
def test_plugins_need_nothing_but_ansible(kind):
    # PyYAML and Jinja2 are ansible-core's own dependencies.
    assert packages((ROOT / "plugins" / kind).glob("*.py")) <= {"ansible", "jinja2", "yaml"}


def test_roles_and_playbooks_use_other_collections_only_where_they_are_asked_to():
    """What the example names, and mock_modules of .ansible-lint."""
    named = EXAMPLE.read_text()
    mocked = yaml.safe_load((ROOT / ".ansible-lint").read_text())["mock_modules"]
    used = set()
    for path in [*(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").rglob("*.yml")]:
        used |= {word for word in path.read_text().replace(":", " ").split() if word.count(".") == 2}
    foreign = {word for word in used if word.startswith(("community.", "ansible.")) and "builtin" not in word}
    assert foreign and foreign <= set(mocked)
    for module in foreign:
        assert module.rpartition(".")[0] in named


def test_the_builder_finds_no_dependency():
    said = subprocess.run(
        [BUILDER, "introspect", ROOT / ".venv" / "collections"], check=True, capture_output=True, text=True
    ).stdout
    assert yaml.safe_load(said) == {"python": [], "system": []}


def test_the_builder_takes_the_example(tmp_path):
    subprocess.run([BUILDER, "create", "-f", EXAMPLE, "-c", tmp_path], check=True, capture_output=True)
    wanted = yaml.safe_load((tmp_path / "_build" / "requirements.yml").read_text())
    assert wanted == {"collections": [{"name": "mailops.dovecot_replication"}]}
    (core,) = [line for line in (tmp_path / "Containerfile").read_text().splitlines() if "INSTALL_REFS=" in line]
    assert "ansible-core~=2." in core and "ansible-runner~=2." in core
