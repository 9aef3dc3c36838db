# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where mail_replica says to sync to, and the command of ssh."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.peer import expand
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.replica import parse_replica


@pytest.mark.parametrize(
    "text, scheme, login, host, port",
    [
        ("tcp:mx2:12345", "tcp", "", "mx2", 12345),
        ("tcps:mx2.example.org:1", "tcps", "", "mx2.example.org", 1),
        ("tcp:mx2", "tcp", "", "mx2", 4000),
        ("tcp:mx2:", "tcp", "", "mx2", 4000),
        ("tcp:[2001:db8::2]:12345", "tcp", "", "2001:db8::2", 12345),
        ("remote:mx2", "remote", "", "mx2", None),
        ("remoteprefix:vmail@mx2", "remoteprefix", "vmail", "mx2", None),
        ("remote:a@b@mx2", "remote", "a@b", "mx2", None),
    ],
)
def test_what_dovecot_can_sync_to(text, scheme, login, host, port):
    assert parse_replica(text, 4000) == (scheme, login, host, port, None)


@pytest.mark.parametrize(
    "text, words",
    [
        ("tpc:mx2:12345", "local path"),
        ("maildir:~/other", "local path"),
        ("mx2", "local path"),
        ("tcp", "local path"),
        ("tcp:", "is not HOST:PORT"),
        ("tcp:mx2:12345/x", "is not HOST:PORT"),
        ("tcp:mx2", "has no port, and doveadm_port is 0"),
        ("tcp:mx2:70000", "70000 is no port"),
        ("remote:vmail@", "names no host"),
    ],
)
def test_what_it_cannot_sync_to(text, words):
    replica = parse_replica(text)
    assert words in replica.problem and replica.host is None


@pytest.mark.parametrize(
    "command, values, words",
    [
        ("ssh -l%{login} %{host} x", {"login": "vmail", "host": "mx2"}, ["ssh", "-lvmail", "mx2", "x"]),
        ("ssh -l%{login} %{host} -u%u -U", {"host": "mx2"}, ["ssh", "mx2", "-U"]),
        ("ssh %{login}@%{host}", {"host": "mx2"}, ["ssh", "@mx2"]),
    ],
)
def test_the_command_of_ssh(command, values, words):
    assert expand(command, values) == words
