# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service answers to who takes it for a replicator. Pure. PRIVATE to this collection.

The protocol is that of src/replication/replicator/doveadm-connection.c in Dovecot 2.3. It differs where that was
silent: an unknown user is refused, the flag ``f`` gives a full sync, and NOTIFY, which 2.4 does not send, is refused.
"""

from typing import Dict, Iterable, List, Optional, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import is_mask, mask_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    OVERVIEW_KEYS,
    PRIORITIES,
    encode_line,
    tab_escape,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.scheduler import IDLE, Scheduler, User

GREETING = encode_line("VERSION", "replicator-doveadm-server", "1", "0")
CLIENT = ["VERSION", "replicator-doveadm-client", "1"]
OK = b"+\n"
FULL_SYNC = "f"


def refusal(reason: str) -> bytes:
    return b"-" + encode_line(reason)


NOT_FOUND = refusal("User not found")
NOT_LISTED = refusal("The userdb does not list its users")


def unknown_in(fields: List[str], scheduler: Scheduler) -> Optional[str]:
    """Return the name or mask that a command needs the userdb for, None where it needs none."""
    place = {"ADD": 1, "REPLICATE": 3}.get(fields[0])
    if place is None or len(fields) != place + 1:
        return None
    name = fields[place]
    return None if name in scheduler.users or is_mask(name) and fields[0] != "ADD" else name


def rows(users: Iterable[User], now: float, sweep_due: float) -> List[bytes]:
    """Return the rows of ``STATUS mask``.

    :arg now, sweep_due: of the scheduler's clock; when the next sweep begins
    """
    sweep = max(0, int(sweep_due - now))
    lines = []
    for user in users:
        entry = user.entry
        # Of those whom the peer does not have a replicator knows nothing, either.
        if entry.missing:
            continue
        next_sync = 0 if user.rank != IDLE else max(0, int(user.due - now)) if entry.failed else sweep
        lines.append(
            "%s\t%s\t%d\t%d\t%d\t%d\t%d"
            % (
                tab_escape(entry.name),
                PRIORITIES[entry.priority],
                entry.fast,
                entry.full,
                entry.failed,
                entry.success,
                next_sync,
            )
        )
    return [line.encode("utf-8", "surrogateescape") for line in lines]


def status(scheduler: Scheduler, mask: str, now: float, sweep_due: float) -> bytes:
    """Return the answer to ``STATUS mask``."""
    users = [scheduler.users[name] for name in wanted(scheduler, mask)]
    return b"".join(row + b"\n" for row in rows(users, now, sweep_due)) + b"\n"


def counts(scheduler: Scheduler, now: float) -> Dict[str, int]:
    """Return the overview, by the values of OVERVIEW_KEYS."""
    found = dict.fromkeys(OVERVIEW_KEYS.values(), 0)
    for name, user in scheduler.users.items():
        entry = user.entry
        if entry.missing:
            continue
        found["known_users"] += 1
        if entry.priority:
            found["queued_" + PRIORITIES[entry.priority]] += 1
        elif entry.failed:
            due = user.rank != IDLE or user.due <= now
            found["queued_failed" if due else "waiting_failed"] += 1
        elif not entry.full and name not in scheduler.running:
            found["queued_full_resync"] += 1
    return found


def overview(scheduler: Scheduler, now: float) -> bytes:
    """Return the answer to ``STATUS``."""
    found = counts(scheduler, now)
    return b"".join(encode_line(field, str(found[key])) for field, key in OVERVIEW_KEYS.items()) + b"\n"


def dsyncs(width: int, slots: Dict[int, Tuple[str, str]]) -> bytes:
    """Return the answer to ``STATUS-DSYNC``: all slots, those that are idle as well.

    :arg slots: name and type by slot
    """
    idle = ("", "-")
    texts = {True: "Waiting for dsync to finish", False: "Not connected"}
    lines = [encode_line(*slots.get(slot, idle), texts[slot in slots]) for slot in range(width)]
    return b"".join(lines) + b"\n"


def wanted(scheduler: Scheduler, name: str) -> List[str]:
    """Return the users on the list whom a name or a mask means."""
    if not is_mask(name):
        return [name] if name in scheduler.users else []
    matches = mask_matcher(name)
    return [known for known in scheduler.users if name == "*" or matches(known)]
