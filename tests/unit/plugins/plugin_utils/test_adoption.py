# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host changes which mailbox, who is synced, and when it ends."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.identity import Change
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _adoption as model

ONE, OTHER = "mx1", "mx2"


def mailbox(guid, messages=1, uidvalidity=10, name="INBOX"):
    return {"name": name, "guid": guid, "messages": messages, "uidvalidity": uidvalidity, "uidnext": messages + 1}


def user(*mailboxes, username="alice", noreplicate=False):
    messages = sum(entry["messages"] for entry in mailboxes)
    return {
        "username": username,
        "noreplicate": noreplicate,
        "problem": None,
        "messages": messages,
        "mailboxes": list(mailboxes),
    }


def planned(here, there):
    return model.planned({ONE: here, OTHER: there})


@pytest.mark.parametrize(
    "here, there, host, change",
    [
        # The host with less in it changes; with as much on both the second one does.
        (mailbox("a", 5, 10), mailbox("b", 2, 5), OTHER, Change("alice", "INBOX", "b", "a")),
        (mailbox("a", 2, 5), mailbox("b", 5, 10), ONE, Change("alice", "INBOX", "a", "b")),
        (mailbox("a", 2, 10), mailbox("b", 2, 5), OTHER, Change("alice", "INBOX", "b", "a")),
        # Its UIDVALIDITY gets below that of the other host, and is never the same.
        (mailbox("a", 5, 10), mailbox("b", 2, 20), OTHER, Change("alice", "INBOX", "b", "a", 9)),
        (mailbox("a", 5, 10), mailbox("b", 2, 10), OTHER, Change("alice", "INBOX", "b", "a", 9)),
        # There is none below 1.
        (mailbox("a", 5, 1), mailbox("b", 2, 7), OTHER, Change("alice", "INBOX", "b", "a")),
    ],
)
def test_a_mailbox_made_on_both_hosts(here, there, host, change):
    plan = planned([user(here)], [user(there)])
    assert plan.changes == {**dict.fromkeys([ONE, OTHER], []), host: [change]}
    assert (plan.adopted, plan.differing, plan.users) == (["alice"], ["alice"], 1)
    assert plan.messages == {ONE: here["messages"], OTHER: there["messages"]}


def test_a_user_whose_mail_cannot_be_read_is_left_alone_and_told():
    broken = {**user(), "problem": "mkdir failed", "messages": None}
    plan = planned([broken, user(mailbox("a"), username="bob")], [user(mailbox("b")), user(username="bob")])
    assert (plan.adopted, plan.differing, plan.users) == ([], ["bob"], 1)
    own, other = (model.begun(None, host, plan, []) for host in (ONE, OTHER))
    assert "of alice: mkdir failed." in model.failure(own, own) and model.failure(other, own) == ""


@pytest.mark.parametrize(
    "here, there, differing",
    [
        ([mailbox("a")], [mailbox("a")], []),
        ([], [], []),
        # An earlier run was killed before the sync, or mail has come since.
        ([mailbox("a", uidvalidity=9)], [mailbox("a")], ["alice"]),
        ([mailbox("a", 2)], [mailbox("a")], ["alice"]),
        ([mailbox("a"), mailbox("w", name="Work")], [mailbox("a")], ["alice"]),
        ([mailbox("a")], [], ["alice"]),
    ],
)
def test_nothing_to_adopt(here, there, differing):
    plan = planned([user(*here)], [user(*there)])
    assert plan.changes == {ONE: [], OTHER: []} and (plan.adopted, plan.differing) == ([], differing)


def test_a_renamed_mailbox_is_not_given_a_guid_that_its_host_has_already():
    # Work was renamed to Old on the other host, which then made a new Work.
    here = [mailbox("w", 5, name="Work")]
    there = [mailbox("n", 1, name="Work"), mailbox("w", 5, name="Old")]
    plan = planned([user(*here)], [user(*there)])
    # The other direction is free.
    assert plan.changes == {ONE: [Change("alice", "Work", "w", "n", 9)], OTHER: []}
    # Both names are exchanged: that is for dsync alone.
    here, there = ([mailbox(guid, name=name) for guid, name in names] for names in (["aX", "bY"], ["bX", "aY"]))
    plan = planned([user(*here)], [user(*there)])
    assert plan.changes == {ONE: [], OTHER: []} and plan.differing == ["alice"]


