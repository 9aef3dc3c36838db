# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real full syncs. PRIVATE to this collection.

``replicate -f`` starts none in any release of Dovecot. A user who is new on the list has never been fully synced, so
taking the user off the list and queueing again does. In between the user is on no list, and a guard sees to it that it
does not stay so when this process is killed.
"""

import os
import time

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._audience import left_alone

PAUSE = 0.1
# How long the guard tries to put the user back, in seconds.
PERSISTENCE = 60


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


class Guard:
    """A process of its own that acts when this one dies between ``watch`` and ``release``.

    :arg rescue: function that takes the name that was watched; called in the guard's process
    """

    def __init__(self, rescue):
        reading, self._writing = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            try:
                os.close(self._writing)
                _stand_by(reading, rescue)
            finally:
                os._exit(0)
        os.close(reading)

    def watch(self, name):
        self._tell(name)

    def release(self):
        self._tell("")

    def close(self):
        """Send the guard home; nothing is watched any more."""
        os.close(self._writing)
        os.waitpid(self._process, 0)

    def _tell(self, name):
        # Lengths instead of line ends, as a name may contain those.
        data = name.encode("utf-8", "surrogateescape")
        os.write(self._writing, b"%d:%s" % (len(data), data))


def _stand_by(reading, rescue):
    # Neither a signal to the group of the parent nor the end of its terminal is for this process, and whoever reads the
    # parent's output must not wait for it.
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    watched = last_told(iter(lambda: os.read(reading, 4096), b""))
    deadline = time.monotonic() + PERSISTENCE
    while watched and time.monotonic() < deadline:
        try:
            rescue(watched)
            break
        except Exception:
            # Dovecot is being restarted, perhaps.
            time.sleep(1)


def last_told(chunks):
    """Return the last name in what ``Guard`` has written, an empty one when nothing is being watched.

    >>> last_told([b"3:bob0:", b"5:al", b"ice"])
    'alice'
    """
    data = b"".join(chunks)
    name = b""
    while data:
        length, dummy, rest = data.partition(b":")
        name, data = rest[: int(length)], rest[int(length) :]
    return name.decode("utf-8", "surrogateescape")
