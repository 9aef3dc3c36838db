# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting that shows progress. PRIVATE to this collection.

A module prints nothing before it ends. So the controller makes it wait in slices, and shows the counts after each.
"""

import time
from typing import Any, Dict, List, Optional

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import names_in_file, packed
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.options import USERS
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.waiting import (
    MAY_BE_LOST,
    Outcome,
    Until,
)
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._result import age

# A slice lasts a share of the time waited so far, within these seconds: an early first sign, no flood in a long wait.
SHORTEST_SLICE, LONGEST_SLICE, SLICE_SHARE = 5, 30, 0.25
# A longer list goes to the host as one text. Core would template and encode its items with each slice.
LONGEST_LIST = 1000
# The last slice is shorter by the time that sending and starting the module takes, so the task ends at its deadline.
LONGEST_START_UP = 1.0


def pace(done: int, left: int, seconds: float) -> str:
    """Return how fast users are done and how long the rest takes, for the end of a sentence; empty before one is done.

    >>> pace(600, 3000, 60), pace(2, 3, 60), pace(0, 5, 60)
    (', 10 a second, 5 min to go', ', 2 a minute, 90 s to go', '')
    """
    if not done:
        return ""
    rate = done / max(seconds, 1)
    per = "%d a second" % rate if rate >= 1 else "%d a minute" % max(1, rate * 60)
    return ", %s, %s to go" % (per, age(int(left / rate)))


class WaitingAction(ActionBase):
    """The action of a module that waits with ``Session.wait``."""

    def run(self, tmp: object = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        self._supports_async = True
        super().run(tmp, task_vars)
        self._options = self._packed_options()
        if self._task.async_val:
            # The controller goes away meanwhile: the module waits by itself, without a word.
            in_background = not self._connection.has_native_async
            return self._execute_module(module_args=self._options, task_vars=task_vars, wrap_async=in_background)
        began = time.monotonic()
        result = self._slice(task_vars, seconds=SHORTEST_SLICE)
        return self._wait_on(began, result, task_vars) if "waiting" in result else result

    def _wait_on(self, began: float, result: Dict[str, Any], task_vars: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        waiting = result.pop("waiting")
        outcome = Outcome.of(result)
        # Work before the waiting, such as adding the users, does not count.
        start_up = min(time.monotonic() - began - outcome.elapsed, LONGEST_START_UP)
        began = time.monotonic() - outcome.elapsed
        deadline = began + waiting["total"]
        until = Until(*waiting["until"])
        rest = waiting["names"]
        while rest and time.monotonic() < deadline - start_up / 2:
            started = time.monotonic()
            elapsed = started - began
            left = pace(sum(map(len, outcome[:4])) - len(rest), len(rest), elapsed)
            self._show("%s after %d s%s" % (outcome.counts(), elapsed, left), task_vars)
            seconds = min(max(SLICE_SHARE * elapsed, SHORTEST_SLICE), LONGEST_SLICE, deadline - started - start_up)
            part = self._slice(task_vars, **{**waiting, "seconds": max(0, seconds), "names": rest})
            start_up = time.monotonic() - started - part.get("elapsed", 0)
            if "waiting" not in part:
                part["msg"] = "%s; then: %s" % (outcome.counts(), part.get("msg", part))
                return {**result, **part, "changed": result["changed"]}
            waiting = part["waiting"]
            outcome = Outcome.of(part).after(outcome)
            result["dropped_reasons"].update(part["dropped_reasons"])
            result["failed_reasons"] = part["failed_reasons"]
            rest = until.rest(outcome)
        if rest:
            time.sleep(max(0, deadline - time.monotonic()))
        outcome = outcome._replace(elapsed=round(time.monotonic() - began, 3))
        result.update(outcome.as_result(), restarts=waiting["state"]["restarts"])
        if result["restarts"] and not waiting["asks"]:
            Display().warning(MAY_BE_LOST)
        reasons = result["dropped_reasons"]
        problem = until.verdict(outcome, reasons, waiting["state"]["trouble"], result["failed_reasons"])
        if problem:
            result.update(failed=True, msg=problem)
        return result

    def _slice(self, task_vars: Optional[Dict[str, Any]], **wait: Any) -> Dict[str, Any]:
        options = dict(self._options)
        if "names" in wait:
            # The module looks at these names alone; the list of all users would be sent again with each slice.
            for name in USERS.intersection(options):
                options[name] = []
            if "_users" in options:
                options["_users"] = packed([])
        result: Dict[str, Any] = self._execute_module(module_args={**options, "_wait_slice": wait}, task_vars=task_vars)
        return result

    def _packed_options(self) -> Dict[str, Any]:
        """Return the options of the task, with the users of a file or of a long list as one text."""
        options = dict(self._task.args)
        if options.get("users_file"):
            options["_users"] = packed(self._names_in(options["users_file"]))
        for name in USERS.intersection(options):
            users = options[name]
            if isinstance(users, list) and len(users) > LONGEST_LIST and all(isinstance(user, str) for user in users):
                options.update({name: [], "_users": packed(users)})
        return options

    def _names_in(self, given: Any) -> List[str]:
        try:
            path = self._find_needle("files", str(given))
            with open(path, "rb") as file:
                return names_in_file(file.read(), str(given))
        except (AnsibleError, OSError) as error:
            raise AnsibleActionFail("Reading users_file failed: %s" % error) from error
        except DovecotError as error:
            raise AnsibleActionFail(str(error)) from error

    def _show(self, text: str, task_vars: Optional[Dict[str, Any]]) -> None:
        if not self._task.no_log:
            # On stderr, as a callback may write a document to stdout.
            host = (task_vars or {}).get("inventory_hostname", "")
            Display().display("%s: %s" % (host, text), stderr=True)
