# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a running Dovecot has read its configuration since it was changed. PRIVATE to this collection.

Dovecot makes all its sockets anew when it starts and when it is reloaded (measured on 2.3.13, 2.3.19.1 and 2.3.21.1).
So what identifies one of them tells one reading of the configuration from the next, whatever the clock does. The mark
that files were changed lies beside them, where it is gone after a reboot.
"""

import os

# This service cannot be without its socket.
SOCKET = "config"
MARK = "replication-not-loaded"


def incarnation(path):
    """Return what changes when Dovecot makes the socket at this path anew, None without one."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return "%d %s" % (status.st_ino, status.st_mtime)


class Loaded:
    """What the Dovecot with this ``base_dir`` has read."""

    def __init__(self, base_dir):
        self._pid_file = os.path.join(base_dir, "master.pid")
        self._socket = os.path.join(base_dir, SOCKET)
        self._mark = os.path.join(base_dir, MARK)

    def is_running(self):
        try:
            with open(self._pid_file) as stream:
                os.kill(int(stream.read()), 0)
        except (OSError, ValueError):
            return False
        return True

    def is_behind(self):
        """Tell whether files were changed since it has last read them."""
        try:
            with open(self._mark) as stream:
                marked = stream.read()
        except (OSError, ValueError):
            return False
        return marked == incarnation(self._socket)

    def mark(self):
        """Note that files are about to be changed, or were."""
        now = incarnation(self._socket)
        if now is not None:
            with open(self._mark, "w") as stream:
                stream.write(now)

    def unmark(self):
        """Forget that files were changed."""
        if os.path.exists(self._mark):
            os.unlink(self._mark)
