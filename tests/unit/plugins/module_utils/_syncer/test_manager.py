# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service tells systemd, and has it keep."""

import array
import os
import socket

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer import manager


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield channel


def told(channel):
    """The lines that it has been told, and the files that came along."""
    text, ancillary, dummy, dummy = channel.recvmsg(1000, socket.CMSG_SPACE(40))
    files = array.array("i")
    for _level, _kind, data in ancillary:
        files.frombytes(data)
    return text.decode().splitlines(), list(files)


def test_a_connection_is_kept_and_dropped_by_one_name(systemd):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        manager.keep_connection(ours)
        lines, (number,) = told(systemd)
        assert lines[0] == "FDSTORE=1"
        with socket.socket(fileno=number) as kept:
            theirs.sendall(b"heard")
            assert kept.recv(10) == b"heard"
            # The next process knows it by another number.
            manager.drop_connection(kept)
            assert told(systemd) == (["FDSTOREREMOVE=1", lines[1]], [])
        manager.drop_connection(theirs)
        assert told(systemd)[0][1] != lines[1]


def test_what_was_kept_is_taken_once(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(manager, "FIRST_KEPT", ours.fileno())
        for process, number in ((os.getpid() + 1, 0), (os.getpid(), 1)):
            monkeypatch.setenv("LISTEN_PID", str(process))
            monkeypatch.setenv("LISTEN_FDS", "1")
            found = manager.kept_connections()
            assert len(found) == number and "LISTEN_FDS" not in os.environ
        assert found[0].detach() == ours.fileno()
    assert manager.kept_connections() == []


def test_without_systemd_nobody_is_told(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    manager.tell_systemd("READY=1")
