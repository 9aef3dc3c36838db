# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replicator's list in a few numbers. Pure. PRIVATE to this collection.

Dovecot's overview cannot serve for that: it looks at the priority before it looks at failure, so a user whose last sync
failed and who has new changes queued is in neither of its counters of failed users
(src/replication/replicator/doveadm-connection.c).
"""

from typing import Any, Collection, Dict, Iterable, Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.durations import iso_time
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    NEVER,
    DsyncSlot,
    UserStatus,
)


def summarized(
    statuses: Collection[UserStatus], slots: Iterable[DsyncSlot], on_hold: Optional[bool] = None
) -> Dict[str, Any]:
    """Return the ``summary`` of the module replicator_info, as its RETURN describes it.

    :arg statuses: of everyone on the list
    :arg slots: read after them
    :arg on_hold: whether the configuration keeps syncs from being started, None where that is not known
    """
    full = [status.full_sync for status in statuses if status.full_sync.age is not None]
    oldest_full = max(full, key=lambda moment: moment.age or 0) if full else NEVER
    successes = [status.successful_sync.age for status in statuses if status.successful_sync.age is not None]
    waiting = [
        status.successful_sync.age
        for status in statuses
        if status.priority != "none" and status.successful_sync.age is not None
    ]
    return {
        "known_users": len(statuses),
        "failing": sum(status.failed for status in statuses),
        "queued": sum(status.priority != "none" for status in statuses),
        "running": sum(slot.username is not None for slot in slots),
        "never_synced": sum(status.fast_sync == status.full_sync == NEVER for status in statuses),
        "oldest_full_sync": iso_time(oldest_full.time),
        "oldest_full_sync_age": oldest_full.age,
        "oldest_waiting_success_age": max(waiting) if waiting else None,
        "newest_success_age": min(successes) if successes else None,
        "on_hold": on_hold,
    }
