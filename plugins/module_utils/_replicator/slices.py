# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting in slices, between which an action plugin shows progress. PRIVATE to this collection."""

from typing import Any, Callable, Dict, List, Mapping, Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import TaskFailed
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import NAMED_IN_MESSAGES
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.connections import Connections
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb_policy import (
    reasons_for_dropping,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.waiting import (
    ENDED,
    MAY_BE_LOST,
    Until,
    Watch,
    wait_for_syncs,
)


class Wait:
    """The wait of one task, or one slice of it.

    :arg connections: to the Dovecot whose syncs are waited for
    :arg mask: a mask that matches all names, None when there is none
    :arg part: the option ``_wait_slice``, None where the wait is not in slices
    :arg check_mode: whether there is but one look
    :arg ask_again: function of the names still waited for, called after a restart; None when nothing was asked for
    :arg warn: function of a text
    """

    def __init__(
        self,
        connections: Connections,
        mask: Optional[str],
        part: Optional[Mapping[str, Any]],
        check_mode: bool,
        ask_again: Optional[Callable[[List[str]], object]],
        warn: Callable[[str], object],
    ) -> None:
        self._connections = connections
        self._mask = mask
        self._part = part or {}
        self._check_mode = check_mode
        self._ask_again = ask_again
        self._warn = warn

    @property
    def goes_on(self) -> bool:
        """Whether an earlier slice has done all but waiting."""
        return "names" in self._part

    def watch(self, state: Optional[Dict[str, Any]] = None) -> Watch:
        """Return the replicator as a Watch; ``state`` as that has it."""
        return Watch(self._connections, self._ask_again, self._connections.is_connected, state)

    def run(self, names: List[str], seconds: float, result: Dict[str, Any], until: Until = ENDED) -> None:
        """Wait and add the outcome to the result; raise TaskFailed when it is not what was waited for.

        In slices neither the end of one nor its outcome is a failure: ``waiting`` in the result says how to go on. In
        check mode there is one look, and nothing is a failure.
        """
        now = 0 if self._check_mode else min(seconds, self._part.get("seconds", seconds))
        watch = self.watch(self._part.get("state"))
        outcome = wait_for_syncs(watch, names, now, self._mask, until)
        reasons = reasons_for_dropping(self._connections.userdb, outcome.dropped) if outcome.dropped else {}
        # Of those who are named in a message.
        failures = watch.problems(outcome.failed[:NAMED_IN_MESSAGES])
        result.update(outcome.as_result(), dropped_reasons=reasons, restarts=watch.state["restarts"])
        result["failed_reasons"] = failures
        if self._check_mode:
            return
        if self._part:
            result["waiting"] = dict(
                names=until.rest(outcome),
                total=seconds,
                until=list(until),
                asks=bool(self._ask_again),
                state=watch.state,
            )
            return
        if result["restarts"] and not self._ask_again:
            self._warn(MAY_BE_LOST)
        problem = until.verdict(outcome, reasons, watch.state["trouble"], failures)
        if problem:
            raise TaskFailed(problem, transport=self._connections.transport, **result)

    def go_on(self) -> Dict[str, Any]:
        """Return the result of a slice that goes on where an earlier one has stopped."""
        result: Dict[str, Any] = dict(changed=False)
        self.run(self._part["names"], self._part["seconds"], result, Until(*self._part["until"]))
        return result
