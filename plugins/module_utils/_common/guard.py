# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repairs that happen even when this process is killed. PRIVATE to this collection."""

import os
import time
from typing import Callable, Iterable

# How long the guard tries, in seconds.
PERSISTENCE = 60
GAVE_UP = 1


class Guard:
    """A process of its own that acts when this one dies, or closes it, between ``watch`` and ``release``.

    :arg rescue: function of the watched name, called in the guard's process; it is tried again when it raises
    :arg persistence: how long it is tried, in seconds
    """

    def __init__(self, rescue: Callable[[str], object], persistence: float = PERSISTENCE) -> None:
        # The name that is being watched, an empty one when none is.
        self.watched = ""
        reading, self._writing = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            status = GAVE_UP
            try:
                os.close(self._writing)
                status = 0 if _stand_by(reading, rescue, persistence) else GAVE_UP
            finally:
                os._exit(status)
        os.close(reading)

    def watch(self, name: str) -> None:
        """Begin to watch a name, in place of an earlier one."""
        self._tell(name)

    def release(self) -> None:
        """Watch nothing any more."""
        self._tell("")

    def close(self) -> bool:
        """End the guard, after its rescue of what is still watched; tell whether that succeeded or nothing was."""
        os.close(self._writing)
        dummy, status = os.waitpid(self._process, 0)
        return status == 0

    def _tell(self, name: str) -> None:
        # Lengths instead of line ends, as a name may contain those.
        self.watched = name
        data = name.encode("utf-8", "surrogateescape")
        os.write(self._writing, b"%d:%s" % (len(data), data))


def _stand_by(reading: int, rescue: Callable[[str], object], persistence: float) -> bool:
    # Neither a signal to the group of the parent nor the end of its terminal is for this process, and whoever reads the
    # parent's output must not wait for it.
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    watched = last_told(iter(lambda: os.read(reading, 4096), b""))
    deadline = time.monotonic() + persistence
    while watched and time.monotonic() < deadline:
        try:
            rescue(watched)
            return True
        except Exception:
            # Dovecot is being restarted, perhaps.
            time.sleep(1)
    return not watched


def last_told(chunks: Iterable[bytes]) -> str:
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
