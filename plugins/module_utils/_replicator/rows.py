# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replicator's state as doveadm prints it in JSON. Pure. PRIVATE to this collection.

All values are strings, times are ages: doveadm reads the clock itself and never prints a time.
"""

import re
from typing import Any, Dict, List

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    CLOCK_SKEW,
    NEVER,
    PRIORITIES,
    DsyncSlot,
    Moment,
    UserStatus,
    overview_of,
)

# What doveadm prints in JSON for bytes that are no UTF-8.
REPLACEMENT = "\ufffd"
# Since 2.3.20 doveadm prints a time in the future as the huge unsigned number that its age then is.
LARGEST_AGE = 1 << 31


def parse_seconds(text: str) -> int:
    """Return the seconds in ``HH:MM:SS``, where hours have any number of digits and each part may be negative.

    >>> parse_seconds("100:00:02")
    360002
    """
    match = re.match(r"(-?[0-9]{1,20}):(-?[0-9]{1,20}):(-?[0-9]{1,20})\Z", text)
    if not match:
        raise ValueError("no duration: %.40r" % text)
    hours, minutes, seconds = map(int, match.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_moment(text: str) -> Moment:
    """Return the Moment in an age as doveadm prints it; ``-`` is never, one in the future is now."""
    if text == "-":
        return NEVER
    seconds = parse_seconds(text)
    return Moment(None, seconds if 0 <= seconds < LARGEST_AGE else 0)


def parse_success(text: str) -> Moment:
    """Return the Moment of a last success; one of the future proves nothing, as the clock was set back since."""
    if text == "-" or -CLOCK_SKEW <= parse_seconds(text) < LARGEST_AGE:
        return parse_moment(text)
    return NEVER


def parse_user(row: Any) -> UserStatus:
    """Return the UserStatus in a row of ``status MASK``; raise ValueError for anything else."""
    try:
        next_sync = row.get("next sync secs")
        if row["priority"] not in PRIORITIES or row["failed"] not in ("-", "y"):
            raise KeyError("priority")
        return UserStatus(
            username=name_of(row),
            priority=row["priority"],
            fast_sync=parse_moment(row["fast sync"]),
            full_sync=parse_moment(row["full sync"]),
            successful_sync=parse_success(row["success sync"]),
            failed=row["failed"] != "-",
            next_sync=None if next_sync is None else max(0, parse_seconds(next_sync)),
        )
    except (AttributeError, KeyError, TypeError):
        raise ValueError("no row of a user's status: %.200r" % (row,)) from None


def parse_users(rows: Any) -> Dict[str, UserStatus]:
    """Return the answer to ``status MASK`` as a dict of UserStatus by name."""
    return {status.username: status for status in map(parse_user, _listed(rows))}


def parse_slots(rows: Any) -> List[DsyncSlot]:
    """Return the answer to ``dsync-status`` as a list of DsyncSlot."""
    return list(map(parse_slot, _listed(rows)))


def parse_slot(row: Any) -> DsyncSlot:
    """Return the DsyncSlot in a row of ``dsync-status``; raise ValueError for anything else."""
    try:
        username, kind, status = name_of(row), text_of(row["type"]), text_of(row["status"])
        return DsyncSlot(username=username or None, type=None if kind == "-" else kind, status=status)
    except (KeyError, TypeError):
        raise ValueError("no row of a dsync's status: %.200r" % (row,)) from None


def parse_overview(rows: Any) -> Dict[str, int]:
    """Return the counts in the rows of ``status``, as ``protocol.parse_overview`` does."""
    try:
        return overview_of({text_of(row["field"]): text_of(row["value"]).strip() for row in _listed(rows)})
    except (KeyError, TypeError):
        raise ValueError("no overview: %.200r" % (rows,)) from None


def name_of(row: Any) -> str:
    """Return the user's name in a row; raise ValueError where doveadm has not told it as it is."""
    name = text_of(row["username"])
    if REPLACEMENT in name:
        raise ValueError("%r stands for a name that is no UTF-8; the transport socket tells it as it is" % name)
    return name


def text_of(value: object) -> str:
    """Return a value that must be a text; raise TypeError for any other."""
    if not isinstance(value, str):
        raise TypeError("no text: %.200r" % (value,))
    return value


def _listed(rows: Any) -> List[Any]:
    if not isinstance(rows, list):
        raise ValueError("no list of rows: %.200r" % (rows,))
    return rows
