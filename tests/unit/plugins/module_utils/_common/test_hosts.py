# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

import socket

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common import hosts


@pytest.mark.parametrize(
    "failures, asked, found",
    [
        ([], 1, ["192.0.2.1"]),
        ([socket.EAI_AGAIN], 2, ["192.0.2.1"]),
        ([socket.EAI_AGAIN] * 3, 2, []),
        ([socket.EAI_NONAME], 1, []),
    ],
)
def test_a_resolver_that_may_know_in_a_moment_is_asked_again(monkeypatch, failures, asked, found):
    times = []

    def look_up(name, *dummy, **options):
        times.append(name)
        if len(times) <= len(failures):
            raise socket.gaierror(failures[len(times) - 1], "no")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(hosts.socket, "getaddrinfo", look_up)
    monkeypatch.setattr(hosts, "PAUSE", 0)
    assert hosts.addresses_of("mx2") == found and len(times) == asked
