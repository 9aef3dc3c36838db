# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waiting loop, against scripted observations of a replicator."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _waiting
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._protocol import NEVER, DsyncSlot, UserStatus
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._waiting import wait_for_syncs


def status(name, priority="none", failed=False):
    return UserStatus(name, priority, NEVER, NEVER, failed, NEVER, None)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now = 0.0
        self.pauses = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


class Script:
    """Answers of a replicator in the order in which they must be asked for; the last of each kind repeats."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def _next(self, kind):
        self.asked.append(kind)
        for index, (answer_kind, answer) in enumerate(self.answers):
            if answer_kind == kind:
                if [k for k, dummy in self.answers].count(kind) > 1:
                    del self.answers[index]
                return answer
        raise AssertionError(f"no answer for {kind}")

    def users(self, mask="*"):
        self.mask = mask
        return {row.username: row for row in self._next("users")}

    def dsyncs(self):
        return [DsyncSlot(name, "full", "") for name in self._next("dsyncs")]


def wait(script, names, seconds=10):
    clock = Clock()
    return wait_for_syncs(script, names, seconds, clock.monotonic, clock.sleep), clock


def test_a_result_counts_only_after_the_slot_was_seen_free():
    script = Script(
        ("users", [status("a", failed=True)]),
        ("dsyncs", []),
        ("users", [status("a", failed=False)]),
    )
    outcome, dummy = wait(script, ["a"])
    assert outcome.synced == ["a"]
    assert script.asked == ["users", "dsyncs", "users"]


def test_queued_then_running_then_done():
    script = Script(
        ("users", [status("a", "high")]),
        ("users", [status("a")]),
        ("dsyncs", ["a"]),
        ("users", [status("a")]),
        ("dsyncs", []),
        ("users", [status("a", failed=True)]),
    )
    outcome, dummy = wait(script, ["a"])
    assert outcome.failed == ["a"]
    assert script.asked == ["users", "users", "dsyncs", "users", "dsyncs", "users"]


def test_queued_again_by_others_after_our_sync_ended():
    script = Script(("users", [status("a")]), ("dsyncs", []), ("users", [status("a", "high")]))
    assert wait(script, ["a"])[0].synced == ["a"]


def test_off_the_list_is_dropped():
    script = Script(("users", []), ("dsyncs", []), ("users", []))
    assert wait(script, ["a"])[0].dropped == ["a"]


def test_taken_off_the_list_while_its_sync_runs_is_not_dropped_yet():
    script = Script(
        ("users", []), ("dsyncs", ["a"]), ("users", [status("a")]), ("dsyncs", []), ("users", [status("a")])
    )
    assert wait(script, ["a"])[0].synced == ["a"]


def test_each_user_by_itself():
    rows = [status("ok"), status("bad", failed=True), status("slow", "low")]
    outcome, dummy = wait(Script(("users", rows), ("dsyncs", [])), ["slow", "ok", "gone", "bad"], seconds=3)
    assert (outcome.synced, outcome.failed, outcome.dropped, outcome.pending) == (["ok"], ["bad"], ["gone"], ["slow"])


def test_the_deadline_holds_to_the_moment():
    outcome, clock = wait(Script(("users", [status("a", "low")])), ["a"], seconds=7)
    assert outcome.pending == ["a"]
    assert clock.now == pytest.approx(7)
    assert outcome.elapsed == pytest.approx(7)


def test_pauses_grow_up_to_a_limit():
    dummy, clock = wait(Script(("users", [status("a", "low")])), ["a"], seconds=60)
    assert clock.pauses[0] < 0.1
    assert clock.pauses[:-1] == sorted(clock.pauses[:-1])
    assert max(clock.pauses) == _waiting.LONGEST_PAUSE


def test_one_name_is_asked_for_and_many_are_read_at_once():
    one, many = Script(("users", []), ("dsyncs", [])), Script(("users", []), ("dsyncs", []))
    wait(one, ["a"])
    wait(many, ["a", "b"])
    assert (one.mask, many.mask) == ("a", "*")


def test_no_one_to_wait_for():
    script = Script()
    assert wait(script, [])[0].elapsed == 0
    assert script.asked == []
