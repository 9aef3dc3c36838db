# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""replicator_wait, and the progress of everything that waits, on live hosts."""

import re
import threading

import pytest

pytestmark = pytest.mark.usefixtures("transport")

ALICE, BOB, CAROL, DAVE = EVERYONE = [f"{name}@example.org" for name in ["alice", "bob", "carol", "dave"]]


@pytest.fixture(autouse=True)
def everyone_synced(pair):
    pair.module("replicator_user", user_mask="*")
    assert pair.module("replicator_replicate", users=EVERYONE, wait=True)["synced_users"] == EVERYONE


def test_nothing_to_wait_for(pair):
    for until in ("idle", "synced"):
        result = pair.module("replicator_wait", until=until)
        assert result["synced_users"] == EVERYONE and result["changed"] is False
        assert result["pending_users"] == result["failed_users"] == result["dropped_users"] == []


def test_what_was_queued_before_has_arrived_after(pair):
    tokens = {user: pair.save_unnoticed(user) for user in (ALICE, BOB)}
    pair.module("replicator_replicate", users=[ALICE, BOB])
    assert pair.module("replicator_wait", user_mask="*@example.org", until="synced")["synced_users"] == EVERYONE
    for user, token in tokens.items():
        assert pair.arrived(user, token, seconds=1) is not None


def test_a_running_sync_is_not_idle_though_all_queues_are_empty(pair):
    with pair.silent():
        pair.module("replicator_replicate", users=[ALICE])
        pair.is_syncing(ALICE)
        overview = pair.module("replicator_info")["overview"]
        result = pair.module("replicator_wait", wait_timeout=1)
        others = pair.module("replicator_wait", users=[BOB, CAROL], wait_timeout=1)
    assert not any(count for state, count in overview.items() if state != "known_users")
    assert result["failed"] and result["pending_users"] == [ALICE]
    assert "3 of 4 users synced, 1 left" in result["msg"] and "dsync-status" in result["msg"]
    assert others["synced_users"] == [BOB, CAROL]
    assert pair.module("replicator_wait", until="synced")["pending_users"] == []


def test_a_failed_user_is_idle_but_not_synced(pair):
    with pair.stopped():
        pair.module("replicator_replicate", users=[BOB], wait=True)
    assert pair.module("replicator_wait")["failed_users"] == [BOB]
    assert pair.module("replicator_wait", until="synced", max_failed=1)["failed_users"] == [BOB]
    for options in [dict(until="synced", wait_timeout=1), dict(max_failed=0), dict(until="synced", max_failed=0)]:
        result = pair.module("replicator_wait", **options)
        assert result["failed"] and result["failed_users"] == [BOB] and BOB in result["msg"]
        assert result["elapsed"] >= 1 or "max_failed" in options, "more failures than accepted end the wait at once"


def test_a_check_run_looks_and_neither_waits_nor_fails(pair):
    with pair.silent():
        pair.module("replicator_replicate", users=[ALICE])
        result = pair.module("replicator_wait", check=True)
    assert not result["failed"] and result["pending_users"] == [ALICE]
    assert pair.module("replicator_wait")["pending_users"] == []


def test_who_is_not_on_the_list(pair):
    nobody = "nobody@example.org"
    result = pair.module("replicator_wait", users=[ALICE, nobody], until="synced")
    assert result["failed"] and result["dropped_reasons"] == {nobody: "unknown"} and "this host" in result["msg"]
    assert pair.module("replicator_wait", users=[ALICE, nobody])["dropped_users"] == [nobody]
    assert "nobody*" in pair.module("replicator_wait", user_mask="nobody*")["warnings"][0]


def at_progress(act):
    """What acts when the first line about the progress is seen; the machine may be too slow for a number of seconds."""
    lines = []

    def seen(line):
        if "left after" in line:
            lines.append(line)
            if len(lines) == 1:
                act()

    return seen


