# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a timer knows, in the terms of a replicator. Pure. PRIVATE to this collection."""

from typing import Any, Collection, Dict, Iterable, Mapping, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.snapshot import FULL, Snapshot
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    NEVER,
    PRIORITIES,
    Moment,
    UserStatus,
    moment_at,
    success_at,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.store import Entry

NORMAL = "normal"


def status_of(entry: Entry, round_began: int, running: bool, interval: int, now: float) -> UserStatus:
    """Return an entry as a replicator tells it.

    :arg round_began: when the last round over all users began, Unix seconds
    :arg running: whether syncs are under way
    """
    success: Moment = success_at(entry.success, now) if entry.success else NEVER
    due = not entry.fast or running and entry.fast < round_began
    return UserStatus(
        username=entry.name,
        priority=PRIORITIES[entry.priority],
        fast_sync=moment_at(entry.fast, now),
        full_sync=moment_at(entry.full, now),
        successful_sync=success,
        failed=entry.failed,
        next_sync=0 if due else max(0, int(max(round_began, entry.fast) + interval - now)),
    )


def statuses_of(
    entries: Iterable[Entry], facts: Mapping[str, str], running: bool, interval: int, now: float
) -> Dict[str, UserStatus]:
    """Return the list of users by name. Of those whom the peer does not have a replicator knows nothing, either."""
    began = int(facts.get("round_began", 0))
    return {entry.name: status_of(entry, began, running, interval, now) for entry in entries if not entry.missing}


def overview_of_rows(rows: Collection[UserStatus]) -> Dict[str, int]:
    """Return the counts of a replicator's overview."""
    failed = [row for row in rows if row.failed and row.priority == "none"]
    never = [row for row in rows if row.full_sync == NEVER and not row.failed and row.priority == "none"]
    due = sum(row.next_sync == 0 for row in failed)
    counts = {"queued_" + name: sum(row.priority == name for row in rows) for name in PRIORITIES[1:]}
    return dict(
        counts,
        queued_failed=due,
        queued_full_resync=len(never),
        waiting_failed=len(failed) - due,
        known_users=len(rows),
    )


def reading_of(
    rows: Mapping[str, UserStatus], slots: Mapping[int, Tuple[str, bool]], on_hold: bool, now: float
) -> Dict[str, Any]:
    """Return what the collector of the role ``monitoring`` reads: counts alone, no name.

    :arg slots: syncs under way, as ``Store.slots`` has them
    """
    values = list(rows.values())
    full = [row.full_sync.time for row in values if row.full_sync.time]
    busy = [rows[name].fast_sync for name, dummy in slots.values() if name in rows]
    snapshot = Snapshot(
        time=int(now),
        up=True,
        known=len(values),
        failing=sum(row.failed for row in values),
        queued=sum(row.priority != "none" for row in values),
        running=len(slots),
        running_full=sum(is_full for dummy, is_full in slots.values()),
        never_synced=sum(row.fast_sync == row.full_sync == NEVER for row in values),
        oldest_full_sync=min(full) if full else None,
        longest_running=max([0] + [moment.age or 0 for moment in busy]),
        on_hold=on_hold,
    )
    return {
        "snapshot": snapshot._asdict(),
        "overview": overview_of_rows(values),
        "kinds": [FULL if is_full else NORMAL for dummy, is_full in slots.values()],
        "problem": "",
    }
