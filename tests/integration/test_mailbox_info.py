# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailbox_info on live hosts."""

import pytest
from conftest import HOSTS, MX1, MX2

pytestmark = pytest.mark.usefixtures("transport")

ALICE, BOB, MOVER, NOBODY = (f"{name}@example.org" for name in ["alice", "bob", "mover", "nobody"])
FORMATS = {
    "maildir": "maildir:~/Maildir",
    "mdbox": "mdbox:~/mdbox",
    "sdbox": "sdbox:~/sdbox",
    "elsewhere": "maildir:~/Maildir:LAYOUT=fs:INDEX=~/index:CONTROL=~/control",
    "sdbox-elsewhere": "sdbox:~/sdbox:INDEX=~/index",
}
# Each leaves as many messages in the INBOX as there were, or one more or less.
CHANGES = {
    "lost": "expunge -u {user} mailbox INBOX uid 2",
    "extra": "save -u {user}",
    "flagged": r"flags add -u {user} '\Flagged' mailbox INBOX uid 1",
    "unread": r"flags remove -u {user} '\Seen' mailbox INBOX uid 1",
    "with another keyword": "flags add -u {user} important mailbox INBOX uid 3",
    "moved": "move -u {user} Archive mailbox INBOX uid 3",
    "in a renamed mailbox": "mailbox rename -u {user} Archive Old",
    "with one more empty mailbox": "mailbox create -u {user} Empty",
}


def unnoticed(pair, command, **names):
    """Have doveadm do something that the replicator is not told of."""
    pair.shell(f"printf 'Subject: x\\n\\nx\\n' | doveadm -o mail_plugins= {command.format(**names)}")


def on_both(pair, **options):
    return [pair.module("mailbox_info", host=host, **options) for host in (MX1, MX2)]


# The formats differ in Dovecot alone, and what is made of the answers is the same for each transport.
OFTEN = [("doveadm", "mdbox")]
ALL = [(transport, kind) for transport in ("doveadm", "http") for kind in FORMATS]


@pytest.mark.on_one
@pytest.mark.parametrize(
    "transport, kind",
    [pytest.param(*case, marks=[] if case in OFTEN else [pytest.mark.torture]) for case in ALL],
    indirect=["transport"],
)
def test_equal_when_in_sync_and_different_after_any_change(pair, kind):
    user = f"{kind}-{pair.defaults['transport']}@example.org"
    with pair.account(user, f"userdb_mail={FORMATS[kind]}"):
        unnoticed(pair, "mailbox create -u {user} Archive 'Late News'", user=user)
        for _number in range(4):
            unnoticed(pair, "save -u {user}", user=user)
        unnoticed(pair, r"flags add -u {user} '\Seen' mailbox INBOX uid 1", user=user)
        for change in [None, *CHANGES.values()]:
            if change:
                unnoticed(pair, change, user=user)
                here, there = on_both(pair, users=[user])
                assert here["users"][0]["fingerprint"] != there["users"][0]["fingerprint"], change
            pair.module("replicator_replicate", users=[user], wait=True)
            for host in HOSTS:
                # The peer may sync once more, and would carry the next change.
                pair.module("replicator_wait", host=host, users=[user], until="synced", wait_timeout=30)
            here, there = on_both(pair, users=[user], mailboxes=True)
            assert here["users"] == there["users"]
        (described,) = here["users"]
        pair.module("replicator_user", users=[user], state="absent")
    assert described["username"] == user and described["messages"] == 4
    assert [mailbox["name"] for mailbox in described["mailboxes"]] == ["Empty", "INBOX", "Late News", "Old"]
    assert [mailbox["messages"] for mailbox in described["mailboxes"]] == [0, 3, 0, 1]
    assert described["bytes"] == sum(mailbox["bytes"] for mailbox in described["mailboxes"]) > 0


