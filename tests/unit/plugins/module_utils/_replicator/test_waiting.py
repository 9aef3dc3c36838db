# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waiting loop, against scripted observations of a replicator."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    Interrupted,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import waiting
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    NEVER,
    DsyncSlot,
    Moment,
    UserStatus,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.waiting import (
    ENDED,
    Outcome,
    Until,
    Watch,
    is_queued,
    wait_for_syncs,
)

GONE = object()
LONG_AGO, JUST_NOW = Moment(None, 900), Moment(None, 2)


def status(name, priority="none", failed=False, full_sync=JUST_NOW, fast_sync=JUST_NOW, next_sync=None):
    return UserStatus(
        username=name,
        priority=priority,
        fast_sync=fast_sync,
        full_sync=full_sync,
        failed=failed,
        next_sync=next_sync,
    )


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
    """Answers of a replicator in the order in which they must be asked for; the last of each kind repeats.

    One that is GONE means that the connection breaks.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.client = self
        self.reloads = iter([])
        self.slots = 2

    def socket_identity(self):
        return next(self.reloads, 0)

    def hang_up(self):
        self.asked.append("anew")

    def _next(self, kind):
        self.asked.append(kind)
        for index, (answer_kind, answer) in enumerate(self.answers):
            if answer_kind == kind:
                if [k for k, dummy in self.answers].count(kind) > 1:
                    del self.answers[index]
                if answer is GONE:
                    raise Interrupted("Talking", "it closed the connection")
                return answer
        raise AssertionError(f"no answer for {kind}")

    def users(self, mask="*"):
        self.mask = mask
        return {row.username: row for row in self._next("users")}

    def dsyncs(self):
        running = [DsyncSlot(username=name, type="full") for name in self._next("dsyncs")]
        return running + [DsyncSlot()] * (self.slots - len(running))


def wait(script, names, seconds=10, until=ENDED, mask=None):
    clock = Clock()
    watch = Watch(script, script.asked.append, met=True)
    return wait_for_syncs(watch, names, seconds, mask, until, clock.monotonic, clock.sleep), clock


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
    assert max(clock.pauses) == waiting.LONGEST_PAUSE


def test_one_name_is_asked_for_and_many_are_read_at_once():
    one, many = Script(("users", []), ("dsyncs", [])), Script(("users", []), ("dsyncs", []))
    wait(one, ["a"])
    wait(many, ["a", "b"])
    assert (one.mask, many.mask) == ("a", "*")


def test_no_one_to_wait_for():
    script = Script()
    assert wait(script, [])[0].elapsed == 0
    assert script.asked == []


def test_a_mask_that_is_given_is_used():
    script = Script(("users", []), ("dsyncs", []))
    wait(script, ["a"], mask="a*")
    assert script.mask == "a*"


def test_a_requested_sync_that_fails_is_final_and_one_that_is_awaited_is_not():
    answers = [("users", [status("a", failed=True)])] * 2 + [("users", [status("a")]), ("dsyncs", [])]
    assert wait(Script(*answers), ["a"])[0].failed == ["a"]
    assert wait(Script(*answers), ["a"], until=Until("idle", None))[0].failed == ["a"]
    outcome, clock = wait(Script(*answers), ["a"], until=Until("synced", None))
    assert outcome.synced == ["a"] and clock.pauses


def test_waiting_ends_with_too_many_failures():
    rows = [status("a", failed=True), status("b", failed=True), status("c", "low")]
    script = Script(("users", rows), ("dsyncs", []))
    outcome, clock = wait(script, ["a", "b", "c"], until=Until("synced", 1))
    assert outcome.failed == ["a", "b"] and outcome.pending == ["c"] and not clock.pauses
    outcome, clock = wait(script, ["a", "b", "c"], until=Until("synced", 2))
    assert clock.now == pytest.approx(10)
    outcome, clock = wait(script, ["a", "b"], until=Until("synced", 2))
    assert not clock.pauses


def test_a_new_user_that_nobody_has_queued_is_not_idle():
    new = [status("a", full_sync=NEVER, fast_sync=NEVER)]
    script = Script(("users", new), ("dsyncs", []))
    assert wait(script, ["a"], until=Until("idle", None))[0].pending == ["a"]
    assert wait(script, ["a"])[0].pending == []


@pytest.mark.parametrize(
    "given, queued",
    [
        (dict(), False),
        (dict(priority="low"), True),
        (dict(full_sync=NEVER), True),
        (dict(failed=True), False),
        (dict(failed=True, fast_sync=LONG_AGO), True),
        (dict(fast_sync=LONG_AGO), False),
        (dict(next_sync=0), True),
        (dict(next_sync=60, full_sync=NEVER), False),
        (dict(next_sync=60, failed=True, fast_sync=LONG_AGO), False),
    ],
)
def test_who_waits_for_a_sync(given, queued):
    assert is_queued(status("a", **given)) is queued


def test_an_outcome_after_an_earlier_one():
    earlier = Outcome(["a"], ["b"], [], ["c", "d", "e"], 5.0)
    later = Outcome(["b", "d"], [], ["c"], ["e"], 9.0)
    assert later.after(earlier) == Outcome(["a", "b", "d"], [], ["c"], ["e"], 9.0)
    assert later.after(earlier).counts() == "3 of 5 users synced, 1 dropped, 1 left"
    assert Outcome.of(earlier.as_result()) == earlier


OUTCOME = Outcome(["a"], ["b"], ["c"], [], 5.0)


@pytest.mark.parametrize(
    "until, outcome, words",
    [
        (ENDED, OUTCOME, ["1 of 3 users synced, 1 failed, 1 dropped", "failed for b", "dropped c", "here, or"]),
        (Until("idle", None), OUTCOME, None),
        (Until("idle", 0), OUTCOME, ["failed for b"]),
        (Until("idle", 1), OUTCOME, None),
        (Until("synced", None), OUTCOME, ["failed for b", "dropped c"]),
        (Until("synced", 1), OUTCOME._replace(dropped=[]), None),
        (Until("idle", 1), OUTCOME._replace(pending=["d"]), ["Still not synced", ": d;"]),
    ],
)
def test_the_verdict(until, outcome, words):
    verdict = until.verdict(outcome, {})
    assert (verdict is None) == (words is None)
    for word in words or []:
        assert word in verdict


@pytest.mark.parametrize(
    "reason, words", [("unknown", "this host"), ("noreplicate", "noreplicate"), ("unknown_on_peer", "create it there")]
)
def test_why_a_user_was_dropped(reason, words):
    assert words in ENDED.verdict(OUTCOME, {"c": reason})


def test_quiet_is_a_moment_without_running_syncs():
    clock = Clock()
    script = Script(("dsyncs", ["a", "b"]), ("dsyncs", ["a", "b"]), ("dsyncs", ["b"]))
    found = waiting.wait_for_quiet(Watch(script), ["a"].__contains__, 10, clock.monotonic, clock.sleep)
    assert found == ([], round(clock.now, 3)) and script.asked == ["dsyncs"] * 3


def test_quiet_that_never_comes():
    clock = Clock()
    script = Script(("dsyncs", ["b", "a"]))
    assert waiting.wait_for_quiet(Watch(script), bool, 7, clock.monotonic, clock.sleep) == (["a", "b"], 7)


def test_after_a_restart_those_still_waited_for_are_asked_for_again():
    script = Script(
        *[("users", [status("a"), status("b", "low")]), ("dsyncs", []), ("users", [status("a")])],
        *[("users", GONE), ("users", [status("b", "low")]), ("users", [status("b")]), ("users", [status("b")])],
    )
    outcome, dummy = wait(script, ["a", "b"])
    assert outcome.synced == ["a", "b"]
    assert script.asked[3:6] == ["users", "anew", ["b"]]


def test_what_was_read_while_dovecot_was_reloaded_is_forgotten():
    """The reload has broken the sync off, which looks as if it had failed by itself."""
    answers = (
        [("users", [status("a", failed=True)])] * 2 + [("users", [status("a", "low")])] + [("users", [status("a")])]
    )
    script = Script(*answers, ("dsyncs", []))
    script.reloads = iter([0, 1])
    script.socket_identity = lambda: next(script.reloads, 1)
    outcome, dummy = wait(script, ["a"])
    assert outcome.synced == ["a"] and script.asked.count(["a"]) == 1


def test_a_replicator_that_does_not_come_back():
    with pytest.raises(DovecotError, match="closed the connection"):
        wait(Script(("users", GONE)), ["a"], seconds=1000)
    outcome, clock = wait(Script(("users", GONE)), ["a"], seconds=20)
    assert outcome.pending == ["a"] and clock.now == pytest.approx(20)


def test_a_replicator_that_was_never_there():
    script = Script(("users", GONE))
    with pytest.raises(DovecotError, match="closed the connection"):
        wait_for_syncs(Watch(script), ["a"], 20)
    assert script.asked == ["users"]


def test_a_wait_in_parts_remembers_that_the_replicator_was_gone():
    clock = Clock()
    earlier = Watch(Script(("users", GONE)), met=True)
    wait_for_syncs(earlier, ["a"], 5, monotonic=clock.monotonic, sleep=clock.sleep)
    verdict = ENDED.verdict(Outcome([], [], [], ["a"], 5.0), {}, earlier.state["trouble"])
    assert "could not be asked any more" in verdict and "closed the connection" in verdict
    script = Script(("users", [status("a")]), ("dsyncs", []))
    later = Watch(script, script.asked.append, state=earlier.state)
    assert wait_for_syncs(later, ["a"], 5, monotonic=clock.monotonic, sleep=clock.sleep).synced == ["a"]
    assert script.asked[:2] == ["anew", ["a"]] and later.state["restarts"] == 1


def test_a_replicator_killed_between_two_parts_of_a_wait():
    """Its connection and its socket tell nothing then, but the new one has had no sync yet."""
    earlier = Watch(Script(("dsyncs", ["a"]), ("users", [status("a")])), met=True)
    assert wait_for_syncs(earlier, ["a"], 0).pending == ["a"]
    script = Script(("users", [status("a")]), ("dsyncs", []))
    script.slots = 0
    later = Watch(script, script.asked.append, state=earlier.state)
    assert wait_for_syncs(later, ["a"], 5, sleep=lambda seconds: None).synced == ["a"]
    assert ["a"] in script.asked and later.state["restarts"] == 1
