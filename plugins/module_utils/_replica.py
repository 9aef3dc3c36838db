# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the setting mail_replica says. Pure. PRIVATE to this collection."""

import re
from collections import namedtuple

# Dovecot takes what is after the last colon for the port.
ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/\s@\[\]]+?)(?::(?P<port>[0-9]{0,9}))?\Z")
OVER_TCP = ("tcp", "tcps")
OVER_SSH = ("remote", "remoteprefix")


class Replica(namedtuple("Replica", "scheme login host port problem")):
    """Where a host syncs to.

    :arg scheme: one of OVER_TCP or OVER_SSH, None when there is a problem
    :arg login: the user over ssh, an empty text when none is named
    :arg host: without brackets
    :arg port: an int, None over ssh
    :arg problem: why Dovecot cannot sync there, or None
    """

    __slots__ = ()


def parse_replica(text, default_port=0):
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


def _no(problem):
    return Replica(None, None, None, None, problem)
