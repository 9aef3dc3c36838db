# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""replicator_replicate on live hosts."""

import pytest
from conftest import MX1, MX2

pytestmark = pytest.mark.usefixtures("transport")

ALICE, BOB = "alice@example.org", "bob@example.org"
ONLY_HERE, NORA = "only-here@example.org", "nora@example.org"


def test_waiting_means_that_the_mail_is_there(pair):
    tokens = {user: pair.save_unnoticed(user) for user in (ALICE, BOB)}
    result = pair.module("replicator_replicate", users=[BOB, ALICE], priority="high", wait=True)
    assert result["changed"] and result["requested"] == result["synced_users"] == [ALICE, BOB]
    assert result["failed_users"] == result["dropped_users"] == result["pending_users"] == []
    for user, token in tokens.items():
        assert pair.arrived(user, token, seconds=1) is not None


def test_mask_against_the_list(pair):
    pair.module("replicator_user", user_mask="*")
    result = pair.module("replicator_replicate", user_mask="?a*@example.org", wait=True)
    assert result["requested"] == ["carol@example.org", "dave@example.org"]
    result = pair.module("replicator_replicate", user_mask="nobody*")
    assert result["changed"] is False and "nobody*" in result["warnings"][0]


def test_max_age_makes_it_idempotent(pair):
    pair.module("replicator_replicate", users=[ALICE, BOB], wait=True)
    result = pair.module("replicator_replicate", users=[ALICE, BOB], max_age="1h", wait=True)
    assert result["changed"] is False and result["requested"] == []
    assert [skipped["username"] for skipped in result["skipped_users"]] == [ALICE, BOB]
    assert "seconds ago" in result["skipped_users"][0]["reason"]
    assert pair.module("replicator_replicate", users=[ALICE], max_age="0")["requested"] == [ALICE]


def test_a_check_run_predicts_and_asks_for_nothing(pair):
    pair.module("replicator_replicate", user_mask="*", wait=True)
    before = pair.module("replicator_info", user_mask="*")
    predicted = pair.module("replicator_replicate", users=[ALICE], check=True, wait=True)
    after = pair.module("replicator_info", user_mask="*")
    ages = [[user["fast_sync_age"] for user in info["users"]] for info in (before, after)]
    assert all(old <= new for old, new in zip(*ages))
    real = pair.module("replicator_replicate", users=[ALICE], wait=True)
    keys = ["changed", "requested", "skipped_users", "diff"]
    assert {key: predicted[key] for key in keys} == {key: real[key] for key in keys}


def test_a_name_the_userdb_lacks_stops_everything(pair):
    listed = pair.listed()
    result = pair.module("replicator_replicate", users=[ALICE, "nobody@example.org"])
    assert result["failed"] and result["unknown_users"] == ["nobody@example.org"]
    assert pair.listed() == listed


def test_a_user_that_the_peer_lacks_is_reported(pair):
    """Dovecot 2.3.13 keeps such a user as failed, later ones drop it from the list."""
    kind = "failed_users" if pair.release == "bullseye" else "dropped_users"
    with pair.account(ONLY_HERE, hosts=[MX1]):
        result = pair.module("replicator_replicate", users=[ONLY_HERE, ALICE], wait=True)
    assert result["failed"]
    assert result[kind] == [ONLY_HERE] and result["synced_users"] == [ALICE]
    assert ONLY_HERE in result["msg"] and "account" in result["msg"]
    if kind == "dropped_users":
        assert result["dropped_reasons"] == {ONLY_HERE: "unknown_on_peer"} and "on the peer" in result["msg"]


@pytest.mark.replicator
def test_a_user_that_is_not_to_be_replicated_is_told_apart(pair):
    with pair.account(NORA):
        assert pair.module("replicator_replicate", users=[NORA], wait=True)["synced_users"] == [NORA]
    with pair.account(NORA, "userdb_noreplicate=yes"):
        refused = pair.module("replicator_replicate", users=[NORA, ALICE])
        dropped = pair.module("replicator_replicate", user_mask="n*", wait=True)
    assert refused["failed"] and refused["noreplicate_users"] == [NORA] and "nothing was changed" in refused["msg"]
    assert dropped["failed"] and dropped["dropped_reasons"] == {NORA: "noreplicate"}
    assert f"dropped {NORA}" in dropped["msg"] and "noreplicate is set" in dropped["msg"]


@pytest.mark.replicator
def test_noreplicate_on_the_peer_only_is_a_failure(pair):
    """doveadm panics at each try, which the log shows."""
    with pair.account(NORA, hosts=[MX1]), pair.account(NORA, "userdb_noreplicate=yes", hosts=[MX2]):
        result = pair.module("replicator_replicate", users=[NORA], wait=True)
    pair.module("replicator_user", users=[NORA], state="absent")
    assert result["failed"] and result["failed_users"] == [NORA] and "noreplicate" in result["msg"]


