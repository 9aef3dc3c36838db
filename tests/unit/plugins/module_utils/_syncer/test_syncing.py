# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How one sync is started, and what its end means; the texts are Dovecot 2.4.1's."""

import sys
import time

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer import syncing


def test_a_sync_without_a_state_is_a_full_one():
    """A plain one takes mailboxes with as many new mails each for equal, and so does one with an empty state."""
    argv, full = syncing.command(["doveadm"], "a@x", "tcp:mx2", 30, "")
    assert full and "-f" in argv
    argv, full = syncing.command(["doveadm"], "a@x", "tcp:mx2", 30, "AQAA")
    assert not full and "-f" not in argv and argv[argv.index("-s") + 1] == "AQAA"


def test_a_state_that_fits_into_no_argument():
    argv, full = syncing.command(["doveadm"], "a@x", "tcp:mx2", 30, "A" * (syncing.LONGEST_STATE + 1))
    assert full and max(map(len, argv)) < 100


@pytest.mark.parametrize("state", ["", "AQAA"])
def test_syncs_of_one_user_always_exclude_each_other(state):
    argv, _full = syncing.command(["doveadm"], "a@x", "tcp:mx2", 30, state)
    assert argv[argv.index("-l") + 1] == "30"


ENDS = [
    (0, "AQAA\n", "", "synced"),
    (2, "AQAA\n", "Warning: Mailbox changes caused a desync. You may want to run dsync again", "again"),
    (67, "", "cmd sync: User doesn't exist", "missing"),
    (75, "AQAA\n", "dsync-local(a): Error: cmd dsync-server: User doesn't exist", "missing"),
    (75, "", "doveadm(a): Error: connect(10.0.0.1:12345) failed: Connection refused", "outage"),
    (75, "", "cmd sync: Disconnected from remote: connect(mx2:12345) timed out in 30.000 secs", "outage"),
    (75, "", "doveadm(a): Error: Lookup of host mx2 failed: Name or service not known", "outage"),
    (75, "", "doveadm(a): Error: doveadm authentication failed ()", "outage"),
    (75, "", "doveadm(a): Error: Received invalid SSL certificate: self-signed certificate", "outage"),
    (75, "", "dsync-local(a): Error: Couldn't lock /x/.dovecot-sync.lock: Timed out after 30 seconds", "failed"),
    (124, "", "the peer has not answered within 600 seconds", "failed"),
    (65, "", "", "failed"),
]


@pytest.mark.parametrize("status, out, err, kind", ENDS)
def test_what_an_end_means(status, out, err, kind):
    end = syncing.ended(status, out, err)
    assert end.kind == kind and end.status == status
    assert bool(end.problem) == (kind != "synced")
    # What failed leaves no state to build on.
    assert bool(end.state) == (kind in ("synced", "again"))


def test_what_a_peer_over_ssh_dies_of():
    err = "a: Error: read(vmail@mx2) failed: EOF\ndoveadm(a): Fatal: setgid(5000) failed\na: Error: closed"
    assert syncing.ended(75, "", err).problem == "doveadm(a): Fatal: setgid(5000) failed"


def test_a_command_that_never_ends():
    """With what it has started: the pipe stays open as long as one of them lives."""
    began = time.monotonic()
    sleeper = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    status, dummy, err = syncing.run([sys.executable, "-c", sleeper], 0.5)
    assert status == syncing.TIMED_OUT and "within 0 seconds" in err and time.monotonic() - began < 30


def test_a_command_that_ends():
    assert syncing.run([sys.executable, "-c", "import sys; print('out'); sys.exit(2)"], 30)[:2] == (2, "out\n")
