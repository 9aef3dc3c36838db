# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The setting mail_replica. Pure. PRIVATE to this collection."""

import re
from typing import NamedTuple, Optional, Tuple

# Dovecot reads the port after the last colon.
ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/\s@\[\]]+?)(?::(?P<port>[0-9]{0,9}))?\Z")
OVER_TCP = ("tcp", "tcps")
OVER_SSH = ("remote", "remoteprefix")


class Replica(NamedTuple):
    """Where a host syncs to.

    :arg scheme: one of OVER_TCP or OVER_SSH; None when there is a problem, as is all the rest then
    :arg login: the user over ssh, an empty text when none is named
    :arg host: without brackets
    :arg port: None over ssh
    :arg problem: why Dovecot cannot sync there
    """

    scheme: Optional[str]
    login: Optional[str]
    host: Optional[str]
    port: Optional[int]
    problem: Optional[str]

    @property
    def address(self) -> Tuple[str, int]:
        """Host and port; only over TCP."""
        return self.host or "", self.port or 0


def parse_replica(text: str, default_port: int = 0) -> Replica:
    """Return the Replica in a value of mail_replica.

    :arg default_port: the setting doveadm_port

    >>> parse_replica("tcp:mx2.example.org:12345").port
    12345
    """
    scheme, colon, rest = text.partition(":")
    if scheme in OVER_SSH and colon:
        login, dummy, host = rest.rpartition("@")
        return Replica(scheme, login, host, None, None) if host else _no("it names no host")
    if scheme not in OVER_TCP or not colon:
        return _no("it begins with none of tcp:, tcps:, remote: and remoteprefix:, and so is a local path")
    match = ADDRESS.match(rest)
    if not match:
        return _no("what comes after %s: is not HOST:PORT" % scheme)
    port = int(match.group("port") or default_port)
    if not 0 < port < 65536:
        return _no("it has no port, and doveadm_port is %s" % default_port if not port else "%d is no port" % port)
    return Replica(scheme, "", match.group("host").strip("[]"), port, None)


def _no(problem: str) -> Replica:
    return Replica(None, None, None, None, problem)
