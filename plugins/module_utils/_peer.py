# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the peer lets this host in, tried as dsync would do it but for the sync. PRIVATE to this collection.

The handshake is that of src/doveadm/server-connection.c.
"""

import base64
import re
import socket
import ssl
from collections import namedtuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._certificates import PARTIAL_CHAIN
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replica import OVER_TCP

# Minor version 0: without it the peer talks in several channels.
GREETING = b"VERSION\tdoveadm-server\t1\t0\n"
LONGEST_LINE = 500
WANTS_PASSWORD, WELCOME = b"-", b"+"
# In dsync_remote_cmd.
VARIABLE = re.compile(r"%(?:\{(\w+)\}|(\w))")
SSH_FAILED = 255
TIMED_OUT = 124

# How far it came.
#   stage: ok, lookup, connect, silent, tls_expected, no_tls, certificate, greeting, no_password, password, ssh
#   answer: what the system or the peer said, literally
Attempt = namedtuple("Attempt", "stage answer")
OK = Attempt("ok", "")


class Settings(namedtuple("Settings", "username password ca_file ca_dir verify remote_command")):
    """What this host's configuration has for logging in at the peer, all texts but ``verify``, a bool."""

    __slots__ = ()


def attempt(replica, settings, timeout, run_command):
    """Log in at the peer and leave again; return the Attempt.

    :arg replica: a Replica without a problem
    :arg timeout: seconds for each step
    :arg run_command: ``AnsibleModule.run_command``, for ssh
    """
    if replica.scheme not in OVER_TCP:
        return _over_ssh(replica, settings, timeout, run_command)
    try:
        found = socket.getaddrinfo(replica.host, replica.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        return Attempt("lookup", getattr(error, "strerror", None) or str(error))
    try:
        connection = socket.create_connection(found[0][4][:2], timeout)
    except socket.timeout:
        return Attempt("connect", "no answer in time")
    except OSError as error:
        return Attempt("connect", error.strerror or str(error))
    with connection:
        return _log_in(connection, replica, settings, timeout)


def _log_in(connection, replica, settings, timeout):
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


def _authenticate(connection, replica, settings, timeout):
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


def _line(connection):
    """Return a line without its end, what came of it when the connection was closed or the line does not end."""
    line = b""
    while not line.endswith(b"\n") and len(line) < LONGEST_LINE:
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line.rstrip(b"\n")


def _client_context(settings):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= PARTIAL_CHAIN
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca_file or settings.ca_dir:
        context.load_verify_locations(settings.ca_file or None, settings.ca_dir or None)
    return context


def _speaks_plainly(replica, timeout):
    try:
        with socket.create_connection((replica.host, replica.port), timeout) as connection:
            connection.sendall(GREETING)
            return _line(connection) in (WANTS_PASSWORD, WELCOME)
    except OSError:
        return False


def _speaks_tls(replica, timeout):
    context = _client_context(Settings("", "", "", "", False, ""))
    try:
        with socket.create_connection((replica.host, replica.port), timeout) as connection:
            context.wrap_socket(connection).close()
            return True
    except (ssl.SSLError, OSError):
        return False


def _is_late(error):
    return isinstance(error, socket.timeout) or "timed out" in str(error)


def _over_ssh(replica, settings, timeout, run_command):
    """Run the command that dsync would run, which then finds nothing to do on its input and ends."""
    command = expand(settings.remote_command, {"login": replica.login, "host": replica.host})
    rc, dummy, err = run_command(["timeout", str(timeout)] + command, data="\n")
    said = " ".join(err.split())
    if rc == TIMED_OUT:
        return Attempt("silent", "no answer in time")
    return Attempt("ssh", said or "it ended with status %d" % rc) if rc in (SSH_FAILED, 126, 127) else OK


def expand(command, values):
    """Return the words of dsync_remote_cmd with their variables replaced, a list.

    As in Dovecot, a word of which nothing but its own text would be left is none: ``-u%u`` without a user.
    """
    words = []
    for word in command.split():
        names = [name or letter for name, letter in VARIABLE.findall(word)]
        if names and not any(values.get(name) for name in names) and VARIABLE.sub("", word):
            continue
        words.append(VARIABLE.sub(lambda match: values.get(match.group(1) or match.group(2), ""), word))
    return words
