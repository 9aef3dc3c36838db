# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts of every kind on live hosts: names, aliases, fields for all, users who are renamed or whose mail moves."""

import contextlib

import pytest
from conftest import BY_ANSIBLE, HOSTS, MX1, MX2
from runs import failures, findings_of, succeeded

pytestmark = pytest.mark.parametrize("pair", [BY_ANSIBLE], indirect=True)

ALICE = "alice@example.org"
NAMES = ["anna maria@example.org", "anna+tag@example.org", "j\u00fcrgen@example.org"]
ALIAS, CAPITALS = "sales@example.org", "Big@example.org"
PLANTED = "/etc/dovecot/conf.d/97-planted.conf"


@pytest.fixture
def with_any_character(tidied):
    """A pair whose names may have any character, which Dovecot's default forbids."""
    pair = tidied
    for host in HOSTS:
        pair.shell(f"echo 'auth_username_chars =' > {PLANTED}; systemctl restart dovecot", host)
    yield pair
    for host in HOSTS:
        pair.shell(f"rm {PLANTED}; systemctl restart dovecot", host)


@contextlib.contextmanager
def nameless(pair):
    """An account without a name, for a while."""
    for host in HOSTS:
        pair.shell("echo ':{PLAIN}lab:5000:5000::/srv/vmail/nobody::' >> /etc/dovecot/users", host)
    try:
        yield
    finally:
        for host in HOSTS:
            pair.shell("sed -i '/^:/d' /etc/dovecot/users", host)


def findings(results):
    """What verify has concluded, a list of host, id and evidence."""
    found = findings_of(results)
    return [(item["host"], item["id"], item["evidence"]) for item in found]


@pytest.mark.rare
def test_names_of_every_kind(with_any_character):
    pair = with_any_character
    with contextlib.ExitStack() as accounts:
        for name in NAMES:
            accounts.enter_context(pair.account(name))
        for host in HOSTS:
            added = pair.module("replicator_user", host, users=NAMES, wait=True)
            assert not added["failed"] and set(NAMES) <= set(pair.listed(host))
        for name in NAMES:
            # dovecot-lda takes no recipient with other characters than those of ASCII.
            mail = "Subject: of-every-kind\n\nHello.\n"
            pair.lab.execute(MX1, "doveadm", "save", "-u", name, stdin=mail)
            assert pair.arrived(name, "of-every-kind") is not None, name
        succeeded(pair.play("resync", replication_users=NAMES, replication_full=True))
        assert findings(succeeded(pair.play("verify"))) == []
        accounts.enter_context(pair.account(ALIAS, f"userdb_user={ALICE}"))
        accounts.enter_context(pair.account(CAPITALS))
        accounts.enter_context(nameless(pair))
        found = findings(succeeded(pair.play("verify")))
        assert {(host, name) for host, name, dummy in found} >= {(host, "listed_not_found") for host in HOSTS}
        assert CAPITALS in next(evidence for dummy, name, evidence in found if name == "listed_not_found")
        assert f"{ALIAS} ({ALICE})" in next(evidence for dummy, name, evidence in found if name == "aliases_listed")
        listed = pair.module("replicator_user", user_mask="*")
        assert not listed["failed"] and CAPITALS in listed["unknown_users"]
    for host in HOSTS:
        pair.module("replicator_user", host, user_mask="*@example.org", state="absent")


@pytest.mark.rare
def test_a_user_who_was_renamed_or_deleted(tidied):
    """It is told what has happened. A run for all users is not red for it."""
    pair = tidied
    old, new = "old@example.org", "new@example.org"
    with pair.account(old):
        assert pair.arrived(old, pair.deliver(old)) is not None
        for host in HOSTS:
            pair.module("replicator_user", host, users=[old], wait=True)
            pair.shell(f"sed -i 's/^{old}:/{new}:/' /etc/dovecot/users", host)
    with contextlib.ExitStack() as accounts:
        accounts.enter_context(pair.account(new))
        for host in HOSTS:
            pair.shell(f"doveadm replicator add {old}", host)
        named = failures(pair.play("resync", replication_users=[old]))
        assert named and "deleted or renamed" in named[0]
        results = succeeded(pair.play("resync"))
        assert f"{old} is not in the userdb any more" in str(results)


# What a userdb gives to all of its users: how, and what verify finds for it on each host.
FOR_ALL = {
    "default_fields = mail_replica=tcp:mx2.example.org:12345": [(MX2, "user_replica_elsewhere")],
    "override_fields = mail_plugins=quota": [(host, "user_plugins_missing") for host in HOSTS],
    "default_fields = quota_rule=*:storage=1G": [],
}


first, *others = FOR_ALL


@pytest.mark.parametrize("line", [first, *[pytest.param(line, marks=pytest.mark.rare) for line in others]])
def test_fields_that_a_userdb_gives_to_all(tidied, line):
    """The finding names the line; without it, it is gone."""
    pair = tidied
    auth = "/etc/dovecot/conf.d/10-auth.conf"
    text = pair.shell(f"cat {auth}").stdout
    with pair.replaced({auth: text.replace("userdb {", f"userdb {{\n  {line}")}):
        for host in HOSTS:
            pair.shell("systemctl reload dovecot; sleep 0.5", host)
        number = next(
            index for index, each in enumerate(pair.shell(f"cat {auth}").stdout.splitlines(), 1) if line in each
        )
        found = findings(pair.play("verify"))
        assert [(host, name) for host, name, dummy in found] == FOR_ALL[line]
        assert all(f"{auth} line {number}" in evidence for dummy, dummy, evidence in found)
    for host in HOSTS:
        pair.shell("systemctl reload dovecot; sleep 0.5", host)
    assert findings(succeeded(pair.play("verify"))) == []


@pytest.mark.torture
def test_mail_moves_to_another_format_host_by_host(tidied):
    """As an administrator does it, with verify green at each step, and nothing lost."""
    pair = tidied
    name = "frank@example.org"
    with pair.account(name, "userdb_mail=maildir:~/Maildir"):
        tokens = [pair.deliver(name) for dummy in range(3)]
        pair.shell(f"doveadm mailbox create -u {name} Work/Old; doveadm flags add -u {name} important mailbox INBOX 1")
        assert pair.arrived(name, tokens[-1]) is not None
        for host, wanted in [(MX2, "sdbox:~/sdbox"), (MX1, "mdbox:~/mdbox"), (MX2, "mdbox:~/mdbox")]:
            entry = f"s#^\\({name}:.*userdb_mail=\\).*#\\1{wanted}#"
            pair.shell(f"sed -i '{entry}' /etc/dovecot/users; sleep 1.5", host)
            # The mailboxes are empty here now, and are filled from the peer.
            succeeded(pair.play("resync", replication_users=[name], replication_full=True))
            assert findings(succeeded(pair.play("verify"))) == [], (host, wanted)
            tokens.append(pair.deliver(name, host))
            assert pair.arrived(name, tokens[-1], MX1 if host == MX2 else MX2) is not None
        for host in HOSTS:
            subjects = pair.shell(f"doveadm fetch -u {name} hdr.subject all", host).stdout
            assert [subjects.count(token) for token in tokens] == [1] * len(tokens)
