# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until requested syncs have ended. PRIVATE to this collection."""

import time
from collections import namedtuple

FIRST_PAUSE = 0.01
LONGEST_PAUSE = 2.0
# Pauses grow by this factor, and are never shorter than so many times what the poll itself took.
GROWTH = 1.5
POLL_SHARE = 10

# Sorted lists of names, and the seconds waited.
Outcome = namedtuple("Outcome", ["synced", "failed", "dropped", "pending", "elapsed"])


def wait_for_syncs(client, names, seconds, monotonic=time.monotonic, sleep=time.sleep):
    """Wait until the sync of each name has ended, at most so many seconds, and return the Outcome.

    The names have just been queued on this client. A name that is neither queued nor in a dsync slot has ended; the
    replicator moves it from one to the other in one step, so reading STATUS before STATUS-DSYNC cannot miss the start.
    Only a STATUS read after that tells the result, as the first may still show the one of the sync before. A name that
    is no longer on the list was dropped: unknown to the userdb here or at the peer, or marked ``noreplicate``.
    """
    began = monotonic()
    deadline = began + seconds
    pending = set(names)
    mask = names[0] if len(pending) == 1 else "*"
    ended = {"synced": [], "failed": [], "dropped": []}
    pause = FIRST_PAUSE
    while pending:
        polled = monotonic()
        for name, result in _poll(client, pending, mask):
            ended[result].append(name)
            pending.discard(name)
        now = monotonic()
        if not pending or now >= deadline:
            break
        pause = min(max(pause * GROWTH, POLL_SHARE * (now - polled)), LONGEST_PAUSE)
        sleep(min(pause, deadline - now))
    return Outcome(
        sorted(ended["synced"]),
        sorted(ended["failed"]),
        sorted(ended["dropped"]),
        sorted(pending),
        round(monotonic() - began, 3),
    )


def _poll(client, pending, mask):
    """Return (name, result) for those of the pending names whose sync has ended."""
    before = client.users(mask)
    idle = [name for name in pending if name not in before or before[name].priority == "none"]
    if idle:
        running = {slot.username for slot in client.dsyncs()}
        idle = [name for name in idle if name not in running]
    if not idle:
        return []
    after = client.users(mask)
    return [(name, _result(after.get(name))) for name in idle]


def _result(status):
    if status is None:
        return "dropped"
    return "failed" if status.failed else "synced"
