# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replicator's list in a few numbers."""

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    DsyncSlot,
    Moment,
    UserStatus,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.summary import summarized

NOON = 1764158400


def ago(seconds):
    return Moment(NOON - seconds, seconds)


def test_nobody():
    assert summarized([], []) == {
        **dict.fromkeys(["known_users", "failing", "queued", "running", "never_synced"], 0),
        **dict.fromkeys(["oldest_full_sync", "oldest_full_sync_age", "oldest_waiting_success_age"]),
        **dict.fromkeys(["newest_success_age", "on_hold"]),
    }


def test_everyone():
    statuses = [
        UserStatus(username="new"),
        UserStatus(username="of the peer", fast_sync=ago(5), full_sync=ago(90000)),
        UserStatus(username="fails", priority="high", fast_sync=ago(9), successful_sync=ago(700), failed=True),
        UserStatus(username="waits", priority="low", fast_sync=ago(20), successful_sync=ago(19)),
        UserStatus(username="is well", fast_sync=ago(2), full_sync=ago(50), successful_sync=ago(1)),
        # After the clock was set back.
        UserStatus(username="future", priority="sync", fast_sync=ago(0), successful_sync=Moment(NOON + 900, None)),
    ]
    slots = [DsyncSlot(), DsyncSlot(username="is well", type="full")]
    assert summarized(statuses, slots, True) == {
        "known_users": 6,
        "failing": 1,
        "queued": 3,
        "running": 1,
        "never_synced": 1,
        "oldest_full_sync": "2025-11-25T11:00:00Z",
        "oldest_full_sync_age": 90000,
        "oldest_waiting_success_age": 700,
        "newest_success_age": 1,
        "on_hold": True,
    }
