# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a running Dovecot has read its configuration since it was changed. PRIVATE to this collection.

Dovecot makes all its sockets anew when it starts and when it is reloaded (measured on 2.3.13, 2.3.19.1 and 2.3.21.1).
So the identity of a socket tells one reading of the configuration from the next, whatever the clock does. The mark
that files were changed is stored next to the sockets, so a reboot removes it.
"""

import os
from typing import Optional

# This service cannot be without its socket.
SOCKET = "config"
MARK = "replication-not-loaded"


def socket_identity(path: str) -> Optional[str]:
    """Return what changes when Dovecot makes the socket at this path anew, None without one."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return "%d %s" % (status.st_ino, status.st_mtime)


class Loaded:
    """What the Dovecot with this ``base_dir`` has read."""

    def __init__(self, base_dir: str) -> None:
        self._pid_file = os.path.join(base_dir, "master.pid")
        self._socket = os.path.join(base_dir, SOCKET)
        self._mark = os.path.join(base_dir, MARK)

    def is_running(self) -> bool:
        try:
            with open(self._pid_file) as stream:
                os.kill(int(stream.read()), 0)
        except (OSError, ValueError):
            return False
        return True

    def needs_reload(self) -> bool:
        """Tell whether files were changed after Dovecot last read them."""
        try:
            with open(self._mark) as stream:
                marked = stream.read()
        except (OSError, ValueError):
            return False
        return marked == socket_identity(self._socket)

    def mark(self) -> None:
        """Note that files are about to be changed, or were."""
        now = socket_identity(self._socket)
        if now is not None:
            with open(self._mark, "w") as stream:
                stream.write(now)

    def unmark(self) -> None:
        """Forget that files were changed."""
        if os.path.exists(self._mark):
            os.unlink(self._mark)
