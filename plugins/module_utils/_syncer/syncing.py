# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One ``doveadm sync`` of one user: its command, and what its end means. PRIVATE to this collection.

The exit codes and texts were measured on 2.4.1.
"""

import os
import re
import signal
import subprocess
from typing import List, NamedTuple, Optional, Tuple

CHANGED_MEANWHILE = 2
NO_SUCH_USER = 67
TEMPORARY = 75
TIMED_OUT = 124
# Longer states do not fit into an argument of a command, which Linux limits to 128 KiB.
LONGEST_STATE = 100000
# What concerns all users alike: the peer, or the way to it.
OUTAGE = re.compile(
    r"connect\(.*\) (?:failed|timed out)|Lookup of host .* failed|authentication failed|before handshake"
    r"|ssh: |certificate|SSL"
)
# So many outages in a row, without a success between them, and the peer is taken for gone.
OUTAGES = 3
UNKNOWN = re.compile("User doesn't exist|Unknown user in remote")
DEADLY = re.compile("Fatal: |Panic: ")
LONGEST_PROBLEM = 400
# A process that ignores SIGTERM is killed after so many seconds.
GRACE = 5


class Ended(NamedTuple):
    """How a sync has ended.

    :arg kind: ``synced``, ``again`` (mail changed meanwhile), ``missing`` (no such user, here or at the peer),
        ``failed``, or ``outage``, which would meet any other user as well
    :arg status: its exit status, TIMED_OUT where it was ended
    :arg problem: the last that it said, empty where it succeeded
    :arg state: for the next sync, empty where it left none
    """

    kind: str
    status: int
    problem: str
    state: str


def command(doveadm: List[str], name: str, destination: str, lock_patience: int, state: str) -> Tuple[List[str], bool]:
    """Return the command that syncs a user, and whether it is a full sync.

    A plain sync would take two mailboxes with as many new mails each for equal, so without a state it is a full one.

    >>> command(["doveadm"], "alice", "tcp:mx2", 30, "")[0]
    ['doveadm', 'sync', '-l', '30', '-s', '', '-f', '-u', 'alice', 'tcp:mx2']
    """
    full = not state or len(state) > LONGEST_STATE
    how = ["-s", "", "-f"] if full else ["-s", state]
    return doveadm + ["sync", "-l", str(lock_patience)] + how + ["-u", name, destination], full


def ended(status: int, out: str, err: str) -> Ended:
    """Return what the end of a sync means.

    >>> ended(75, "", "doveadm(a): Error: connect(10.0.0.1:12345) failed: Connection refused").kind
    'outage'
    """
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    # Of a peer that dies over ssh the last line tells only that it is gone.
    problem = ([line for line in lines if DEADLY.search(line)] + lines[-1:] + ["status %d" % status])[0][
        :LONGEST_PROBLEM
    ]
    state = (out.split() or [""])[-1]
    if status == 0:
        return Ended("synced", 0, "", state)
    if status == CHANGED_MEANWHILE:
        return Ended("again", status, problem, state)
    # Over ssh the peer's answer comes with another status.
    if status == NO_SUCH_USER or any(UNKNOWN.search(line) for line in lines):
        return Ended("missing", status, problem, "")
    telling = [line for line in lines if OUTAGE.search(line)]
    if telling:
        return Ended("outage", status, telling[0][:LONGEST_PROBLEM], "")
    return Ended("failed", status, problem, "")


def run(argv: List[str], patience: Optional[float]) -> Tuple[int, str, str]:
    """Run a command in a group of its own, end the group after so many seconds, and return status, output and errors.

    ``-T`` of doveadm does not end a sync with a peer that accepts and says nothing.
    """
    # In a program of its own there is no run_command.
    process = subprocess.Popen(  # pylint: disable=ansible-bad-function
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=patience)
        return process.returncode, _text(out), _text(err)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        return TIMED_OUT, "", "the peer has not answered within %d seconds" % (patience or 0)


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")
