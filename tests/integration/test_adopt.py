# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that both hosts of a pair have made is brought together, and none is lost.

MAILOPS_ADOPT_USERS: how many users the one with many users has. MAILOPS_ADOPT_FOLDERS: in how many folders, at most 4.
"""

import json
import os
import time
import uuid
from collections import Counter

import pytest
from conftest import BY_ANSIBLE, HOSTS, MX1, MX2, USERDB_SECONDS
from runs import changes, failures, handed_over, succeeded
from test_reliability import kill, start_play

# Dovecot 2.3.19, which never syncs such mail by itself.
pytestmark = pytest.mark.parametrize("pair", [BY_ANSIBLE], indirect=True)

USERS = 12
MANY = int(os.environ.get("MAILOPS_ADOPT_USERS", "1000"))
FOLDERS = os.environ.get("MAILOPS_ADOPT_FOLDERS", "4")
CHANGING = "Give mailboxes the GUID of the other host"
# Makes users and their Maildirs on a host. Of each mailbox one host has more than the other, in turns.
PLANT = """
import os, shutil, sys
side, prefix, users = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
FOLDERS = [("", 4, 2), (".Work", 2, 3), (".Work.Gr&APYA3w-e", 1, 1), (".-f with space", 1, 2)][: int(sys.argv[4])]
with open("/etc/dovecot/users", "a") as entries:
    for number in range(users):
        name = "%s%d@example.org" % (prefix, number)
        home = "/srv/vmail/" + name
        entries.write("%s:{PLAIN}lab:5000:5000::%s::\\n" % (name, home))
        for folder, *counts in FOLDERS:
            place = os.path.join(home, "Maildir", folder)
            for part in "cur", "new", "tmp":
                os.makedirs(os.path.join(place, part))
            for index in range(counts[(number + side) % 2]):
                token = "%d-%d-%s-%d" % (side, number, len(folder), index)
                path = "cur/17000000%02d.M%d.mx%d:2,%s" % (index, index, side, "S" if index % 2 else "")
                with open(os.path.join(place, path), "w") as mail:
                    mail.write("Subject: x\\nMessage-ID: <%s@example.org>\\n\\nHello.\\n" % token)
        for path, dirs, files in os.walk(home):
            for entry in [path] + [os.path.join(path, file) for file in files]:
                shutil.chown(entry, "vmail", "vmail")
