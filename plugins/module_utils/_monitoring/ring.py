# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last 30 days of a replicator in a file of fixed size, 1.6 MB. PRIVATE to this collection.

Each minute has a place of its own, which is written again 30 days later. A record has a checksum: one that was written
by half is no record, and the others stay as they are.
"""

import os
import struct
import zlib
from typing import Dict, List, Optional, Sequence

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.snapshot import Snapshot

MINUTE = 60
LENGTH = 30 * 24 * 60
# Time, known, failing, queued, oldest full sync, never synced, longest running, running, full ones, flags, checksum.
RECORD = struct.Struct("<IIIIIIHBBBxxxI")
UP, ON_HOLD, DEAF = 1, 2, 4
CHECKED = RECORD.size - 4


def encoded(snapshot: Snapshot) -> bytes:
    """Return a Snapshot as a record; numbers that are too large become the largest there is."""
    flags = UP * snapshot.up | ON_HOLD * snapshot.on_hold | DEAF * snapshot.deaf
    large = [
        min(value, 0xFFFFFFFF)
        for value in (
            snapshot.time,
            snapshot.known,
            snapshot.failing,
            snapshot.queued,
            snapshot.oldest_full_sync or 0,
            snapshot.never_synced,
        )
    ]
    small = [min(snapshot.longest_running, 0xFFFF), min(snapshot.running, 0xFF), min(snapshot.running_full, 0xFF)]
    record = RECORD.pack(*(large + small + [flags, 0]))
    return record[:CHECKED] + struct.pack("<I", zlib.crc32(record[:CHECKED]))


def decoded(record: bytes) -> Optional[Snapshot]:
    """Return the Snapshot in a record, None where there is none."""
    if len(record) != RECORD.size or zlib.crc32(record[:CHECKED]) != struct.unpack("<I", record[CHECKED:])[0]:
        return None
    time, known, failing, queued, oldest, never, longest, running, full, flags, dummy = RECORD.unpack(record)
    return Snapshot(
        time=time,
        up=bool(flags & UP),
        known=known,
        failing=failing,
        queued=queued,
        running=running,
        running_full=full,
        never_synced=never,
        oldest_full_sync=oldest or None,
        longest_running=longest,
        on_hold=bool(flags & ON_HOLD),
        deaf=bool(flags & DEAF),
    )


def thinned(snapshots: Sequence[Snapshot], points: int) -> List[Snapshot]:
    """Return so many Snapshots at most, evenly spread over the time of those given, with the worst of each part.

    A part without any Snapshot is one that is not up: nobody knows what was then.
    """
    if not snapshots:
        return []
    first, last = snapshots[0].time, snapshots[-1].time
    width = max(2 * MINUTE, -(-(last - first + 1) // points))
    parts: Dict[int, List[Snapshot]] = {}
    for snapshot in snapshots:
        parts.setdefault((snapshot.time - first) // width, []).append(snapshot)
    found = []
    for number in range((last - first) // width + 1):
        known = [snapshot for snapshot in parts.get(number, []) if snapshot.up]
        if not known:
            found.append(Snapshot(time=first + number * width))
            continue
        full = [one.oldest_full_sync for one in known if one.oldest_full_sync is not None]
        worst = known[-1]._replace(failing=max(one.failing for one in known), queued=max(one.queued for one in known))
        found.append(worst._replace(oldest_full_sync=min(full) if full else None))
    return found


def _place(time: int) -> int:
    return time // MINUTE % LENGTH * RECORD.size


def remember(path: str, snapshot: Snapshot) -> None:
    """Write a Snapshot to its place in the file at ``path``, which is made where there is none; raise OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if os.fstat(handle).st_size != LENGTH * RECORD.size:
            os.ftruncate(handle, LENGTH * RECORD.size)
        os.lseek(handle, _place(snapshot.time), os.SEEK_SET)
        os.write(handle, encoded(snapshot))
    finally:
        os.close(handle)


def recall(path: str, now: int, seconds: int) -> List[Snapshot]:
    """Return the Snapshots of the last ``seconds`` before ``now``, oldest first; none where there is no file."""
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError:
        return []
    found = []
    last = now // MINUTE
    for minute in range(max(0, (now - seconds) // MINUTE, last - LENGTH + 1), last + 1):
        place = _place(minute * MINUTE)
        snapshot = decoded(content[place : place + RECORD.size])
        if snapshot and now - seconds <= snapshot.time <= now:
            found.append(snapshot)
    return found
