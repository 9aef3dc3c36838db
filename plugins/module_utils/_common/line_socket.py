# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of a UNIX socket that carries lines. PRIVATE to this collection."""

import errno
import socket
import struct
from collections import deque
from typing import Deque, Dict, List, Optional, Tuple, Type

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common import rights
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    Interrupted,
    Silence,
)

CHUNK = 1 << 16
# No name and no row of Dovecot's comes near to this; its own processes take lines of some kilobytes.
LONGEST_LINE = 1 << 20
# The list of a million users takes two thirds of this. Each line counts for more than its bytes, as memory does.
LONGEST_ANSWER = 1 << 27
LINE_COSTS = 50
# How connecting fails while Dovecot is being restarted.
NOBODY_THERE = (errno.ENOENT, errno.ECONNREFUSED)
# How a read or a write ends that the kernel has waited for, and one that Python has.
NO_ANSWER = (BlockingIOError, socket.timeout)
NO_DOVECOT = ("this is not Dovecot's socket but something else's", "look who listens there with `ss -xlp`")


class LineSocket:
    """A connection to one of Dovecot's UNIX sockets, with a limit on silence.

    :arg path: of the socket
    :arg timeout: longest silence accepted, in seconds
    :arg cures: what to say when connecting fails: a dict of errno to (cause, cure)
    """

    def __init__(self, path: str, timeout: float, cures: Dict[int, Tuple[str, str]]) -> None:
        self.path = path
        self._lines: Deque[bytes] = deque()
        self._rest = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._timeout = timeout
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            cause, cure = cures.get(error.errno or 0, (None, None))
            kind = Interrupted if error.errno in NOBODY_THERE else DovecotError
            tried = "Connecting to %s" % path
            if error.errno == errno.EACCES:
                tried += " as the user %s" % rights.user_name()
            raise kind(tried, _text(error), cause, cure) from error
        self._be_patient(timeout)

    def write(self, data: bytes) -> None:
        """Send bytes; raise DovecotError."""
        try:
            self._socket.sendall(data)
        except BrokenPipeError:
            pass  # whoever reads the answer finds the stream at its end
        except OSError as error:
            raise self.failure(error) from error

    @property
    def unread(self) -> bytes:
        """Bytes that have come and were not read, at least the first of them."""
        return self._lines[0] if self._lines else self._rest

    def read_line(self) -> Optional[bytes]:
        """Return the next line without its newline, or None at the end of the stream."""
        while not self._lines:
            chunk = self._receive()
            if not chunk:
                return None
            lines = (self._rest + chunk).split(b"\n")
            self._rest = lines.pop()
            if len(self._rest) > LONGEST_LINE:
                raise self.failure("a line of more than %d bytes" % LONGEST_LINE, *NO_DOVECOT)
            self._lines.extend(lines)
        return self._lines.popleft()

    def read_paragraph(self) -> Optional[List[bytes]]:
        """Return the lines before an empty line, or None when the stream ends before it."""
        lines = []
        size = 0
        line = self.read_line()
        while line:
            lines.append(line)
            size += len(line) + LINE_COSTS
            if size > LONGEST_ANSWER:
                raise self._endless()
            line = self.read_line()
        return None if line is None else lines

    def read_burst(self, last: bytes, pause: float) -> Optional[List[bytes]]:
        """Return all lines up to one that begins with ``last``, after which the server sends nothing unasked.

        Nothing is done between reads, so that the server hardly ever has to wait for us. None when the stream ends
        before.

        :arg pause: longest silence accepted once the answer has begun, in seconds
        """
        chunks = [self._rest]
        size = 0
        patience = self._timeout
        while not chunks[-1].endswith(b"\n") or not _last_line(chunks).startswith(last):
            chunk = self._receive()
            if not chunk:
                return None
            chunks.append(chunk)
            size += len(chunk) + LINE_COSTS * chunk.count(b"\n")
            if size > LONGEST_ANSWER:
                raise self._endless()
            # The first of it has come.
            if len(chunks) == 2:
                self._be_patient(min(pause, patience))
        self._be_patient(patience)
        self._rest = b""
        lines = list(self._lines)
        self._lines.clear()
        return lines + b"".join(chunks).split(b"\n")[:-1]

    def close(self) -> None:
        self._socket.close()

    def failure(
        self,
        answer: object,
        cause: Optional[str] = None,
        cure: Optional[str] = None,
        kind: Type[DovecotError] = DovecotError,
    ) -> DovecotError:
        """Return the DovecotError for something that went wrong in talking over this socket."""
        if isinstance(answer, NO_ANSWER):
            kind, answer = Silence, socket.timeout()
        return kind("Talking to %s" % self.path, _text(answer), cause, cure)

    def _endless(self) -> DovecotError:
        return self.failure("an answer of more than %d bytes" % LONGEST_ANSWER, *NO_DOVECOT)

    def _be_patient(self, seconds: float) -> None:
        """Accept silence for so many seconds.

        The kernel counts them. Python would ask it before each read and each write whether there is something, which
        takes a seventh of a round trip.
        """
        limit = struct.pack("ll", int(seconds), max(1, int(seconds % 1 * 1e6)))
        try:
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self._socket.setsockopt(socket.SOL_SOCKET, option, limit)
            self._socket.settimeout(None)
        except OSError:
            self._socket.settimeout(seconds)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(CHUNK)
        except ConnectionResetError:
            return b""
        except OSError as error:
            raise self.failure(error) from error


def _last_line(chunks: List[bytes]) -> bytes:
    """Return the last line of a text in chunks, of which the last one ends with a newline."""
    tail = chunks[-1]
    for chunk in reversed(chunks[:-1]):
        if b"\n" in tail[:-1]:
            break
        tail = chunk + tail
    return tail[:-1].rpartition(b"\n")[2]


def _text(answer: object) -> str:
    if isinstance(answer, socket.timeout):
        return "no answer in time"
    if isinstance(answer, OSError) and answer.errno:
        return "%s (%s)" % (answer.strerror, errno.errorcode.get(answer.errno, answer.errno))
    return str(answer)