def test_two_mailboxes_never_get_one_guid():
    here = [mailbox("a", 5), mailbox("b", 5, name="Work")]
    there = [mailbox("b", 1), mailbox("c", 1, name="Work")]
    plan = planned([user(*here)], [user(*there)])
    guids = {OTHER: {"INBOX": "b", "Work": "c"}, ONE: {"INBOX": "a", "Work": "b"}}
    for host, changes in plan.changes.items():
        guids[host].update({change.name: change.guid for change in changes})
        assert len(set(guids[host].values())) == 2


def test_who_is_left_alone():
    kept_out = [user(mailbox("a"), username=name) for name in ("here", "there")]
    elsewhere = [user(mailbox("b"), username=name, noreplicate=name == "there") for name in ("here", "there")]
    kept_out[0]["noreplicate"] = True
    only = user(mailbox("a"), username="only")
    plan = planned([*kept_out, only], elsewhere)
    assert plan.changes == {ONE: [], OTHER: []} and (plan.differing, plan.users) == ([], 0)
    assert plan.one_sided == {ONE: ["only"], OTHER: []}


PLAN = planned(
    [user(mailbox("a", 5)), user(mailbox("c"), username="bob")],
    [user(mailbox("b", 2)), user(mailbox("c", 3), username="bob")],
)
CHANGED = {"changed": True, "adopted": [{"username": "alice", "name": "INBOX", "was": "b", "guid": "a"}]}
SAME = {"username": "alice", "fingerprint": "f", "messages": 7, "doubled": 2}
BOB, OTHER_BOB = ({"username": "bob", "fingerprint": text, "messages": 3, "doubled": 0} for text in "gh")


def syncs(message="", **ends):
    return [{"item": ONE, **ends, **({"msg": message} if message else {})}, {"item": OTHER}]


def test_a_round_after_which_all_are_the_same():
    begun = model.begun(None, OTHER, PLAN, [CHANGED])
    assert (begun.leader, begun.planned, begun.requested, begun.mailboxes) == (ONE, 1, 2, 1)
    assert (begun.adopted_users, begun.before) == (["alice"], {ONE: 6, OTHER: 5})
    done = model.compared(begun, syncs(), [{"users": [SAME, BOB]}, {"users": [BOB, SAME]}])
    assert (done.again, done.after, done.syncs, done.doubled) == ([], 10, {ONE: "", OTHER: ""}, {"alice": 2})
    assert not model.goes_on(done) and model.failure(done, done) == ""


@pytest.mark.parametrize("end", model.UNSYNCED)
def test_users_who_are_taken_again(end):
    """Those who differ, and those whose sync has failed although they seem to be the same."""
    begun = model.begun(None, OTHER, PLAN, [CHANGED])
    differing = model.compared(begun, syncs(), [{"users": [SAME, BOB]}, {"users": [SAME, OTHER_BOB]}])
    unsynced = model.compared(begun, syncs("1 of 2", **{end: ["bob"]}), [{"users": [SAME, BOB]}] * 2)
    unread = model.compared(begun, syncs(), [{"users": [SAME, BOB]}, {"msg": "It is down."}])
    assert (differing.again, unsynced.again, unread.again) == (["bob"], ["bob"], ["alice", "bob"])
    assert differing.after == unsynced.after == 7 and model.goes_on(differing)
    later = differing
    for _round in range(model.ROUNDS - 1):
        later = model.begun(later, OTHER, planned([user(mailbox("c"))], [user(mailbox("c", 3))]), [])
        assert later.again == [] and later.mailboxes == 1
        later = model.compared(later, syncs("1 of 2 users synced"), [{"users": [BOB]}, {"users": [OTHER_BOB]}])
    assert later.round == model.ROUNDS and not model.goes_on(later)
    text = model.failure(model.Adoption(failures=["1 mailbox was not changed."]), later)
    assert text == (
        "1 of 2 users do not have the same mail on both hosts after 4 rounds: alice. "
        "Sync from mx1: 1 of 2 users synced 1 mailbox was not changed."
    )


def test_what_a_task_hands_to_the_next_one():
    begun = model.begun(None, OTHER, PLAN, [CHANGED])
    assert model.Adoption.of({**begun._asdict(), "changed": True, "goes_on": False}) == begun
