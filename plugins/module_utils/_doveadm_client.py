# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transport ``doveadm``: a process for each command. PRIVATE to this collection."""

import json
import os

from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _rows
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._client import (
    CONNECTION_CURES,
    WRONG_SERVICE,
    ReplicatorClient,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError, Interrupted
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._line_socket import NOBODY_THERE

NOT_ON_THE_LIST = "User not found"
SIGNS_OF_A_RESTART = [os.strerror(number) for number in NOBODY_THERE] + [" disconnected"]
# What timeout(1) ends with.
TIMED_OUT = 124


class DoveadmClient(ReplicatorClient):
    """``doveadm replicator``. Its answers are read as JSON, the only format in which every name is unambiguous.

    :arg run_command: ``AnsibleModule.run_command`` or what behaves like it
    :arg doveadm: the command with its global options, a list; a command that limits its time may come before it
    :arg socket_path: as ``-a``; found by doveadm itself when None
    :arg printed: list to which lines are added that doveadm prints beside its answers
    """

    def __init__(self, run_command, doveadm, socket_path, printed):
        self._run_command = run_command
        self._doveadm = doveadm
        self._socket_options = ["-a", socket_path] if socket_path else []
        self._printed = printed

    def overview(self):
        return self._read(_rows.parse_overview, "status")

    def users(self, mask="*"):
        return self._read(_rows.parse_users, "status", "--", mask)

    def dsyncs(self):
        return self._read(_rows.parse_slots, "dsync-status")

    def replicate(self, names, priority):
        for name in names:
            self._run("replicate", "-p", priority, "--", name)

    def remove(self, names):
        for name in names:
            self._run("remove", "--", name, accept=NOT_ON_THE_LIST)

    def _read(self, parse, *arguments):
        out = self._run(*arguments)
        try:
            return parse(json.loads(out))
        except (ValueError, RecursionError) as error:
            raise DovecotError(self._tried(arguments), "cannot make sense of its answer, %s" % error) from error

    def _run(self, command, *arguments, **options):
        argv = self._doveadm + ["-f", "json", "replicator", command] + self._socket_options + list(arguments)
        rc, out, err = self._run_command(argv)
        lines = err.splitlines()
        self._printed += lines
        if rc == TIMED_OUT:
            raise DovecotError(self._tried((command,) + arguments), "no answer in time")
        accept = options.get("accept")
        if rc == 0 or (accept and accept in err):
            return out
        complaints = [line for line in lines if "Error: " in line or "Fatal: " in line] or lines[:1]
        cause, cure = _remedy(err)
        kind = Interrupted if any(sign in err for sign in SIGNS_OF_A_RESTART) else DovecotError
        raise kind(
            self._tried((command,) + arguments), " ".join(complaints) or "it ended with status %s" % rc, cause, cure
        )

    def _tried(self, arguments):
        return "Running doveadm replicator %s" % " ".join(arguments)


def _remedy(complaint):
    """Return cause and cure for what doveadm says."""
    for number, remedy in CONNECTION_CURES.items():
        if os.strerror(number) in complaint:
            return remedy
    return WRONG_SERVICE if " disconnected" in complaint else (None, None)
