# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replicator's protocol, against replies captured from Dovecot 2.3.19.1."""

from pathlib import Path

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _protocol
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._protocol import (
    NEVER,
    DsyncSlot,
    Moment,
    UserStatus,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"


def rows(name):
    lines = (FIXTURES / name).read_bytes().split(b"\n")
    assert lines[-2:] == [b"", b""]
    return lines[:-2]


@pytest.mark.parametrize(
    "text, wire",
    [
        ("plain@example.org", "plain@example.org"),
        ("tab\there", "tab\x01there"),
        ("new\nline", "new\x01nline"),
        ("car\rriage", "car\x01rriage"),
        ("\x01soh", "\x011soh"),
        ("nul\0", "nul\x010"),
        ("all\0\x01\t\r\n", "all\x010\x011\x01t\x01r\x01n"),
        ("\x01t is not a tab", "\x011t is not a tab"),
        ("ünïcode%\"'\\ ", "ünïcode%\"'\\ "),
        ("", ""),
    ],
)
def test_escaping_and_back(text, wire):
    assert _protocol.tab_escape(text) == wire
    assert _protocol.tab_unescape(wire) == text


def test_a_line_survives_the_wire():
    fields = ["REPLICATE", "low", "", "a\tb\nc\x01d"]
    line = _protocol.encode_line(*fields)
    assert line.count(b"\t") == 3 and line.endswith(b"\n") and line.count(b"\n") == 1
    assert _protocol.decode_line(line[:-1]) == fields


def test_names_that_are_not_utf8_survive():
    assert _protocol.encode_line(*_protocol.decode_line(b"\xff\xfe@x")) == b"\xff\xfe@x\n"


def test_users():
    users = _protocol.parse_users(rows("status-mask.socket.txt"), 1795436600)
    recent, older = Moment(1795436598, 2), Moment(1795436460, 140)
    assert UserStatus("alice@example.org", "none", recent, older, False, recent, None) == users["alice@example.org"]
    assert len(users) == 3


def test_a_failed_user_that_never_succeeded():
    (user,) = [_protocol.parse_user(line, 1795436640) for line in rows("status-failed.socket.txt")]
    assert user.failed is True
    assert user.successful_sync == NEVER
    assert user.fast_sync.age == 7


def test_a_time_in_the_future():
    assert _protocol.moment_at(200, 130) == Moment(200, 0), "after the clock was set back"


def test_a_success_in_the_future_proves_nothing():
    near, far = (_protocol.parse_user(b"u\tnone\t0\t0\t0\t%d" % time, 1000) for time in (1060, 1061))
    assert near.successful_sync == Moment(1060, 0) and far.successful_sync == Moment(1061, None)


def test_odd_names():
    names = {_protocol.parse_user(line, 0).username for line in rows("status-weird-names.socket.txt")}
    assert {"tab\there", "new\nline", "\x01soh", "ünïcode@example.org"} <= names


@pytest.mark.parametrize(
    "line, success, next_sync",
    [
        (b"u\tnone\t3\t2\t1", NEVER, None),
        (b"u\tnone\t3\t2\t1\t4", Moment(4, 6), None),
        (b"u\tnone\t3\t2\t1\t4\t5", Moment(4, 6), 5),
        (b"u\tnone\t3\t2\t1\t4\t5\tof a later Dovecot", Moment(4, 6), 5),
    ],
)
def test_columns_are_counted(line, success, next_sync):
    assert _protocol.parse_user(line, 10) == UserStatus(
        "u", "none", Moment(3, 7), Moment(2, 8), True, success, next_sync
    )


@pytest.mark.parametrize("line", [b"", b"u\tnone\t1\t2", b"u\tnone\tx\t2\t0"])
def test_a_row_that_is_none(line):
    with pytest.raises(ValueError):
        _protocol.parse_user(line, 0)


def test_overview():
    assert _protocol.parse_overview(rows("status-overview.socket.txt")) == {
        "queued_sync": 0,
        "queued_high": 0,
        "queued_low": 0,
        "queued_failed": 0,
        "queued_full_resync": 0,
        "waiting_failed": 0,
        "known_users": 3,
    }


def test_an_overview_without_a_total_is_none():
    with pytest.raises(ValueError):
        _protocol.parse_overview([b"Queued 'low' requests\t1"])


def test_idle_slots():
    slots = _protocol.parse_slots(rows("status-dsync-idle.socket.txt"))
    assert set(slots) == {DsyncSlot(None, None, "Not connected")}


def test_a_running_slot():
    slots = _protocol.parse_slots(rows("status-dsync-running.socket.txt"))
    assert [slot.status for slot in slots if slot.username] == ["Waiting for dsync to finish"]
    assert slots[0].type in ("full", "normal", "incremental")