def test_a_peer_that_is_down_is_a_failure_and_not_a_success(pair, transport):
    with pair.stopped():
        result = pair.module("replicator_replicate", users=[ALICE], wait=True)
    assert result["failed"] and result["failed_users"] == [ALICE]
    # Dovecot's replicator does not tell the reason.
    assert ALICE in result["msg"] and ("Connection refused" if transport == "service" else "log") in result["msg"]
    assert pair.module("replicator_replicate", users=[ALICE], wait=True)["synced_users"] == [ALICE]


def test_a_peer_that_does_not_answer_ends_at_the_deadline(pair):
    with pair.silent():
        result = pair.module("replicator_replicate", users=[ALICE], wait=True, wait_timeout=2)
    assert result["failed"] and result["pending_users"] == [ALICE]
    assert "dsync-status" in result["msg"]
    assert 2 <= result["elapsed"]
    assert pair.module("replicator_replicate", users=[ALICE], wait=True)["synced_users"] == [ALICE]


def test_only_those_that_failed_are_asked_for_again(pair):
    with pair.stopped():
        pair.module("replicator_replicate", users=[BOB], wait=True)
    again = dict(user_mask="*@example.org", failed_only=True, wait=True)
    assert pair.module("replicator_replicate", **again)["synced_users"] == [BOB]
    assert pair.module("replicator_replicate", **again)["changed"] is False


def test_full_is_a_full_sync(pair):
    """A silent peer holds the sync long enough to see of what type it is."""
    kinds = []
    for full in (False, True):
        assert pair.module("replicator_replicate", users=[ALICE], wait=True)["synced_users"] == [ALICE]
        with pair.silent():
            result = pair.module("replicator_replicate", users=[ALICE], full=full)
            pair.is_syncing(ALICE)
            slots = pair.module("replicator_info", gather=["dsyncs"])["dsyncs"]
        kinds += [slot["type"] for slot in slots if slot["username"] == ALICE]
        assert result["changed"] and result["requested"] == [ALICE]
    assert kinds[0] in ("normal", "incremental") and kinds[1:] == ["full"]
    assert pair.module("replicator_replicate", users=[ALICE, BOB], full=True, wait=True)["synced_users"] == [ALICE, BOB]


def test_full_does_not_cut_into_a_running_sync(pair):
    with pair.silent():
        pair.module("replicator_replicate", users=[ALICE], priority="high")
        pair.is_syncing(ALICE)
        result = pair.module("replicator_replicate", users=[ALICE, BOB], full=True, wait_timeout=1)
        assert result["failed"] and result["pending_users"] == [ALICE] and result["requested"] == [BOB]
        assert "under way" in result["msg"]
        (user,) = pair.module("replicator_info", users=[ALICE])["users"]
    assert user["running"] and user["priority"] == "none"


def test_a_check_run_of_full_changes_nothing(pair):
    pair.module("replicator_replicate", users=[ALICE], wait=True)
    result = pair.module("replicator_replicate", users=[ALICE], full=True, check=True)
    assert result["changed"] and result["diff"]["after"] == f"{ALICE} (full)\n"
    (user,) = pair.module("replicator_info", users=[ALICE])["users"]
    assert user["successful_sync_age"] is not None, "the entry is the old one"


@pytest.mark.replicator
@pytest.mark.parametrize("transport", ["doveadm"], indirect=True)
def test_a_user_stays_on_the_list_when_the_task_is_killed(pair, transport):
    """The module dies right after it has taken the user off: this doveadm kills whoever had it remove somebody."""
    killer = "/srv/killing-doveadm"
    script = """#!/bin/sh
/usr/bin/doveadm "$@" || exit
case " $* " in *" remove "*) kill -9 "$(ps -o ppid= -p $PPID | tr -d ' ')" ;; esac
"""
    pair.lab.execute("mx1", "sh", "-c", f"cat > {killer} && chmod 755 {killer}", stdin=script)
    result = pair.module("replicator_replicate", users=[BOB], full=True, doveadm_path=killer)
    assert result["failed"] and "requested" not in result
    pair.shell(
        f"for i in $(seq 50); do doveadm replicator status {BOB} | grep -q {BOB} && exit; sleep 0.1; done; exit 1"
    )


@pytest.mark.on_one
@pytest.mark.parametrize(
    "options, words",
    [
        (dict(users=[ALICE], user_mask="*"), "mutually exclusive"),
        (dict(), "one of the following is required"),
        (dict(users=["a*"]), "user_mask"),
        (dict(users=[ALICE], max_age="soon"), "15m"),
        (dict(users=[ALICE], priority="urgent"), "priority"),
    ],
)
def test_what_makes_no_sense_is_refused(pair, options, words):
    result = pair.module("replicator_replicate", **options)
    assert result["failed"] and words in result["msg"]
