# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

import os
import tempfile
import time
from typing import Any, Dict, Iterable, Mapping, Optional

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _page as model
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._report import show

OPTIONS = {
    "result": {"type": "dict", "required": True},
    "dest": {"type": "path", "required": True},
    "names": {"type": "bool", "default": True},
    "hand_over": {"type": "bool", "default": False},
}
# What the playbook registers.
HISTORY = "__replication_history"
NOT_OF_VERIFY = (
    "The result is not one of the playbook verify, which is the one that judges. Next step: give the "
    "replication_result that verify hands over, or run the playbook report without replication_report_result."
)


class ActionModule(ActionBase):
    """Write a page about pairs on the controller; no host is asked."""

    _requires_connection = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result = super().run(tmp, task_vars)
        dummy, options = self.validate_argument_spec(argument_spec=OPTIONS)
        given = options["result"]
        if given.get("playbook") != "verify" or not isinstance(given.get("hosts"), dict):
            raise AnsibleActionFail(NOT_OF_VERIFY)
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        path = os.path.abspath(options["dest"])
        page = model.page(given, when, options["names"], histories(given["hosts"], task_vars or {}))
        try:
            write(path, page)
        except OSError as error:
            raise AnsibleActionFail(f"Writing the page failed: {error}. Next step: give another path.") from error
        verdict = model.verdict(model.pairs_of(given["hosts"]))
        report = [f"{verdict}. The page is {path}."]
        show(report)
        if options["hand_over"]:
            # What set_stats returns.
            result["ansible_stats"] = {"data": {"replication_page": page}, "per_host": False, "aggregate": False}
        return {**result, "changed": False, "path": path, "verdict": verdict, "report": report}


def histories(hosts: Iterable[str], variables: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what hosts remember, as the tasks of the playbook have read it."""
    known = {name: variables["hostvars"].raw_get(name) for name in hosts if name in variables.get("hostvars", {})}
    return {name: (facts.get(HISTORY) or {}).get("history") or [] for name, facts in known.items()}


def write(path: str, text: str) -> None:
    """Replace a file as a whole, so that whoever reads it meanwhile has the old one or the new one."""
    handle, beside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".replication-")
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        # As a web server may be the one that reads it.
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except OSError:
        os.unlink(beside)
        raise
