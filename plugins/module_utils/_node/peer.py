# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A log-in at the peer as dsync does it, without a sync. PRIVATE to this collection.

The handshake is that of src/doveadm/server-connection.c.
"""

import base64
import re
import socket
import ssl
from typing import Any, Dict, List, NamedTuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.commands import TIMED_OUT, RunCommand
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.certificates import PARTIAL_CHAIN
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.replica import OVER_TCP, Replica

# Minor version 0: without it the peer talks in several channels.
GREETING = b"VERSION\tdoveadm-server\t1\t0\n"
LONGEST_LINE = 500
WANTS_PASSWORD, WELCOME = b"-", b"+"
# In dsync_remote_cmd.
VARIABLE = re.compile(r"%(?:\{(\w+)\}|(\w))")
SSH_FAILED = 255


class Attempt(NamedTuple):
    """How far a log-in got.

    :arg stage: ok, lookup, connect, silent, tls_expected, no_tls, certificate, greeting, no_password, password, ssh
    :arg answer: what the system or the peer said, literally
    """

    stage: str
    answer: str


OK = Attempt("ok", "")


class Settings(NamedTuple):
    """The settings of this host for logging in at the peer."""

    username: str
    password: str
    ca_file: str
    ca_dir: str
    verify: bool
    remote_command: str


def attempt(replica: Replica, settings: Settings, timeout: float, run_command: RunCommand) -> Attempt:
    """Log in at the peer and leave again; return the Attempt.

    :arg replica: a Replica without a problem
    :arg timeout: seconds for each step
    :arg run_command: ``AnsibleModule.run_command``, for ssh
    """
    if replica.scheme not in OVER_TCP:
        return _over_ssh(replica, settings, timeout, run_command)
    try:
        found = socket.getaddrinfo(*replica.address, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        return Attempt("lookup", getattr(error, "strerror", None) or str(error))
    try:
        connection = socket.create_connection((str(found[0][4][0]), replica.address[1]), timeout)
    except socket.timeout:
        return Attempt("connect", "no answer in time")
    except OSError as error:
        return Attempt("connect", error.strerror or str(error))
    with connection:
        return _log_in(connection, replica, settings, timeout)


def _log_in(connection: socket.socket, replica: Replica, settings: Settings, timeout: float) -> Attempt:
    if replica.scheme == "tcps":
        try:
            connection = _client_context(settings).wrap_socket(connection, server_hostname=replica.host)
        except ssl.CertificateError as error:
            return Attempt("certificate", getattr(error, "verify_message", None) or str(error))
        except (ssl.SSLError, OSError, ValueError) as error:
            stage = "no_tls" if _speaks_plainly(replica, timeout) else "silent" if _is_late(error) else "certificate"
            return Attempt(stage, getattr(error, "reason", None) or str(error))
    try:
        return _authenticate(connection, replica, settings, timeout)
    except socket.timeout:
        return Attempt("silent", "no answer in time")
    except OSError as error:
        return Attempt("greeting", error.strerror or str(error))


def _authenticate(connection: socket.socket, replica: Replica, settings: Settings, timeout: float) -> Attempt:
    connection.sendall(GREETING)
    answer = _line(connection)
    if answer == WELCOME:
        return OK
    if answer != WANTS_PASSWORD:
        if replica.scheme == "tcp" and not answer and _speaks_tls(replica, timeout):
            return Attempt("tls_expected", "it closed the connection")
        return Attempt("greeting", answer.decode("utf-8", "replace") or "it closed the connection")
    if not settings.password:
        return Attempt("no_password", "")
    words = "\0%s\0%s" % (settings.username, settings.password)
    connection.sendall(b"PLAIN\t" + base64.b64encode(words.encode("utf-8", "surrogateescape")) + b"\n")
    answer = _line(connection)
    return OK if answer == WELCOME else Attempt("password", answer.decode("utf-8", "replace"))


def _line(connection: socket.socket) -> bytes:
    """Return a line without its end; of a line that does not end, or is cut off by the peer, the beginning."""
    line = b""
    while not line.endswith(b"\n") and len(line) < LONGEST_LINE:
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line.rstrip(b"\n")


def _client_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= PARTIAL_CHAIN
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca_file or settings.ca_dir:
        context.load_verify_locations(settings.ca_file or None, settings.ca_dir or None)
    return context


def _speaks_plainly(replica: Replica, timeout: float) -> bool:
    try:
        with socket.create_connection(replica.address, timeout) as connection:
            connection.sendall(GREETING)
            return _line(connection) in (WANTS_PASSWORD, WELCOME)
    except OSError:
        return False


def _speaks_tls(replica: Replica, timeout: float) -> bool:
    context = _client_context(Settings("", "", "", "", False, ""))
    try:
        with socket.create_connection(replica.address, timeout) as connection:
            context.wrap_socket(connection).close()
            return True
    except (ssl.SSLError, OSError):
        return False


def _is_late(error: Exception) -> bool:
    return isinstance(error, socket.timeout) or "timed out" in str(error)


def _over_ssh(replica: Replica, settings: Settings, timeout: float, run_command: RunCommand) -> Attempt:
    """Run the command that dsync would run. It finds nothing to do on its input and ends."""
    command = expand(settings.remote_command, {"login": replica.login, "host": replica.host})
    rc, dummy, err = run_command(["timeout", str(timeout)] + command, data="\n")
    said = " ".join(err.split())
    if rc == TIMED_OUT:
        return Attempt("silent", "no answer in time")
    return Attempt("ssh", said or "it ended with status %d" % rc) if rc in (SSH_FAILED, 126, 127) else OK


def expand(command: str, values: Dict[str, Any]) -> List[str]:
    """Return the words of dsync_remote_cmd with their variables replaced.

    As in Dovecot, a word disappears when all its variables are empty and it has other text: ``-u%u`` without a user.
    """
    words = []
    for word in command.split():
        names = [name or letter for name, letter in VARIABLE.findall(word)]
        if names and not any(values.get(name) for name in names) and VARIABLE.sub("", word):
            continue
        words.append(VARIABLE.sub(lambda match: values.get(match.group(1) or match.group(2), ""), word))
    return words
