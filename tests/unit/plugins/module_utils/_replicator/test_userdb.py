# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listing the userdb, where the listing arrives in pieces or stops. A live Dovecot stops one only now and then."""

import contextlib
import socket
import threading

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError, Silence
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb import (
    USERDB_SOCKET,
    WINDOW,
    Userdb,
)

GREETING = [b"VERSION\t1\t1\n", b"SPID\t7\n"]


@pytest.fixture
def userdb(tmp_path):
    """Return a function that opens a Userdb whose n-th connection sends the n-th of its arguments, a list of chunks.

    When it has sent all it stays connected and says no more. The n-th connection serves the request number n. The
    ``limit`` in seconds is long, as processors may be busy, except where silence is what is tested.
    """
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(tmp_path / USERDB_SOCKET))
        server.listen()

        def serve(answers):
            for chunks in answers:
                connection = opened.enter_context(server.accept()[0])
                for line in GREETING:
                    connection.sendall(line)
                received = b""
                while b"LIST\t" not in received or not received.endswith(b"\n"):
                    received += connection.recv(4096)
                for chunk in chunks:
                    connection.sendall(chunk)

        def opened_userdb(*answers, limit=30):
            threading.Thread(target=serve, args=[answers], daemon=True).start()
            return opened.enter_context(contextlib.closing(Userdb(str(tmp_path), limit)))

        yield opened_userdb


@pytest.mark.parametrize("size", [1, 2, 7, 13, 100])
def test_a_listing_in_pieces(userdb, size):
    whole = b"LIST\t1\tann\nLIST\t1\tbob\nDONE\t1\t\n"
    assert userdb([whole[start : start + size] for start in range(0, len(whole), size)]).names() == {"ann", "bob"}


def test_names_that_look_like_the_end(userdb):
    assert userdb([b"LIST\t1\tDONE\n", b"LIST\t1\tx", b"DONE\n", b"DONE\t1\t\n"]).names() == {"DONE", "xDONE"}


def test_a_listing_that_fails(userdb):
    with pytest.raises(DovecotError, match="the userdb cannot list its users"):
        userdb([b"LIST\t1\tann\n", b"DONE\t1\tfail\n"]).names()


def test_a_listing_that_stops_is_asked_for_again(userdb):
    assert userdb([b"LIST\t1\tann\n"], [b"LIST\t2\tann\nLIST\t2\tbob\nDONE\t2\t\n"], limit=1).names("b*") == {"bob"}


def test_a_listing_that_stops_twice(userdb):
    with pytest.raises(Silence, match="no answer in time"):
        userdb([b"LIST\t1\tann\n"], [], limit=0.5).names()


@pytest.mark.parametrize("number", [1, WINDOW, WINDOW + 1, 5 * WINDOW])
def test_look_ups_under_way(tmp_path, number):
    """The next ones are sent before all answers have come, and never more than a window is under way."""
    answered, most = 0, 0

    def serve(server):
        nonlocal answered, most
        connection = server.accept()[0]
        with connection:
            connection.settimeout(5)
            connection.sendall(b"".join(GREETING))
            received = b""
            while answered < number:
                while received.count(b"USER") - answered <= min(WINDOW // 2, number - answered - 1):
                    received += connection.recv(4096)
                most = max(most, received.count(b"USER") - answered)
                for _answer in range(min(WINDOW // 2 + 10, number - answered)):
                    answered += 1
                    connection.sendall(b"NOTFOUND\t%d\n" % answered)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / USERDB_SOCKET))
        server.listen()
        threading.Thread(target=serve, args=[server], daemon=True).start()
        with contextlib.closing(Userdb(str(tmp_path), 5)) as userdb:
            assert userdb.accounts([f"name{name}" for name in range(number)]) == {}
    assert answered == number and most == min(WINDOW, number)
