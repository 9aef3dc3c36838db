# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a state of a host is worth an event: once it has settled, and again as a reminder. Pure. PRIVATE.

A single look tells little: Dovecot tries a failed user again after five minutes, and a reload breaks off syncs.
"""

from typing import Any, Dict, Mapping, Optional

OK, FAILING, STANDING, UNREACHABLE = "ok", "failing", "standing", "unreachable"
# What an event says, with its type; docs/howto/monitor.md describes it.
SCHEMA: Dict[str, Any] = {
    "host": str,
    "state": str,
    "before": (str, type(None)),
    "reminder": bool,
    "since": int,
    "known_users": (int, type(None)),
    "failing": (int, type(None)),
    "queued": (int, type(None)),
    "running": (int, type(None)),
    "message": str,
}


def state_of(summary: Mapping[str, Any]) -> str:
    """Return the state of a replicator that has answered.

    :arg summary: as the module replicator_info returns it
    """
    if summary["failing"]:
        return FAILING
    return STANDING if summary["queued"] and not summary["running"] else OK


class Transitions:
    """The states of one host over time.

    :arg settle: so many looks in a row must see a state before it counts
    :arg remind: seconds after which a state that is not OK is told again
    """

    def __init__(self, settle: int, remind: float) -> None:
        self._settle = settle
        self._remind = remind
        self._told: Optional[str] = None
        self._told_at = 0.0
        self._seen = ""
        self._looks = 0
        self._since = 0.0

    def see(self, state: str, now: float) -> Optional[Dict[str, Any]]:
        """Take in one look; return ``state``, ``before``, ``reminder`` and ``since`` where it is worth an event.

        A host that is in order from the start is none.
        """
        if state != self._seen:
            self._seen, self._looks, self._since = state, 0, now
        self._looks += 1
        if self._looks < self._settle:
            return None
        before = self._told
        reminder = state == before and state != OK and now - self._told_at >= self._remind
        if state == before and not reminder:
            return None
        self._told, self._told_at = state, now
        if state == OK and before is None:
            return None
        return {"state": state, "before": before, "reminder": reminder, "since": int(self._since)}