def seen(pair):
    """The files of a mailbox but for the indexes, and what the replicator did last for whom."""
    files = (
        "cd /srv/vmail/alice@example.org && find . -type f ! -name 'dovecot*index*' -printf '%p %s %T@ %C@\n' | sort"
    )
    users = pair.agent().module("replicator_info", transport="socket", gather=["users"])["users"]
    return pair.shell(files).stdout, [(user["username"], user["last_fast_sync"], user["priority"]) for user in users]


def test_reading_changes_nothing_and_triggers_no_sync(pair):
    """New files stay new, an INBOX that was never opened is not made, and the replicator does nothing."""
    pair.module("replicator_user", user_mask="*")
    pair.module("replicator_wait")
    with pair.account(MOVER):
        pair.shell("rm -rf /srv/vmail/mover@example.org")
        pair.save_unnoticed(ALICE)
        before = seen(pair)
        result = pair.module("mailbox_info", users=[ALICE, MOVER])
        assert seen(pair) == before and "/new/" in before[0]
        made = pair.shell("find /srv/vmail/mover@example.org -name cur -o -name '*uidlist'", check=False).stdout
    assert made == ""
    assert [user["username"] for user in result["users"]] == [ALICE, MOVER]
    http = pair.defaults["transport"] == "http"
    assert result["users"][0]["messages"] > 0 and result["users"][1]["messages"] == (None if http else 0)
    assert result["transport"] == ("http" if http else "doveadm")


def test_users_by_mask_and_by_any_spelling(pair):
    everyone = pair.module("mailbox_info", user_mask="*@example.org")["users"]
    assert [user["username"] for user in everyone] == [f"{name}@example.org" for name in "alice bob carol dave".split()]
    assert pair.module("mailbox_info", users=["ALICE@Example.org"])["users"] == everyone[:1]
    assert "mailboxes" not in everyone[0]
    result = pair.module("mailbox_info", user_mask="zz*")
    assert result["users"] == [] and "zz*" in result["warnings"][0]


@pytest.mark.parametrize("transport", ["doveadm"], indirect=True)
def test_many_users_are_read_in_batches(pair):
    module = "ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.doveadm_mail"
    batches = pair.agent().module("mailbox_info", user_mask="*", fault=f"import {module} as m; m.BATCH = 3")
    assert batches["users"] == pair.module("mailbox_info", user_mask="*")["users"] and len(batches["users"]) == 4


def test_a_name_the_userdb_lacks(pair):
    result = pair.module("mailbox_info", users=[ALICE, NOBODY])
    assert result["failed"] and result["unknown_users"] == [NOBODY] and NOBODY in result["msg"]


def test_mail_that_cannot_be_read(pair):
    """doveadm ends with exit code 0 and an empty list. The others are read all the same."""
    pair.save_unnoticed(ALICE)
    (before,) = pair.module("mailbox_info", users=[BOB])["users"]
    pair.shell("chown root /srv/vmail/alice@example.org && chmod 0 /srv/vmail/alice@example.org")
    try:
        result = pair.module("mailbox_info", users=[ALICE, BOB])
    finally:
        pair.shell("chown vmail /srv/vmail/alice@example.org && chmod 700 /srv/vmail/alice@example.org")
    if pair.defaults["transport"] == "http":
        assert result["users"][0]["fingerprint"] is None, "not the fingerprint of an empty account"
    else:
        assert result["users"][0]["fingerprint"] is None and "Permission denied" in result["users"][0]["problem"]
    assert result["users"][1] == before and before["problem"] is None


@pytest.mark.on_one
@pytest.mark.parametrize(
    "options, words",
    [
        (dict(users=[ALICE], user_mask="*"), "mutually exclusive"),
        (dict(), "one of the following is required"),
        (dict(users=["a*"]), "user_mask"),
    ],
)
def test_what_makes_no_sense_is_refused(pair, options, words):
    result = pair.module("mailbox_info", **options)
    assert result["failed"] and words in result["msg"]
