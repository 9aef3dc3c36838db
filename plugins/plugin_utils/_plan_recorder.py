# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check run has shown so far. PRIVATE to this collection.

The callback plugin records in the controller's own process. An action runs in a copy of it that is made when its task
starts, so it finds there all that was recorded before, and nothing of an earlier run.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

import yaml

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_file as model
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._plan_markdown import markdown

COLLECTION = "mailops.dovecot_replication"
ROOT = Path(__file__).resolve().parents[2]
JSON_FILE, MARKDOWN_FILE = "plan.json", "plan.md"

# The Recorder of the plays that are planned in this run, None before the first.
CURRENT: Optional["Recorder"] = None


class Recorder:
    """Gathers results by host.

    :arg of: what is planned: the name of the playbook
    """

    def __init__(self, of: str) -> None:
        self.of = of
        self.hosts: Dict[str, model.Host] = {}
        self._lost: List[Tuple[str, Dict[str, str]]] = []

    def host(self, name: str, pair: Optional[str] = None) -> model.Host:
        return self.hosts.setdefault(name, model.empty_host(pair))

    def ok(
        self,
        name: str,
        task: str,
        result: model.Result,
        action: str,
        changed_when: Optional[Iterable[Any]] = (),
        checked: bool = True,
    ) -> None:
        host = self.host(name)
        if result.get("changed"):
            host["changes"].extend(model.changes_of(task, action, result, done=not checked))
        elif not model.looks_only(action, changed_when):
            host["in_order"].append(task)
        host["not_previewed"].extend(model.not_previewed_of(task, result))

    def skipped(self, name: str, task: str, result: model.Result) -> None:
        if model.is_left_out(result):
            self.host(name)["left_out"].append(task)
        self.host(name)["not_previewed"].extend(model.not_previewed_of(task, result))

    def failed(self, name: str, task: str, result: model.Result) -> None:
        self.host(name)["failed"].append(model.problem_of(task, result))

    def unreachable(self, name: str, task: str, result: model.Result) -> None:
        self.host(name)["unreachable"].append(model.problem_of(task, result))

    def lost(self, name: str, task: str, error: Exception) -> None:
        """A result could not be recorded, by a defect of this collection."""
        self.host(name)
        self._lost.append((name, {"task": task, "message": "what it would do could not be recorded: %r" % error}))

    def rescued(self, name: str) -> None:
        """What has failed on a host was caught by the play."""
        self.host(name)["failed"].clear()

    def plan(self) -> model.Plan:
        hosts = {
            name: {**host, "failed": host["failed"] + [problem for of, problem in self._lost if of == name]}
            for name, host in self.hosts.items()
        }
        return model.build(self.of, {"name": COLLECTION, "version": version()}, hosts)


def version() -> str:
    """Return the version of this collection, installed or as a checkout."""
    manifest = ROOT / "MANIFEST.json"
    if manifest.exists():
        return json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"]
    return yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]


def write(plan: model.Plan, directory: Optional[str]) -> List[str]:
    """Write both files, each in one step, and return their paths."""
    directory = os.path.abspath(os.path.expanduser(directory or "."))
    os.makedirs(directory, exist_ok=True)
    paths = [os.path.join(directory, name) for name in (MARKDOWN_FILE, JSON_FILE)]
    for path, text in zip(paths, (markdown(plan), model.as_json(plan))):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=directory, prefix=".plan-", delete=False) as stream:
            stream.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(stream.name, 0o666 & ~umask)
        os.replace(stream.name, path)
    return paths
