# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints: what makes them differ and what does not."""

import json

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mailboxes import Mailboxes, rows_in

INBOX = {"mailbox": "INBOX", "guid": "g1", "uidvalidity": "17", "uidnext": "3", "vsize": "110"}
ARCHIVE = {"mailbox": "Archive", "guid": "g2", "uidvalidity": "18", "uidnext": "1", "vsize": "0"}
FIRST = {"mailbox": "INBOX", "uid": "1", "guid": "m1", "flags": "\\Seen work"}
SECOND = {"mailbox": "INBOX", "uid": "2", "guid": "m2", "flags": ""}


def described(mailboxes=(INBOX, ARCHIVE), messages=(FIRST, SECOND), **options):
    everyone = Mailboxes(["a"], **options)
    for row in mailboxes:
        everyone.add_mailbox("a", row)
    for row in messages:
        everyone.add_message("a", row)
    return everyone.described(True)[0]


def test_what_is_described():
    user = described()
    assert (user["username"], user["messages"], user["bytes"]) == ("a", 2, 110)
    assert [mailbox["name"] for mailbox in user["mailboxes"]] == ["Archive", "INBOX"]
    assert user["mailboxes"][1] == {
        **dict(name="INBOX", guid="g1", uidvalidity=17, uidnext=3, messages=2, doubled=0, bytes=110),
        "fingerprint": user["mailboxes"][1]["fingerprint"],
    }


@pytest.mark.parametrize(
    "mailboxes, messages",
    [
        ((ARCHIVE, INBOX), (FIRST, SECOND)),
        (({**INBOX, "uidnext": "9", "vsize": "1"}, ARCHIVE), (FIRST, SECOND)),
        ((INBOX, ARCHIVE), ({**FIRST, "flags": "work \\Recent \\Seen"}, SECOND)),
        ((INBOX, ARCHIVE), (FIRST, SECOND, {**FIRST, "mailbox": "made since"})),
    ],
)
def test_what_makes_no_difference(mailboxes, messages):
    assert described(mailboxes, messages)["fingerprint"] == described()["fingerprint"]


@pytest.mark.parametrize(
    "mailboxes, messages",
    [
        ((INBOX,), (FIRST, SECOND)),
        (({**INBOX, "guid": "other"}, ARCHIVE), (FIRST, SECOND)),
        (({**INBOX, "uidvalidity": "99"}, ARCHIVE), (FIRST, SECOND)),
        ((INBOX, {**ARCHIVE, "mailbox": "archive"}), (FIRST, SECOND)),
        ((INBOX, ARCHIVE), (FIRST,)),
        ((INBOX, ARCHIVE), (FIRST, SECOND, {**SECOND, "uid": "3"})),
        ((INBOX, ARCHIVE), (FIRST, {**SECOND, "mailbox": "Archive"})),
        ((INBOX, ARCHIVE), (FIRST, {**SECOND, "guid": "other"})),
        ((INBOX, ARCHIVE), ({**FIRST, "flags": "\\Seen"}, SECOND)),
        ((INBOX, ARCHIVE), ({**FIRST, "flags": "work"}, {**SECOND, "flags": "\\Seen"})),
    ],
)
def test_what_makes_a_difference(mailboxes, messages):
    assert described(mailboxes, messages)["fingerprint"] != described()["fingerprint"]


@pytest.mark.parametrize(
    "more, doubled",
    [
        ([{**FIRST, "uid": "3"}], [0, 1]),
        ([{**FIRST, "uid": "3"}, {**FIRST, "uid": "4"}, {**SECOND, "uid": "5"}], [0, 3]),
        # A copy in another folder is none.
        ([{**FIRST, "mailbox": "Archive"}, {**SECOND, "mailbox": "Archive"}], [0, 0]),
        ([{**FIRST, "mailbox": "Archive", "uid": uid} for uid in "12"], [1, 0]),
    ],
)
def test_messages_that_are_there_twice(more, doubled):
    user = described(messages=(FIRST, SECOND, *more))
    assert [mailbox["doubled"] for mailbox in user["mailboxes"]] == doubled
    assert user["doubled"] == sum(doubled)


@pytest.mark.parametrize("here, there, same", [("a/b.c", "a.b_c", True), ("a/b", "a_b", True), ("a-b", "a_b", False)])
def test_names_as_dsync_translates_them(here, there, same):
    prints = {described([{**ARCHIVE, "mailbox": name}], ())["fingerprint"] for name in (here, there)}
    assert len(prints) == (1 if same else 2)


def test_no_mailbox_may_mean_that_none_can_be_read():
    assert described((), ())["messages"] == 0
    unknown = described((), (), none_is_unknown=True)
    assert unknown["fingerprint"] is unknown["messages"] is unknown["doubled"] is unknown["bytes"] is None
    assert described(none_is_unknown=True) == described()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("rows", [[], [{}], [{"a": "1"}, {"b": '"}],[{"'}, {"ü": "\\"}]])
def test_rows_come_in_pieces(rows, size):
    for text in (json.dumps(rows), json.dumps(rows, separators=(",", ":"), ensure_ascii=False) + "\n"):
        assert list(rows_in(text[start : start + size] for start in range(0, len(text), size))) == rows


@pytest.mark.parametrize("text", ["", "  ", "{}", "Usage: doveadm", "[", '[{"a": "1"}', '[{"a": "1"}, {', "[nonsense]"])
def test_what_is_no_list_of_rows(text):
    with pytest.raises(ValueError):
        list(rows_in([text]))
