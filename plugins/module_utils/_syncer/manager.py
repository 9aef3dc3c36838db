# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service tells systemd, and what that keeps for it while it is started again. PRIVATE to this collection.

See sd_notify(3) and sd_listen_fds(3).
"""

import array
import os
import socket
from typing import Any, List

FIRST_KEPT = 3


def tell_systemd(text: str, *descriptors: int) -> None:
    """Tell the service manager something, with open files where it is to keep them; nobody where there is none."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        address = "\0" + path[1:] if path.startswith("@") else path
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendmsg([text.encode("utf-8")], rights, 0, address)


def keep_connection(connection: Any) -> None:
    """Have systemd keep a socket open, for the next process of this service, until the other end closes it."""
    tell_systemd("FDSTORE=1\nFDNAME=%s" % _name_of(connection), connection.fileno())


def drop_connection(connection: Any) -> None:
    """Have systemd keep it no longer."""
    tell_systemd("FDSTOREREMOVE=1\nFDNAME=%s" % _name_of(connection))


def kept_connections() -> List[socket.socket]:
    """Return what the process before this one has had kept; to be called once."""
    # The syncs that it starts are not to take them for theirs.
    number, owner, dummy = (os.environ.pop("LISTEN_" + name, "0") for name in ("FDS", "PID", "FDNAMES"))
    if owner != str(os.getpid()):
        return []
    return [socket.socket(fileno=descriptor) for descriptor in range(FIRST_KEPT, FIRST_KEPT + int(number))]


def _name_of(connection: Any) -> str:
    """Return a name that no other socket has, and this one in each process."""
    return "events-%d" % os.fstat(connection.fileno()).st_ino
