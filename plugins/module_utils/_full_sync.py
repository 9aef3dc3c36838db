# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real full syncs. PRIVATE to this collection.

``replicate -f`` starts none in any release of Dovecot. A user who is new on the list has never been fully synced, so
taking the user off the list and queueing again does. In between the user is on no list, and a guard sees to it that it
does not stay so when this process is killed.
"""

import time

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._audience import left_alone

PAUSE = 0.1


def request_full_syncs(client, names, priority, seconds, guard, monotonic=time.monotonic, sleep=time.sleep):
    """Queue a full sync of each name, those with a sync under way as soon as that has ended.

    :arg seconds: how long to wait for those
    :arg guard: a Guard
    :return: the names for which this took too long, sorted
    """
    deadline = monotonic() + seconds
    waiting = list(names)
    while waiting:
        busy = []
        for name in waiting:
            if any(slot.username == name for slot in client.dsyncs()):
                busy.append(name)
                continue
            guard.watch(name)
            client.start_over(name, priority)
            guard.release()
        waiting = busy
        if waiting:
            if monotonic() >= deadline or left_alone():
                break
            sleep(PAUSE)
    return sorted(waiting)
