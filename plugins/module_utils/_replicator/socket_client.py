# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transport ``socket``: the replicator's own UNIX socket. PRIVATE to this collection."""

import time
from typing import Any, Callable, Collection, Dict, Iterable, List, Optional, Sequence, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    Interrupted,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.line_socket import LineSocket
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import protocol
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.client import (
    CONNECTION_CURES,
    WRONG_SERVICE,
    ReplicatorClient,
)

SERVER = "replicator-doveadm-server"
CLIENT = "replicator-doveadm-client"
MAJOR = "1"


class SocketClient(ReplicatorClient):
    """One connection to ``replicator-doveadm``, one command per round trip.

    The server handles one line per read event and would answer the next request with the rest, so there is no
    pipelining.
    """

    def __init__(self, path: str, timeout: float, cures: Optional[Dict[int, Tuple[str, str]]] = None) -> None:
        self._socket = LineSocket(path, timeout, cures or CONNECTION_CURES)
        try:
            greeting = self._socket.read_line()
            closed = greeting is None
            answer = "it closed the connection" if greeting is None else "it greets with %.100r" % greeting
        except DovecotError as error:
            greeting, closed, answer = None, False, str(error.answer)
        if protocol.decode_line(greeting or b"")[:3] != ["VERSION", SERVER, MAJOR]:
            self._socket.close()
            # Dovecot's master takes connections for a replicator that is just ending.
            raise self._socket.failure(answer, *WRONG_SERVICE, kind=Interrupted if closed else DovecotError)
        self._socket.write(protocol.encode_line("VERSION", CLIENT, MAJOR, "0"))

    def overview(self) -> Dict[str, int]:
        return self._parsed(protocol.parse_overview, self._paragraph("STATUS"))

    def rows(self, mask: str = "*") -> List[bytes]:
        """Return the rows of the entries that match the mask, as the replicator writes them."""
        return self._paragraph("STATUS", mask)

    def users(self, mask: str = "*") -> Dict[str, protocol.UserStatus]:
        lines = self.rows(mask)
        return self._parsed(protocol.parse_users, lines, time.time())

    def names(self, mask: str = "*") -> Collection[str]:
        return self._parsed(protocol.parse_names, self.rows(mask))

    def dsyncs(self) -> List[protocol.DsyncSlot]:
        return self._parsed(protocol.parse_slots, self._paragraph("STATUS-DSYNC"))

    def replicate(self, names: Iterable[str], priority: str) -> None:
        for name in names:
            # Only the service refuses a user whom the userdb does not know; a replicator drops one later.
            self._command("REPLICATE", priority, "", name, accept=("User not found",))

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._command("REMOVE", name, accept=("User not found",))

    def close(self) -> None:
        self._socket.close()

    def _ask(self, fields: Sequence[str]) -> None:
        # Else an unread line would be taken for the answer to this.
        if self._socket.unread:
            raise self._socket.failure("it said %.100r without being asked" % self._socket.unread, *WRONG_SERVICE)
        self._socket.write(protocol.encode_line(*fields))

    def _command(self, *fields: str, accept: Collection[str] = ()) -> None:
        self._ask(fields)
        reply = self._socket.read_line()
        if reply is None:
            raise self._closed(fields)
        if reply[:1] == b"+":
            return
        refusal = protocol.decode_line(reply[1:])[0]
        if reply[:1] != b"-" or refusal not in accept:
            raise self._socket.failure("%s was answered with %.200r" % (" ".join(fields), reply))

    def _paragraph(self, *fields: str) -> List[bytes]:
        self._ask(fields)
        lines = self._socket.read_paragraph()
        if lines is None:
            raise self._closed(fields)
        return lines

    def _parsed(self, parse: Callable[..., Any], *answer: Any) -> Any:
        try:
            return parse(*answer)
        except ValueError as error:
            raise self._socket.failure("cannot make sense of its answer, %s" % error) from error

    def _closed(self, fields: Sequence[str]) -> DovecotError:
        return self._socket.failure(
            "it closed the connection during %s" % fields[0],
            "the replicator was restarted (a reload of Dovecot does that) or has died",
            "look at Dovecot's log, then run the task again",
            Interrupted,
        )
