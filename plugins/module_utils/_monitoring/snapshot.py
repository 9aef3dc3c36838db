# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a monitor knows of a replicator at one moment. Pure. PRIVATE to this collection.

Failing users are counted from the rows, as in ``summarized``: Dovecot's overview misses those with new changes queued.
"""

from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    FEWEST_COLUMNS,
    DsyncSlot,
    decode_line,
    parse_number,
)

FULL = "full"
FAILED, NOT_FAILED, UNQUEUED, NEVER_SYNCED = b"1", b"0", b"none", b"0"


class Snapshot(NamedTuple):
    """Build it by keyword.

    :arg time: Unix seconds
    :arg up: whether the replicator has answered; without that the numbers mean nothing
    :arg known: users on the replicator's list
    :arg failing: those whose last sync has failed
    :arg queued: those with changes waiting
    :arg running: syncs under way
    :arg running_full: the full ones among them
    :arg never_synced: users without any sync
    :arg oldest_full_sync: when the full sync that is longest ago began, Unix seconds; None where there was none
    :arg longest_running: seconds since the start of the sync that runs longest, 0 without one
    :arg on_hold: whether the playbook drain keeps syncs from being started
    :arg deaf: whether Dovecot tells a service in place of a replicator of no change
    """

    time: int
    up: bool = False
    known: int = 0
    failing: int = 0
    queued: int = 0
    running: int = 0
    running_full: int = 0
    never_synced: int = 0
    oldest_full_sync: Optional[int] = None
    longest_running: int = 0
    on_hold: bool = False
    deaf: bool = False


def snapshot_of(lines: Sequence[bytes], slots: Iterable[DsyncSlot], now: float, on_hold: bool) -> Snapshot:
    """Return the Snapshot in the answers to ``STATUS *`` and, read after it, ``STATUS-DSYNC``; raise ValueError.

    It takes a few bytes of each row, as the list may have 100,000 of them each minute.
    """
    failing = queued = never = 0
    oldest: Optional[bytes] = None
    for line in lines:
        fields = line.split(b"\t", FEWEST_COLUMNS)
        if len(fields) < FEWEST_COLUMNS or fields[4] not in (FAILED, NOT_FAILED):
            raise ValueError("no row of a user's status: %.200r" % line)
        failing += fields[4] == FAILED
        queued += fields[1] != UNQUEUED
        full = fields[3]
        if full != NEVER_SYNCED:
            # Of numbers with as many digits the text decides; a time has ten of them until 2286.
            if oldest is None or (len(full), full) < (len(oldest), oldest):
                oldest = full
        elif fields[2] == NEVER_SYNCED:
            never += 1
    running = {slot.username: slot.type for slot in slots if slot.username}
    return Snapshot(
        time=int(now),
        up=True,
        known=len(lines),
        failing=failing,
        queued=queued,
        running=len(running),
        running_full=sum(kind == FULL for kind in running.values()),
        never_synced=never,
        oldest_full_sync=None if oldest is None else parse_number(oldest.decode("ascii")),
        longest_running=_longest(lines, running, now) if running else 0,
        on_hold=on_hold,
    )


def _longest(lines: Sequence[bytes], running: Dict[str, Optional[str]], now: float) -> int:
    """Return for how many seconds the oldest of the running syncs has been under way."""
    starts: List[int] = []
    for line in lines:
        name = line.partition(b"\t")[0]
        if name.decode("utf-8", "surrogateescape") in running or b"\x01" in name:
            fields = decode_line(line)
            if fields[0] in running:
                starts.append(parse_number(fields[3 if running[fields[0]] == FULL else 2]))
    return max([0] + [int(now) - start for start in starts if start])
