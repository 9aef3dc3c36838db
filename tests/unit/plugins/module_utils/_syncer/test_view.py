# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a timer knows, as a replicator would tell it, and as the collector reads it."""

import json

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring import collector
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer import view
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.store import Entry

NOW = 1_000_000
FACTS = {"round_began": str(NOW - 20)}


def entry(name, **values):
    given = dict(
        priority=0, fast=NOW - 10, full=NOW - 500, success=NOW - 9, failed=False, status=0, problem="", missing=False
    )
    return Entry(name, **{**given, **values})


def rows(*entries, running=False):
    return view.statuses_of(entries, FACTS, running, 60, NOW)


@pytest.mark.parametrize(
    "values, running, seconds",
    [
        ({}, False, 50),
        # Synced on request after the round has begun.
        ({"fast": NOW - 1}, False, 59),
        # Not reached yet by the round that runs.
        ({"fast": NOW - 70}, True, 0),
        # The timer does not run.
        ({"fast": NOW - 70}, False, 40),
        ({"fast": 0, "full": 0, "success": 0}, False, 0),
    ],
)
def test_when_a_user_is_next(values, running, seconds):
    assert rows(entry("a", **values), running=running)["a"].next_sync == seconds


def test_a_success_of_the_future_proves_nothing():
    assert rows(entry("a", success=NOW + 3600))["a"].successful_sync.age is None


def test_numbers_for_those_who_watch():
    known = rows(
        entry("a"),
        entry("b", failed=True, full=NOW - 900),
        entry("c", priority=2),
        entry("d", fast=0, full=0, success=0),
        entry("e", missing=True),
    )
    reading = view.reading_of(known, {0: ("a", True), 1: ("c", False)}, False, NOW)
    assert {key: reading["snapshot"][key] for key in ("known", "failing", "queued", "running", "running_full")} == {
        "known": 4,
        "failing": 1,
        "queued": 1,
        "running": 2,
        "running_full": 1,
    }
    assert reading["snapshot"]["never_synced"] == 1 and reading["snapshot"]["oldest_full_sync"] == NOW - 900
    assert reading["snapshot"]["longest_running"] == 10
    assert reading["overview"] == {
        "queued_low": 0,
        "queued_high": 1,
        "queued_sync": 0,
        "queued_failed": 0,
        "queued_full_resync": 1,
        "waiting_failed": 1,
        "known_users": 4,
    }
    # Whoever watches learns no names.
    assert set(json.dumps(reading["snapshot"])) and "username" not in json.dumps(reading)


def test_the_collector_takes_them(tmp_path):
    path = tmp_path / "reading.json"
    path.write_text(json.dumps(view.reading_of(rows(entry("a")), {}, False, NOW)))
    settings = {"reading": str(path), "reading_old": 360, "unit": "dovecot-replication.timer"}
    fresh = collector.of_syncer(settings, False, NOW + 300)
    assert fresh.snapshot.up and fresh.snapshot.time == NOW + 300 and fresh.overview["known_users"] == 1
    late = collector.of_syncer(settings, False, NOW + 400)
    assert late.overview is None and not late.snapshot.up and "nothing was synced for 400 seconds" in late.problem
    # On hold nothing is expected to change.
    held = collector.of_syncer(settings, True, NOW + 400)
    assert held.snapshot.up and held.snapshot.on_hold
    path.write_text("{")
    assert "systemctl status dovecot-replication.timer" in collector.of_syncer(settings, False, NOW).problem
    path.unlink()
    assert "FileNotFoundError" in collector.of_syncer(settings, False, NOW).problem
