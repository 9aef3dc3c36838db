# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transport ``doveadm``: a process for each command. PRIVATE to this collection."""

import json
import os
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.commands import (
    HARMLESS,
    TIMED_OUT,
    RunCommand,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    Interrupted,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.line_socket import NOBODY_THERE
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import rows
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.client import (
    CONNECTION_CURES,
    WRONG_SERVICE,
    ReplicatorClient,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    DsyncSlot,
    UserStatus,
)

NOT_ON_THE_LIST = "User not found"
SIGNS_OF_A_RESTART = [os.strerror(number) for number in NOBODY_THERE] + [" disconnected"]


class DoveadmClient(ReplicatorClient):
    """``doveadm replicator``. Its answers are read as JSON, the only format in which every name is unambiguous.

    :arg run_command: ``AnsibleModule.run_command`` or what behaves like it
    :arg doveadm: the command with its global options, a list; a command that limits its time may come before it
    :arg socket_path: as ``-a``; found by doveadm itself when None
    :arg printed: list that receives the lines which doveadm prints besides its answers
    """

    def __init__(
        self, run_command: RunCommand, doveadm: List[str], socket_path: Optional[str], printed: List[str]
    ) -> None:
        self._run_command = run_command
        self._doveadm = doveadm
        self._socket_options = ["-a", socket_path] if socket_path else []
        self._printed = printed

    def overview(self) -> Dict[str, int]:
        return self._read(rows.parse_overview, "status")

    def users(self, mask: str = "*") -> Dict[str, UserStatus]:
        return self._read(rows.parse_users, "status", "--", mask)

    def dsyncs(self) -> List[DsyncSlot]:
        return self._read(rows.parse_slots, "dsync-status")

    def replicate(self, names: Iterable[str], priority: str) -> None:
        for name in names:
            self._run("replicate", "-p", priority, "--", name)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._run("remove", "--", name, accept=NOT_ON_THE_LIST)

    def _read(self, parse: Callable[[Any], Any], *arguments: str) -> Any:
        out = self._run(*arguments)
        try:
            return parse(json.loads(out))
        except (ValueError, RecursionError) as error:
            raise DovecotError(self._tried(arguments), "cannot make sense of its answer, %s" % error) from error

    def _run(self, command: str, *arguments: str, accept: Optional[str] = None) -> str:
        argv = self._doveadm + ["-f", "json", "replicator", command] + self._socket_options + list(arguments)
        rc, out, err = self._run_command(argv)
        lines = err.splitlines()
        self._printed += lines
        if rc == TIMED_OUT:
            raise DovecotError(self._tried((command,) + arguments), "no answer in time")
        if rc == 0 or (accept and accept in err):
            return out
        lines = [line for line in lines if HARMLESS not in line]
        complaints = [line for line in lines if "Error: " in line or "Fatal: " in line] or lines[:1]
        told = "\n".join(lines)
        cause, cure = _explanation(told)
        kind = Interrupted if any(sign in told for sign in SIGNS_OF_A_RESTART) else DovecotError
        raise kind(
            self._tried((command,) + arguments), " ".join(complaints) or "it ended with status %s" % rc, cause, cure
        )

    def _tried(self, arguments: Iterable[str]) -> str:
        return "Running doveadm replicator %s" % " ".join(arguments)


def _explanation(complaint: str) -> Tuple[Optional[str], Optional[str]]:
    """Return cause and cure for what doveadm says, None where nothing is known."""
    for number, explanation in CONNECTION_CURES.items():
        if os.strerror(number) in complaint:
            return explanation
    return WRONG_SERVICE if " disconnected" in complaint else (None, None)
