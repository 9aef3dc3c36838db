# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is synced next: rule by rule, and all rules at once against a model, with a clock that is a number."""

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer import scheduler as module
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.scheduler import (
    AGAIN,
    BULK,
    CHANGED,
    IDLE,
    LOW,
    PROBES,
    RETRIES,
    SWEEP,
    Scheduler,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.store import Entry

NAMES = list("abcdef")
LOW_REQUEST, HIGH_REQUEST, SYNC_REQUEST = 1, 2, 3


def entry(name, **known):
    return Entry(name, 0, 0, 0, 0, False, 0, "", False)._replace(**known)


@pytest.fixture
def scheduler():
    """Three slots, and nobody who waits."""
    made = Scheduler(3)
    made.know(map(entry, NAMES), 0)
    return made


def starts(scheduler, now=0.0):
    found = []
    while True:
        start = scheduler.next(now)
        if start is None:
            return found
        found.append(start)


def names(found):
    return [start.name for start in found]


def end(scheduler, name, kind="synced", now=0.0):
    user = scheduler.users[name]
    user.entry = user.entry._replace(failed=kind in ("failed", "again", "outage"))
    scheduler.ended(name, kind, "why", now)


def test_nothing_happens(scheduler):
    assert starts(scheduler) == [] and scheduler.pause(0) > 1000


def test_changes_of_one_user_are_one_sync(scheduler):
    for _change in range(5):
        scheduler.changed("a")
    assert names(starts(scheduler)) == ["a"]
    scheduler.changed("a")
    scheduler.changed("a")
    assert starts(scheduler) == [], "not beside the one that runs"
    end(scheduler, "a")
    assert names(starts(scheduler)) == ["a"], "it may have looked before the change"


def test_requests_come_before_changes_and_changes_before_sweeps():
    scheduler = Scheduler(1)
    scheduler.know([*map(entry, NAMES), entry("again", failed=True)], 0)
    scheduler.sweep(0)
    scheduler.changed("c")
    scheduler.request("b", LOW_REQUEST, 0)
    scheduler.request("d", HIGH_REQUEST, 0)
    scheduler.request("e", SYNC_REQUEST, 0)
    order = []
    while True:
        found = names(starts(scheduler))
        if not found:
            break
        order += found
        end(scheduler, found[0])
    assert order == ["e", "d", "b", "c", "again", "a", "f"]


def test_a_slot_is_left_for_mail(scheduler):
    """However many are asked for, or swept, or fail."""
    scheduler.sweep(0)
    assert len(starts(scheduler)) == 2
    scheduler.changed("f")
    assert names(starts(scheduler)) == ["f"]


def test_a_request_raises_who_is_swept(scheduler):
    scheduler.sweep(0)
    scheduler.request("f", HIGH_REQUEST, 0)
    assert names(starts(scheduler))[0] == "f"
    end(scheduler, "f")
    assert "f" not in names(starts(scheduler)), "once is enough"


def test_a_sweep_is_spread_and_what_waits_longest_comes_first():
    scheduler = Scheduler(2)
    scheduler.know([entry("new", fast=50), entry("old", fast=10)], 0)
    scheduler.sweep(100, interval=40)
    assert names(starts(scheduler, 100)) == ["old"]
    end(scheduler, "old", now=101)
    assert starts(scheduler, 101) == [] and scheduler.pause(101) == 9
    assert names(starts(scheduler, 110)) == ["new"]


def test_a_failed_sync_is_tried_again_later_and_later(scheduler):
    now = 0.0
    scheduler.changed("a")
    for pause in [*RETRIES, RETRIES[-1]]:
        assert names(starts(scheduler, now)) == ["a"]
        end(scheduler, "a", "failed", now)
        assert starts(scheduler, now + pause - 1) == []
        assert scheduler.pause(now) == pause
        now += pause
    assert names(starts(scheduler, now)) == ["a"]
    end(scheduler, "a", now=now)
    scheduler.changed("a")
    starts(scheduler, now)
    end(scheduler, "a", "failed", now)
    assert scheduler.pause(now) == RETRIES[0], "it begins anew"


def test_mail_is_not_kept_waiting_by_a_failure_before(scheduler):
    scheduler.changed("a")
    starts(scheduler)
    end(scheduler, "a", "failed")
    scheduler.changed("a")
    assert names(starts(scheduler)) == ["a"]


def gone(scheduler, now=0.0):
    """Have the peer be gone."""
    for name in "abc":
        scheduler.changed(name)
    starts(scheduler, now)
    for name in "abc":
        end(scheduler, name, "outage", now)


def test_a_peer_that_is_gone_is_tried_with_one_user(scheduler):
    gone(scheduler)
    assert scheduler.outage == "why"
    scheduler.changed("d")
    assert scheduler.waiting_for_peer() == ["d"] and scheduler.users["d"].entry.failed
    assert starts(scheduler, PROBES[0] - 1) == []
    now = PROBES[0]
    assert len(starts(scheduler, now)) == 1 and scheduler.pause(now) > 1000
    (tried,) = scheduler.running
    end(scheduler, tried, "outage", now)
    assert scheduler.pause(now) == PROBES[1]


def test_all_are_tried_once_the_peer_is_back(scheduler):
    gone(scheduler)
    scheduler.changed("d")
    scheduler.waiting_for_peer()
    (tried,) = names(starts(scheduler, PROBES[0]))
    end(scheduler, tried, "synced", PROBES[0])
    assert scheduler.outage == ""
    seen = {tried}
    while True:
        found = names(starts(scheduler, PROBES[0]))
        if not found:
            break
        seen.update(found)
        for name in found:
            end(scheduler, name, "synced", PROBES[0])
    assert seen == set("abcd")


def test_the_longer_it_was_gone_the_more_it_matters_that_all_are_tried_at_once(scheduler):
    gone(scheduler)
    now = 0.0
    for pause in [*PROBES, PROBES[-1]]:
        now += pause
        (tried,) = names(starts(scheduler, now))
        end(scheduler, tried, "outage", now)
    now += PROBES[-1]
    (tried,) = names(starts(scheduler, now))
    end(scheduler, tried, "synced", now)
    assert set(names(starts(scheduler, now))) | {tried} == set("abc")


def test_one_who_fails_for_another_reason_when_the_peer_is_back_is_not_tried_at_once(scheduler):
    gone(scheduler)
    (tried,) = names(starts(scheduler, PROBES[0]))
    end(scheduler, tried, "failed", PROBES[0])
    others = names(starts(scheduler, PROBES[0]))
    assert set(others) == set("abc") - {tried}
    for name in others:
        end(scheduler, name, "synced", PROBES[0])
    assert starts(scheduler, PROBES[0]) == []


def test_mail_that_comes_during_a_sync_that_fails_does_not_wait(scheduler):
    scheduler.changed("a")
    starts(scheduler)
    scheduler.changed("a")
    end(scheduler, "a", "failed")
    assert names(starts(scheduler)) == ["a"]


def test_who_asks_while_the_peer_is_gone_has_it_tried_now(scheduler):
    gone(scheduler)
    scheduler.request("e", LOW_REQUEST, 1)
    assert len(starts(scheduler, 1)) == 1
    (tried,) = scheduler.running
    end(scheduler, tried, "outage", 1)
    assert scheduler.waiting_for_peer() == ["e"] or tried == "e", "and an answer"
    assert scheduler.users["e"].entry.failed


def test_one_that_always_fails_starts_no_storm(scheduler):
    """Successes of others bring back only those who have failed for what concerns all."""
    scheduler.changed("a")
    starts(scheduler)
    end(scheduler, "a", "failed")
    scheduler.changed("b")
    starts(scheduler)
    end(scheduler, "b")
    assert starts(scheduler, 1) == []


def test_who_comes_and_goes(scheduler):
    scheduler.changed("a")
    scheduler.request("b", LOW_REQUEST, 0)
    assert scheduler.align(["c", "d", "new"]) == ["new"]
    assert set(scheduler.users) == set("abcd"), "mail of the others waits"
    scheduler.add(["new"])
    assert "new" in names(starts(scheduler))
    end(scheduler, "new", "gone")
    assert "new" not in scheduler.users


def test_what_was_known_before_a_restart():
    scheduler = Scheduler(4)
    scheduler.know(
        [entry("idle"), entry("asked", priority=2), entry("changed", priority=1), entry("f", failed=True)], 0
    )
    assert names(starts(scheduler)) == ["asked", "changed", "f"]


class Model(stateful.RuleBasedStateMachine):
    """Every rule at once: whatever happens in whatever order, each holds after each step."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.scheduler = Scheduler(3)
        self.scheduler.know(map(entry, NAMES), 0)
        # Users with a change or request that no sync which began later has answered.
        self.owed = {}
        self.began = {}
        self.step = 0

    def advance(self):
        self.step += 1

    @stateful.rule(name=st.sampled_from(NAMES))
    def change(self, name):
        self.advance()
        if name in self.scheduler.users:
            self.scheduler.changed(name)
            self.owed[name] = self.step
            self.scheduler.waiting_for_peer()

    @stateful.rule(name=st.sampled_from(NAMES), priority=st.integers(1, 3))
    def request(self, name, priority):
        self.advance()
        if name in self.scheduler.users:
            self.scheduler.request(name, priority, self.now)
            self.owed[name] = self.step

    @stateful.rule(interval=st.sampled_from([0.0, 100.0]))
    def sweep(self, interval):
        self.scheduler.sweep(self.now, interval)

    @stateful.rule(seconds=st.sampled_from([0.5, 5.0, 60.0, 400.0]))
    def wait(self, seconds):
        self.now += seconds

    @stateful.rule(name=st.sampled_from(NAMES))
    def remove_and_add(self, name):
        self.scheduler.remove(name)
        self.owed.pop(name, None)
        self.scheduler.add([name])

    @stateful.rule()
    def start(self):
        self.advance()
        waiting = {name: user.rank for name, user in self.scheduler.users.items() if name not in self.scheduler.running}
        begun = self.scheduler.next(self.now)
        if begun is None:
            return
        assert begun.name not in self.began, "two syncs of one user"
        if not self.scheduler.outage:
            better = [name for name, rank in waiting.items() if rank < begun.rank and rank not in BULK]
            assert better == [] or begun.rank <= LOW, "somebody with a better reason was waiting"
        self.began[begun.name] = self.step

    @stateful.rule(data=st.data(), kind=st.sampled_from(["synced", "synced", "failed", "again", "outage", "missing"]))
    def finish(self, data, kind):
        self.advance()
        if self.began:
            name = data.draw(st.sampled_from(sorted(self.began)))
            began = self.began.pop(name)
            if name in self.scheduler.users:
                if kind in ("synced", "missing") and self.owed.get(name, 0) < began:
                    self.owed.pop(name, None)
                end(self.scheduler, name, kind, self.now)
            else:
                self.scheduler.ended(name, kind, "why", self.now)
            self.scheduler.waiting_for_peer()

    @stateful.invariant()
    def width(self):
        running = self.scheduler.running
        assert set(running) == set(self.began) and len(running) <= 3
        assert len({start.slot for start in running.values()}) == len(running)
        assert sum(start.rank in BULK for start in running.values()) <= 2 or self.scheduler.outage

    @stateful.invariant()
    def nobody_is_forgotten(self):
        """Whoever is owed a sync waits for one, has one under way, or has failed and is tried again."""
        again = {name for dummy, name in self.scheduler._again}
        for name in self.owed:
            user = self.scheduler.users[name]
            assert user.rank <= AGAIN or name in self.began or user.entry.failed and name in again, (name, user.rank)

    @stateful.invariant()
    def it_does_not_sleep_where_something_is_due(self):
        if not self.scheduler.running and any(user.rank <= CHANGED for user in self.scheduler.users.values()):
            return
        assert self.scheduler.pause(self.now) >= 0

    def teardown(self):
        """Left alone with a peer that answers, everyone who is owed a sync gets it."""
        for name in list(self.began):
            self.finish_well(name)
        for _round in range(200):
            begun = self.scheduler.next(self.now)
            if begun is None:
                if not self.owed:
                    break
                self.now += max(0.1, min(400.0, self.scheduler.pause(self.now)))
                continue
            self.step += 1
            self.began[begun.name] = self.step
            self.finish_well(begun.name)
        assert not self.owed, self.owed

    def finish_well(self, name):
        self.step += 1
        began = self.began.pop(name)
        if self.owed.get(name, 0) < began:
            self.owed.pop(name, None)
        if name in self.scheduler.users:
            end(self.scheduler, name, "synced", self.now)
        else:
            self.scheduler.ended(name, "synced", "", self.now)


TestModel = Model.TestCase
TestModel.settings = hypothesis.settings(max_examples=150, stateful_step_count=50, deadline=None)


def test_ranks_are_in_their_order():
    assert (module.SYNC, module.HIGH, LOW, CHANGED, AGAIN, SWEEP, IDLE) == tuple(range(7))
