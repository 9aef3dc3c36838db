# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: wanted and observed in, actions and diff out."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.membership import (
    MembershipPlan,
    ReplicationPlan,
    membership_diff,
    plan_absent,
    plan_present,
    plan_replication,
    replication_diff,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    NEVER,
    Moment,
    UserStatus,
)


def everyone(name):
    return True


@pytest.mark.parametrize(
    "listed, wanted, scope, plan",
    [
        ([], [], None, ([], [])),
        ([], ["b", "a", "b"], None, (["a", "b"], [])),
        (["a"], ["a"], None, ([], [])),
        (["z", "a"], ["b"], None, (["b"], [])),
        (["z", "a"], ["b"], everyone, (["b"], ["a", "z"])),
        (["z", "a"], ["a"], everyone, ([], ["z"])),
        (["a1", "b1"], ["a2"], lambda name: name.startswith("a"), (["a2"], ["a1"])),
    ],
)
def test_present(listed, wanted, scope, plan):
    assert plan_present(listed, wanted, scope) == MembershipPlan(*plan)


def test_another_spelling_of_a_wanted_name_goes():
    assert plan_present(["A", "b"], ["a", "b"], duplicate_spellings={"A"}) == MembershipPlan(["a"], ["A"])


@pytest.mark.parametrize(
    "listed, unwanted, remove",
    [([], ["a"], []), (["a"], [], []), (["b", "a"], ["a", "b", "c"], ["a", "b"]), (["Alice"], ["alice"], [])],
)
def test_absent(listed, unwanted, remove):
    assert plan_absent(listed, unwanted) == MembershipPlan([], remove)


def test_a_plan_carried_out_leaves_nothing_to_do():
    plan = plan_present(["a", "b", "c"], ["c", "d"], everyone)
    after = {"a", "b", "c"}.difference(plan.remove).union(plan.add)
    assert plan_present(after, ["c", "d"], everyone) == MembershipPlan([], [])


def test_diff_has_only_what_changes():
    diff = membership_diff(MembershipPlan(["new1", "new2"], ["old"]))
    assert (diff["before"], diff["after"]) == ("old\n", "new1\nnew2\n")
    diff = membership_diff(MembershipPlan([], []))
    assert diff["before"] == diff["after"]


def status(name, success, failed=False):
    return UserStatus(username=name, successful_sync=success, failed=failed)


STATUSES = {
    "fresh": status("fresh", Moment(None, 10)),
    "stale": status("stale", Moment(None, 100)),
    "never": status("never", NEVER),
    "failing": status("failing", Moment(None, 10), failed=True),
}


def test_without_an_age_all_are_asked_for():
    assert plan_replication(STATUSES, ["stale", "fresh", "fresh"]) == ReplicationPlan(["fresh", "stale"], [])


def test_with_an_age_only_those_without_a_fresh_success():
    plan = plan_replication(STATUSES, [*STATUSES, "not listed"], max_age=50)
    assert plan.requested == ["failing", "never", "not listed", "stale"]
    assert plan.skipped == [("fresh", "synced less than 50 seconds ago")]


def test_the_age_itself_is_too_old():
    assert plan_replication(STATUSES, ["fresh"], max_age=10).requested == ["fresh"]
    assert plan_replication(STATUSES, ["fresh"], max_age=11).requested == []


def test_only_those_that_failed():
    plan = plan_replication(STATUSES, [*STATUSES, "not listed"], failed_only=True)
    assert plan == ReplicationPlan(["failing"], [])


def test_diff_of_requests():
    assert replication_diff(ReplicationPlan(["a", "b"], [("c", "")]))["after"] == "a\nb\n"
