# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""replicator_info on live hosts."""

import re

import pytest
from conftest import MX1
from runs import failures

pytestmark = pytest.mark.usefixtures("transport")

ALICE = "alice@example.org"


def test_what_is_read_without_options(pair, transport):
    info = pair.module("replicator_info")
    assert info["changed"] is False
    assert info["transport"] == transport
    if transport == "http":
        assert info["socket_path"] is None and info["dovecot_version"] is None
    else:
        assert info["socket_path"] == pair.socket
        assert info["dovecot_version"].startswith(pair.dovecot)
    assert set(info["overview"]) == {
        *["queued_sync", "queued_high", "queued_low", "queued_failed", "queued_full_resync"],
        *["waiting_failed", "known_users"],
    }
    assert info["overview"]["known_users"] == len(pair.listed())
    assert all(slot["username"] is None and slot["type"] is None for slot in info["dsyncs"])
    assert "users" not in info
    assert info["summary"]["known_users"] == len(pair.listed())
    assert info["summary"]["on_hold"] is (None if transport == "http" else False)


def test_users_by_mask(pair, transport):
    pair.module("replicator_replicate", users=[ALICE], wait=True)
    info = pair.module("replicator_info", user_mask="a*", gather=["users"])
    assert set(info) >= {"users", "dovecot_version"} and "overview" not in info
    (alice,) = info["users"]
    assert alice["username"] == ALICE
    assert alice["failed"] is False and alice["running"] is False
    assert alice["priority"] == "none"
    tells_times = transport in ("socket", "service")
    if tells_times:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", alice["last_successful_sync"])
    else:
        assert alice["last_successful_sync"] is None
    assert 0 <= alice["successful_sync_age"] < 60
    # Dovecot tells when the next sync is due since 2.3.20.
    assert isinstance(alice["next_sync"], int) == (pair.release in ("bookworm-backports", "trixie"))
    # The summary is of everyone, and the list is read once for both.
    info = pair.module("replicator_info", user_mask="a*", gather=["users", "summary"])
    assert [user["username"] for user in info["users"]] == [ALICE]
    assert info["summary"]["known_users"] == len(pair.listed()) and info["summary"]["failing"] == 0
    assert 0 <= info["summary"]["newest_success_age"] < 60
    assert (info["summary"]["oldest_full_sync"] is None) == (not tells_times)


def test_users_by_name_are_sorted_and_limited(pair):
    pair.module("replicator_user", user_mask="*")
    names = ["dave@example.org", ALICE, "bob@example.org"]
    info = pair.module("replicator_info", users=names)
    assert [user["username"] for user in info["users"]] == sorted(names)
    assert "overview" in info and "dsyncs" in info
    info = pair.module("replicator_info", users=names, limit=2)
    assert [user["username"] for user in info["users"]] == sorted(names)[:2]


def test_filters(pair):
    pair.module("replicator_replicate", user_mask="*", wait=True)
    assert pair.module("replicator_info", user_mask="*", failed_only=True)["users"] == []
    assert pair.module("replicator_info", user_mask="*", older_than="1h")["users"] == []
    assert pair.module("replicator_info", user_mask="nobody*")["users"] == []


def test_a_running_sync_is_seen(pair):
    with pair.silent():
        pair.module("replicator_replicate", users=[ALICE], priority="high")
        pair.is_syncing(ALICE)
        info = pair.module("replicator_info", users=[ALICE])
    assert info["users"][0]["running"] is True
    (slot,) = [slot for slot in info["dsyncs"] if slot["username"]]
    assert slot["username"] == ALICE and slot["type"] in ("full", "normal", "incremental")
    assert pair.module("replicator_replicate", users=[ALICE], wait=True)["synced_users"] == [ALICE]


@pytest.mark.replicator
@pytest.mark.parametrize("transport", ["socket"], indirect=True)
def test_a_failing_user_with_new_mail_is_counted(pair, transport):
    """Dovecot's overview has the user among the queued ones only, while the queue stands."""
    extra = "/etc/dovecot/conf.d/97-one-slot.conf"
    pair.shell(f"echo 'replication_max_conns = 1' > {extra}; systemctl reload dovecot; sleep 1")
    try:
        with pair.stopped():
            assert pair.module("replicator_replicate", users=[ALICE], wait=True)["failed_users"] == [ALICE]
        with pair.silent():
            pair.module("replicator_replicate", users=["bob@example.org"], priority="high")
            pair.is_syncing("bob")
            pair.deliver(ALICE)
            queued = f"doveadm replicator status {ALICE} | grep -q high"
            pair.shell(f"timeout 10 sh -c 'until {queued}; do sleep 0.1; done'")
            info = pair.module("replicator_info", gather=["overview", "summary"])
            shown = pair.play("status", "--limit", MX1)
    finally:
        pair.shell(f"rm {extra}; systemctl reload dovecot; sleep 1")
    assert info["overview"]["queued_failed"] + info["overview"]["waiting_failed"] == 0
    summary = info["summary"]
    assert (summary["failing"], summary["running"], summary["queued"]) == (1, 1, 1)
    assert summary["oldest_waiting_success_age"] is not None
    (message,) = failures(shown)
    assert f"The syncs of 1 of {summary['known_users']} users fail, such as {ALICE}" in message
    everyone = pair.module("replicator_replicate", user_mask="*", wait=True)
    assert not everyone["failed"]
