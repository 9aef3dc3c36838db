# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What doveadm prints in JSON, captured from Dovecot 2.3.19.1."""

import json
from pathlib import Path

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import rows as json_rows
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    NEVER,
    OVERVIEW_KEYS,
    DsyncSlot,
    Moment,
)

FIXTURES = Path(__file__).parents[3] / "fixtures"


def rows(name):
    return json.loads((FIXTURES / name).read_text())


@pytest.mark.parametrize(
    "text, seconds",
    [("00:00:00", 0), ("00:02:18", 138), ("100:00:02", 360002), ("498732:04:18", 1795435458), ("00:-59:-58", -3598)],
)
def test_durations(text, seconds):
    assert json_rows.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "-", "1:2", "00:00:00 ", "1:2:3:4", "a:b:c"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError):
        json_rows.parse_seconds(text)


@pytest.mark.parametrize(
    "text, moment",
    [
        ("-", NEVER),
        ("00:00:05", Moment(None, 5)),
        ("00:-59:-58", Moment(None, 0)),
        ("1193046:28:12", Moment(None, 0)),
    ],
)
def test_ages(text, moment):
    assert json_rows.parse_moment(text) == moment


@pytest.mark.parametrize(
    "text, moment",
    [
        ("-", NEVER),
        ("00:00:05", Moment(None, 5)),
        ("00:-1:00", Moment(None, 0)),
        ("-1:00:00", NEVER),
        ("5000000:0:0", NEVER),
    ],
)
def test_a_success_in_the_future_proves_nothing(text, moment):
    assert json_rows.parse_success(text) == moment


def test_users():
    users = json_rows.parse_users(rows("status-mask.json.stdout.txt"))
    bob = users["bob@example.org"]
    assert (bob.failed, bob.priority, bob.successful_sync) == (True, "none", Moment(None, 182))
    assert users["alice@example.org"].failed is False
    assert bob.next_sync is None


def test_a_user_of_later_versions():
    row = dict(rows("status-mask.json.stdout.txt")[0], **{"next sync secs": "23:59:58"})
    assert json_rows.parse_user(row).next_sync == 86398


def test_overview():
    overview = json_rows.parse_overview(rows("status-overview.json.stdout.txt"))
    assert set(overview) == set(OVERVIEW_KEYS.values())
    assert overview["known_users"] == 3


def test_slots():
    slots = json_rows.parse_slots(rows("dsync-status-running.json.stdout.txt"))
    assert slots[0] == DsyncSlot(username="slow@example.org", type="full", status="Waiting for dsync to finish")
    assert json_rows.parse_slot(rows("dsync-status-idle.json.stdout.txt")[0]) == DsyncSlot(status="Not connected")


@pytest.mark.parametrize("parse", [json_rows.parse_user, json_rows.parse_slot, json_rows.parse_overview])
@pytest.mark.parametrize("row", [{}, [{}], None, 1, "x", {"username": None}])
def test_what_is_no_row(parse, row):
    with pytest.raises(ValueError):
        parse(row)


@pytest.mark.parametrize("parse", [json_rows.parse_users, json_rows.parse_slots])
@pytest.mark.parametrize("answer", [None, {}, "x", 1, [None]])
def test_what_is_no_answer(parse, answer):
    with pytest.raises(ValueError):
        parse(answer)
