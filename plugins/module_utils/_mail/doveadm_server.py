# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""doveadm's commands for many users over one connection. PRIVATE to this collection.

Dovecot's replicator has its syncs done over the same socket. A command here costs a millisecond, a process some twenty.
"""

import os
from typing import Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    Interrupted,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.line_socket import LineSocket
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import encode_line

SOCKET_NAME = "doveadm-server"
# Minor version 0: with a later one the server talks in several channels.
GREETING = b"VERSION\tdoveadm-server\t1\t0\n"
WELCOME = b"+"
HUNG_UP = "it closed the connection"


class DoveadmServer:
    """A connection to ``doveadm-server``; a new one is made when the server ends it. Raises DovecotError.

    :arg base_dir: of the instance
    :arg timeout: longest silence accepted, in seconds
    """

    def __init__(self, base_dir: str, timeout: float) -> None:
        self._path = os.path.join(base_dir, SOCKET_NAME)
        self._timeout = timeout
        self._socket: Optional[LineSocket] = None

    def run(self, name: str, command: str, *arguments: str) -> None:
        """Have a command carried out for a user that prints nothing; raise DovecotError with what Dovecot answered."""
        connection = self._connected()
        connection.write(encode_line("", name, command, *arguments))
        # What the command prints, which is nothing, and how it ended.
        lines = [connection.read_line(), connection.read_line()]
        if None in lines:
            self.close()
            raise Interrupted(
                "Running doveadm %s for %s" % (command, name),
                HUNG_UP,
                "doveadm_allowed_commands is set and leaves out this command, or the command has crashed",
                "look at the last lines of Dovecot's log",
            )
        if lines[1] != WELCOME:
            answer = (lines[1] or b"").decode("utf-8", "replace").lstrip("-")
            raise DovecotError(
                "Running doveadm %s for %s" % (command, name), answer, cure="look at the last lines of Dovecot's log"
            )

    def _connected(self) -> LineSocket:
        if self._socket is None:
            connection = LineSocket(self._path, self._timeout, {})
            connection.write(GREETING)
            line = connection.read_line()
            if line != WELCOME:
                connection.close()
                raise DovecotError(
                    "Logging in at %s" % self._path,
                    HUNG_UP if line is None else "it asks for a password",
                    "the socket has another mode than 0600",
                    "take mode out of `unix_listener doveadm-server` in the service doveadm, and reload Dovecot",
                )
            self._socket = connection
        return self._socket

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