"""


@pytest.fixture
def planted(tidied, request):
    """The pair with users who have mail on both hosts, of which the replicator knows nothing yet; and their mask."""
    users = getattr(request, "param", USERS)
    folders = FOLDERS if users == MANY else "4"
    prefix = f"adopt-{uuid.uuid4().hex[:6]}-"
    for side, host in enumerate(HOSTS):
        tidied.lab.execute(host, "python3", "-", str(side), prefix, str(users), folders, stdin=PLANT)
        # Dovecot gives the mailboxes their GUIDs when it opens them first, as it would have for a mail.
        time.sleep(USERDB_SECONDS)
        tidied.shell(f"doveadm -o mail_plugins= mailbox status -u '{prefix}*' guid '*'", host)
    yield tidied, f"{prefix}*"
    for host in HOSTS:
        tidied.shell(f"sed -i '/^{prefix}/d' /etc/dovecot/users; rm -rf /srv/vmail/{prefix}*", host)


def mail(pair, mask, host):
    """How often each user has each Message-ID in which mailbox, with its flags, a Counter."""
    query = f"doveadm -f json fetch -u '{mask}' 'user mailbox hdr.message-id flags' all"
    rows = json.loads(pair.shell(query, host).stdout)
    return Counter(
        (row["user"], row["mailbox"], row["hdr.message-id"], row["flags"].replace("\\Recent", "").strip())
        for row in rows
    )


def sync_users(pair, names):
    for name in names:
        pair.module("replicator_replicate", users=[name], wait=True)


def diffs(results):
    return [
        (line["host"], line["task"], part.get("before"), part.get("after"))
        for line in results
        for diff in [line["result"].get("diff") or []]
        for part in (diff if isinstance(diff, list) else [diff])
    ]


def test_mail_of_both_hosts_is_brought_together(planted):
    pair, mask = planted
    before = [mail(pair, mask, host) for host in HOSTS]
    assert sum(map(len, before)) == USERS * 16 and not set(before[0]).intersection(before[1])

    announced = succeeded(pair.play("adopt", "--check", "--diff", replication_user_mask=mask))
    assert [mail(pair, mask, host) for host in HOSTS] == before
    done = succeeded(pair.play("adopt", "--diff", replication_user_mask=mask))
    assert changes(announced) == changes(done)
    assert sorted(map(str, diffs(announced))) == sorted(map(str, diffs(done))) != []

    assert [mail(pair, mask, host) for host in HOSTS] == [before[0] + before[1]] * 2
    announced, done = (handed_over(results)["hosts"] for results in (announced, done))
    for result in announced, done:
        # Each host has changed the mailboxes of which it had less; the second one also those with as much on both.
        assert [result[host]["adopted_mailboxes"] for host in HOSTS] == [18, 30]
        assert all((result[host]["users"], result[host]["synced"]) == (USERS, USERS) for host in HOSTS)
        assert [result[host]["messages_before"] for host in HOSTS] == [sum(count.values()) for count in before]
    assert all(result[MX1]["doubled_users"] == [] for result in (announced, done))
    assert announced[MX1]["messages_after"] is None and done[MX1]["messages_after"] == USERS * 16
    (status,) = pair.agent(MX2).module("replicator_info", gather=["users"], user_mask=mask, limit=1)["users"]
    assert not status["failed"] and status["last_successful_sync"]

    again = succeeded(pair.play("adopt", replication_user_mask=mask))
    assert changes(again) == [] and handed_over(again)["message"].startswith("Nothing to do: ")


@pytest.mark.rare
def test_a_run_that_is_killed_is_resumed(planted):
    """Mail comes in meanwhile, and so do syncs, which exchange the GUIDs of mailboxes that are not adopted yet."""
    pair, mask = planted
    before = [mail(pair, mask, host) for host in HOSTS]
    play = start_play(pair, playbook="adopt", replication_hosts="dovecot_replication", replication_user_mask=mask)
    for line in play.stdout:
        if CHANGING in line.decode():
            break
    kill(play)
    here, there = (mail(pair, mask, host) for host in HOSTS)
    assert here + there == before[0] + before[1]

    # Each user gets it on one host alone.
    new = [mask.replace("*", f"{number}@example.org") for number in range(4)]
    deliveries = "; ".join(
        f"printf 'Subject: new\\nMessage-ID: <new-{name}>\\n\\nx\\n' | /usr/lib/dovecot/dovecot-lda -d {name}; sleep 1"
        for name in new
    )
    with pair.later(0, deliveries):
        resumed = succeeded(pair.play("adopt", replication_user_mask=mask))
    assert handed_over(resumed)["hosts"][MX1]["left"] == 0
    sync_users(pair, new)
    arrived = Counter((name, "INBOX", f"<new-{name}>", "") for name in new)
    expected = before[0] + before[1] + arrived
    doubled = [mail(pair, mask, host) - expected for host in HOSTS]
    assert doubled[0] == doubled[1] and set(doubled[0]) <= set(arrived), doubled
    if doubled[0]:
        # Dovecot's doing, now and then, where a mail comes in while a sync gives others new UIDs. This is the cure that
        # the report names, for many users at once.
        pair.shell(f"doveadm deduplicate -u '{mask}' ALL")
        sync_users(pair, new)
    assert [mail(pair, mask, host) for host in HOSTS] == [expected] * 2
    assert changes(succeeded(pair.play("adopt", replication_user_mask=mask))) == []


def test_one_host_of_a_pair_alone(planted):
    pair, mask = planted
    alone = failures(pair.play("adopt", replication_hosts=MX1, replication_user_mask=mask))
    assert f"{MX2} is not in this run" in alone[0]


def test_a_mailbox_that_is_not_as_it_was(planted):
    """The module changes nothing then, and says which."""
    pair, mask = planted
    name = mask.replace("*", "0@example.org")
    (user,) = pair.module("mailbox_info", users=[name], fingerprints=False)["users"]
    inbox = next(mailbox for mailbox in user["mailboxes"] if mailbox["name"] == "INBOX")
    assert user["noreplicate"] is False and set(inbox) == {"name", "guid", "uidvalidity", "uidnext", "messages"}
    entry = {"username": name, "name": "INBOX", "was": "0" * 32, "guid": "1" * 32}
    skipped = pair.module("mailbox_identity", mailboxes=[entry, {**entry, "name": "No"}, {**entry, "username": "no"}])
    reasons = [(row["name"], row["reason"]) for row in skipped["skipped_mailboxes"]]
    assert not skipped["changed"] and reasons == [("INBOX", "changed since"), ("No", "gone"), ("INBOX", "gone")]
    adopted = pair.module("mailbox_identity", mailboxes=[{**entry, "was": inbox["guid"]}])
    assert adopted["changed"] and adopted["adopted"] == [{**entry, "was": inbox["guid"]}]
    again = pair.module("mailbox_identity", mailboxes=[{**entry, "was": inbox["guid"]}])
    assert not again["changed"] and again["skipped_mailboxes"][0]["reason"] == "adopted already"
    refused = pair.module("mailbox_identity", mailboxes=[{**entry, "guid": "x"}])
    assert refused["failed"] and "no GUID" in refused["msg"]


@pytest.mark.torture
@pytest.mark.parametrize("planted", [MANY], indirect=True)
def test_many_users(planted):
    """One run for all, which says how long it took."""
    pair, mask = planted
    before = [mail(pair, mask, host) for host in HOSTS]
    begun = time.monotonic()
    done = handed_over(succeeded(pair.play("adopt", replication_user_mask=mask, replication_adopt_timeout=3600)))
    seconds = time.monotonic() - begun
    after = [mail(pair, mask, host) for host in HOSTS]
    print(f"{MANY} users: {[sum(one.values()) for one in before + after]} mails, {seconds:.0f} s")
    assert after == [before[0] + before[1]] * 2
    assert all((host["synced"], host["left"]) == (MANY, 0) for host in done["hosts"].values())
    begun = time.monotonic()
    assert changes(succeeded(pair.play("adopt", replication_user_mask=mask))) == []
    print(f"a second run: {time.monotonic() - begun:.0f} s")