@pytest.mark.on_one
@pytest.mark.parametrize("transport", ["socket"], indirect=True)
@pytest.mark.parametrize("name", ["replicator_wait", "replicator_replicate", "replicator_user"])
def test_progress_is_shown(pair, name):
    """The peer awakes in the middle of the wait; until then a line every few seconds says how far it is."""
    pair.module("replicator_user", users=[DAVE], state="absent")
    with pair.silent():
        pair.module("replicator_replicate", users=[ALICE])
        options = {
            "replicator_wait": dict(users=EVERYONE[:3], until="synced"),
            "replicator_replicate": dict(users=[ALICE, BOB], wait=True),
            "replicator_user": dict(users=[ALICE, DAVE], wait=True),
        }[name]
        result = pair.module(name, **options, ansible_options=[], seen=at_progress(pair.wake))
    synced = {"replicator_wait": EVERYONE[:3], "replicator_replicate": [ALICE, BOB], "replicator_user": [DAVE]}[name]
    assert result["synced_users"] == synced and not result["failed"]
    assert result["changed"] == (name != "replicator_wait")
    lines = [line for line in result["shown"].splitlines() if line.startswith("mx1.example.org: ")]
    assert re.fullmatch(
        r"mx1.example.org: \d of \d users synced, \d left after \d+ s(, \d+ a \w+, \d+ s to go)?", lines[0]
    )
    assert 5 < result["elapsed"] < 60 and result["pending_users"] == []


@pytest.mark.on_one
@pytest.mark.parametrize("transport", ["socket"], indirect=True)
def test_a_long_wait_ends_at_its_deadline_and_keeps_what_was_done(pair):
    with pair.silent():
        options = dict(users=[ALICE, BOB], wait=True, wait_timeout=7, ansible_options=[])
        result = pair.module("replicator_replicate", **options)
    assert result["failed"] and result["changed"] and result["requested"] == result["pending_users"] == [ALICE, BOB]
    assert 7 <= result["elapsed"] and "2 left after 5 s" in result["shown"]


@pytest.mark.replicator
@pytest.mark.parametrize("transport", ["socket"], indirect=True)
@pytest.mark.rare
def test_a_replicator_killed_during_a_later_part_of_the_wait(pair):
    """What is still waited for is asked for again."""
    token = pair.save_unnoticed(ALICE)

    def killed_and_awake_again():
        pair.is_syncing(ALICE)
        pair.shell("sleep 6; pkill -KILL -P $(cat /run/dovecot/master.pid) -x replicator; sleep 3")
        pair.wake()

    fault = threading.Thread(target=killed_and_awake_again)
    with pair.silent():
        fault.start()
        options = dict(users=[ALICE], wait=True, wait_timeout=60, ansible_options=[])
        result = pair.module("replicator_replicate", **options)
        fault.join()
    assert not result["failed"] and result["changed"] and result["requested"] == result["synced_users"] == [ALICE]
    assert result["restarts"] == 1 and result["elapsed"] > 8
    assert pair.arrived(ALICE, token, seconds=1) is not None


@pytest.mark.on_one
@pytest.mark.parametrize("transport", ["socket"], indirect=True)
def test_what_breaks_the_wait_is_told_with_how_far_it_was(pair):
    other = f"mv {pair.socket} /run/kept; ln -s /run/dovecot/auth-userdb {pair.socket}"
    with pair.silent():
        options = dict(users=[ALICE], wait=True, wait_timeout=30, ansible_options=[])
        result = pair.module("replicator_replicate", **options, seen=at_progress(lambda: pair.shell(other)))
    pair.shell(f"mv -f /run/kept {pair.socket}")
    assert result["failed"] and result["changed"] and result["requested"] == [ALICE]
    assert result["msg"].startswith("0 of 1 users synced, 1 left; then: ") and "another service's" in result["msg"]


@pytest.mark.parametrize("transport", ["socket"], indirect=True)
def test_waiting_in_the_background(pair):
    result = pair.module("replicator_wait", ansible_options=["-B", "30", "-P", "1"])
    assert result["synced_users"] == EVERYONE and result["finished"]


@pytest.mark.on_one
@pytest.mark.parametrize(
    "options, words",
    [
        (dict(users=[ALICE], user_mask="*"), "mutually exclusive"),
        (dict(users=["a*"]), "user_mask"),
        (dict(until="done"), "idle, synced"),
        (dict(wait_timeout="soon"), "wait_timeout"),
    ],
)
def test_what_makes_no_sense_is_refused(pair, options, words):
    result = pair.module("replicator_wait", **options)
    assert result["failed"] and words in result["msg"]
