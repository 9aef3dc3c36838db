# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of GUIDs as options, as commands, and in a diff."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.identity import (
    Change,
    assorted,
    changes_in,
    identity_diff,
)

GUID = "71b4df1c6dbe066b710d000076ce35a6"
ENTRY = {"username": "alice", "name": "-f x", "was": "0", "guid": GUID}


def test_options_and_arguments():
    changes = changes_in([{**ENTRY, "uidvalidity": "7"}, {**ENTRY, "username": "a", "uidvalidity": None}, dict(ENTRY)])
    assert [(change.username, change.uidvalidity) for change in changes][0] == ("a", None)
    # A name that begins with a dash is none of doveadm's options.
    assert changes[0].arguments() == ["--mailbox-guid", GUID, "--", "-f x"]
    assert changes_in([{**ENTRY, "uidvalidity": 7}])[0].arguments()[2:4] == ["--uid-validity", "7"]


@pytest.mark.parametrize("wrong", [{"guid": "x"}, {"guid": GUID.upper()}, {"guid": GUID + "0"}, {"uidvalidity": "z"}])
def test_what_is_no_change(wrong):
    with pytest.raises(DovecotError):
        changes_in([{**ENTRY, **wrong}])
    with pytest.raises(DovecotError, match="'guid'"):
        changes_in([{"username": "alice", "name": "INBOX", "was": "0"}])


def test_only_what_is_as_it_was_is_changed():
    names = ("now", "done", "later", "gone")
    changes = [Change("alice", name, "old", "new") for name in names]
    found = {"alice": {name: {"guid": guid} for name, guid in zip(names, ("old", "new", "third"))}}
    wanted, skipped = assorted([*changes, Change("bob", "INBOX", "old", "new")], found)
    assert [change.name for change in wanted] == ["now"]
    reasons = [(change.name, reason) for change, reason in skipped]
    assert reasons == [("done", "adopted already"), ("later", "changed since"), ("gone", "gone"), ("INBOX", "gone")]


def test_a_diff():
    shown = identity_diff([Change("alice", "INBOX", "old", "new"), Change("bob", "Work", "old", "new", 9)])
    assert shown["before"] == "INBOX of alice: GUID old\nWork of bob: GUID old\n"
    assert shown["after"] == "INBOX of alice: GUID new\nWork of bob: GUID new, UIDVALIDITY 9\n"
