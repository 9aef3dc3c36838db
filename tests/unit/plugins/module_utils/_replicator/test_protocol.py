# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replicator's protocol, against replies captured from Dovecot 2.3.19.1."""

from pathlib import Path

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import protocol
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    NEVER,
    DsyncSlot,
    Moment,
)

FIXTURES = Path(__file__).parents[3] / "fixtures"


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
    assert protocol.tab_escape(text) == wire
    assert protocol.tab_unescape(wire) == text


def test_a_line_survives_the_wire():
    fields = ["REPLICATE", "low", "", "a\tb\nc\x01d"]
    line = protocol.encode_line(*fields)
    assert line.count(b"\t") == 3 and line.endswith(b"\n") and line.count(b"\n") == 1
    assert protocol.decode_line(line[:-1]) == fields


def test_names_that_are_not_utf8_survive():
    assert protocol.encode_line(*protocol.decode_line(b"\xff\xfe@x")) == b"\xff\xfe@x\n"


def fields(record, **expected):
    """The fields of a record that a test names, so that a new one breaks no test."""
    return {name: getattr(record, name) for name in expected}


def test_users():
    users = protocol.parse_users(rows("status-mask.socket.txt"), 1795436600)
    recent, older = Moment(1795436598, 2), Moment(1795436460, 140)
    alice = dict(priority="none", fast_sync=recent, full_sync=older, successful_sync=recent, failed=False)
    assert fields(users["alice@example.org"], **alice) == alice
    assert len(users) == 3


def test_a_failed_user_that_never_succeeded():
    (user,) = [protocol.parse_user(line, 1795436640) for line in rows("status-failed.socket.txt")]
    assert user.failed is True
    assert user.successful_sync == NEVER
    assert user.fast_sync.age == 7


def test_a_time_in_the_future():
    assert protocol.moment_at(200, 130) == Moment(200, 0), "after the clock was set back"


def test_a_success_in_the_future_proves_nothing():
    near, far = (protocol.parse_user(b"u\tnone\t0\t0\t0\t%d" % time, 1000) for time in (1060, 1061))
    assert near.successful_sync == Moment(1060, 0) and far.successful_sync == Moment(1061, None)


def test_odd_names():
    names = {protocol.parse_user(line, 0).username for line in rows("status-weird-names.socket.txt")}
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
    times = dict(fast_sync=Moment(3, 7), full_sync=Moment(2, 8), successful_sync=success)
    expected = dict(times, username="u", failed=True, next_sync=next_sync)
    assert fields(protocol.parse_user(line, 10), **expected) == expected


@pytest.mark.parametrize("line", [b"", b"u\tnone\t1\t2", b"u\tnone\tx\t2\t0"])
def test_a_row_that_is_none(line):
    with pytest.raises(ValueError):
        protocol.parse_user(line, 0)


def test_overview():
    assert protocol.parse_overview(rows("status-overview.socket.txt")) == {
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
        protocol.parse_overview([b"Queued 'low' requests\t1"])


def test_idle_slots():
    slots = protocol.parse_slots(rows("status-dsync-idle.socket.txt"))
    assert set(slots) == {DsyncSlot(status="Not connected")}


def test_a_running_slot():
    slots = protocol.parse_slots(rows("status-dsync-running.socket.txt"))
    assert [slot.status for slot in slots if slot.username] == ["Waiting for dsync to finish"]
    assert slots[0].type in ("full", "normal", "incremental")
