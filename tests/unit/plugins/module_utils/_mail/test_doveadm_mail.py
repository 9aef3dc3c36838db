# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One user whose mail cannot be read keeps nobody else's from being read."""

import json

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.doveadm_mail import DoveadmMail

IDENTITY = {"guid": "a", "uidvalidity": "1", "uidnext": "2", "messages": "1"}
DENIED = "doveadm({0})<7><s>: Error: stat(/srv/{0}) failed: Permission denied"


class Doveadm:
    """Answers for the users that it is asked for, with errors about the broken ones."""

    def __init__(self, error, *broken):
        self.error, self.broken, self.runs = error, broken, 0

    def __call__(self, command, data=None):
        self.runs += 1
        with open(command[command.index("-F") + 1], encoding="utf-8") as stream:
            users = stream.read().splitlines()
        broken = [user for user in users if user in self.broken]
        rows = [{**IDENTITY, "username": user, "mailbox": "INBOX"} for user in users]
        with open(command[4], "w") as answer:
            json.dump(rows, answer)
        return (1 if broken else 0), "", "\n".join(self.error.format(user) for user in broken)


def listing(doveadm, names):
    return DoveadmMail(doveadm, ["doveadm"], [], (2, 3, 19)).mailboxes(names)


def test_those_whom_an_error_names_are_left_out():
    doveadm = Doveadm(DENIED, "b", "c")
    found = listing(doveadm, ["a", "b", "c", "d"])
    assert found.problems == {name: f"stat(/srv/{name}) failed: Permission denied" for name in "bc"}
    assert {name for name in found.mailboxes if found.mailboxes[name]} == {"a", "d"} and doveadm.runs == 2


def test_an_error_that_names_nobody():
    found = listing(Doveadm("doveadm: Error: something", "b"), ["a", "b"])
    assert list(found.problems) == ["b"] and "something" in found.problems["b"] and found.mailboxes["a"]
    many = [f"user{number}" for number in range(30)]
    with pytest.raises(DovecotError, match="something"):
        listing(Doveadm("doveadm: Error: something", many[7]), many)
