# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is planted is found, with a cure that helps; a healthy pair gives no finding.

The planted rows make the table in docs/diagnosis.md. MAILOPS_UPDATE_DOCS=1 writes it, which `make samples` does.
"""

import contextlib
import itertools
import json
import os
import re
import shlex
import threading
import time
from pathlib import Path

import pytest
import runs
from conftest import BY_ANSIBLE, HOSTS, INVENTORY, MX1, MX2, USERDB_SECONDS
from runs import changes, failures, findings_of, reported, succeeded

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._diagnosis import findings

# The oldest one, which has troubles that newer ones no longer have.
PLANTED_ON = "bullseye"
ALICE = "alice@example.org"
OWN = "/etc/dovecot/conf.d/11-replication.conf"
MAIN = "/etc/dovecot/dovecot.conf"
EXTRA = "/etc/dovecot/conf.d/97-planted.conf"
SECRET = "/etc/dovecot/replication-secret.conf.ext"
AUTH = "/etc/dovecot/conf.d/10-auth.conf"
TABLE = runs.ROOT / "docs" / "diagnosis.md"
HEAD = """# What `verify` finds

Each row was planted on a pair of live hosts with Dovecot 2.3.13 and found. Where the cure is a command, or a line to
remove, just that was done, and the finding was gone. The test run writes this table (`make samples`), and
`tests/integration/test_verify.py` fails when it is not true any more. Where no host is named it is the one on which
something was planted. `users_failing` and `starvation` are left out where they follow from the first finding.

| planted | findings | cure of the first one |
|---|---|---|
"""


def extra(text):
    """Plant lines in a file that is read after the role's."""
    return lambda pair: pair.shell(f"cat > {EXTRA} <<'END'\n{text}\nEND\nsystemctl reload dovecot")


def own(expression, then="systemctl restart dovecot"):
    """Plant a change of the file that the role has written."""
    return lambda pair: pair.shell(f"sed -i -E '{expression}' {OWN}; {then}")


def replica(value):
    return extra(f"plugin {{\n  mail_replica = {value}\n}}")


TLS_LISTENER = f"""cat > {EXTRA} <<'END'
service doveadm {{
  inet_listener replication {{
    ssl = yes
  }}
}}
ssl = yes
END
systemctl reload dovecot"""
OTHER_AUTHORITY = """
ssl = yes
ssl_client_ca_file = /etc/dovecot/private/dovecot.pem
plugin {
  mail_replica = tcps:mx2.example.org:12345
}"""

# What is planted: how, which findings there are then on mx1 (else with the host), and whether their cure is applied
# literally. Where it is not, it needs a decision, and what was planted is just taken away.
SOCKET = "/unix_listener replicator-doveadm/"
PLANTED = {
    "`replicator-doveadm` without `mode`": (own(f"{SOCKET},+1s/mode = .*//"), ["replicator_socket_missing"]),
    "listener removed, Dovecot killed: a stale socket": (
        own(f"{SOCKET},+3d", "systemctl kill -s KILL dovecot; sleep 0.5; systemctl restart dovecot"),
        ["replicator_socket_missing"],
    ),
    "`unix_listener replicator-doveadn`": (
        own("s/replicator-doveadm/replicator-doveadn/"),
        ["replicator_socket_missing"],
    ),
    "`unix_listener /srv/other`": (own("s#replicator-doveadm#/srv/other#"), ["replicator_socket_missing"]),
    "`unix_listener /srv/replicator-doveadm`": (
        own("s#replicator-doveadm#/srv/replicator-doveadm#"),
        ["socket_elsewhere"],
    ),
    "`replicator-doveadm` with mode 0666": (own(f"{SOCKET},+1s/0600/0666/"), ["replicator_open_to_all"]),
    "`replicator-doveadm` owned by dovecot": (own(f"{SOCKET},+2s/vmail/dovecot/"), ["replicator_shut_out"]),
    "`replication-notify-fifo` owned by root": (
        own("/replication-notify-fifo/,+2s/vmail/root/"),
        ["notify_shut_out"],
    ),
    "`mail_plugins = replication`": (
        extra("mail_plugins = replication"),
        ["plugins_incomplete", (MX2, "peer_is_not_doveadm")],
    ),
    "`mail_plugins =`": (extra("mail_plugins ="), ["plugins_missing"]),
    "`protocol imap { mail_plugins = zlib }`": (
        extra("protocol imap {\n  mail_plugins = zlib\n}"),
        ["plugins_missing"],
    ),
    "`mail_replika = ...`": (own("s/mail_replica/mail_replika/"), ["replica_missing"]),
    "`mail_replica = tpc:...`": (replica("tpc:mx2.example.org:12345"), ["replica_malformed"]),
    "`mail_replica = tcp:HOST:PORT/x`": (replica("tcp:mx2.example.org:12345/x"), ["replica_malformed"]),
    "`mail_replica = tcp:HOST` without a port": (replica("tcp:mx2.example.org"), ["replica_malformed"]),
    "a peer that cannot be looked up": (replica("tcp:nosuch.example.org:12345"), ["peer_unknown"]),
    "the host itself as its peer": (replica("tcp:mx1.example.org:12345"), ["peer_is_self"]),
    "another port than Dovecot's": (replica("tcp:mx2.example.org:12399"), ["peer_unreachable"]),
    "the port of ssh": (replica("tcp:mx2.example.org:22"), ["peer_is_not_doveadm"]),
    "ssh without its keys": (replica("remote:vmail@mx2.example.org"), ["ssh_refused"]),
    "another password": (
        lambda pair: pair.shell(
            "sed -i 's/doveadm_password.*/doveadm_password = wrong/' /etc/dovecot/replication-secret.conf.ext; "
            "systemctl reload dovecot"
        ),
        ["password_refused", (MX2, "password_refused")],
    ),
    "no password": (extra("doveadm_password ="), ["password_missing", (MX2, "password_refused")]),
    "`tcps:` to a listener without TLS": (replica("tcps:mx2.example.org:12345"), ["peer_without_tls"]),
    "`tcp:` to a listener with TLS": (
        extra("service doveadm {\n  inet_listener replication {\n    ssl = yes\n  }\n}\nssl = yes"),
        [(MX2, "peer_expects_tls")],
    ),
    "a certificate that nothing trusted has signed": (
        lambda pair: [pair.shell(TLS_LISTENER, MX2), extra(OTHER_AUTHORITY)(pair)],
        ["certificate_refused"],
    ),
    "`replication_sync_timeout = 2`": (extra("plugin {\n  replication_sync_timeout = 2\n}"), ["sync_timeout_set"]),
    "`replication_dsync_parameters` without `-d`": (
        extra("replication_dsync_parameters = -N -l 30 -U"),
        ["dsync_parameters"],
    ),
    "`replication_dsync_parameters` without `-U`": (
        extra("replication_dsync_parameters = -d -N -l 30"),
        ["peer_not_told"],
    ),
    "`doveadm_allowed_commands = sync`": (extra("doveadm_allowed_commands = sync"), ["commands_not_allowed"]),
    "`replication_max_conns = 0`": (extra("replication_max_conns = 0"), ["no_syncs"]),
    "`replication_full_sync_interval = 0`": (extra("replication_full_sync_interval = 0"), ["endless_full_syncs"]),
    "`replication_max_conns` in `plugin { }`": (
        extra("plugin {\n  replication_max_conns = 5\n}"),
        ["misplaced_setting"],
    ),
    "`process_min_avail = 0`": (own("s/process_min_avail = 1/process_min_avail = 0/"), ["no_autostart"]),
    "`service doveadm { inet_listener { port = 4711 } }`": (
        extra("service doveadm {\n  inet_listener {\n    port = 4711\n  }\n}"),
        ["other_doveadm_listener"],
    ),
    "a namespace on one host only": (
        extra(
            "namespace extra {\n prefix = Extra/\n separator = /\n location = maildir:~/Extra\n}\n"
            "namespace inbox {\n separator = /\n}"
        ),
        [(MX2, "namespaces_differ")],
    ),
    "a public namespace": (
        extra(
            "namespace public {\n type = public\n separator = .\n prefix = Public.\n location = maildir:/srv/public\n}"
        ),
        ["shared_namespaces"],
    ),
    "a quota in a shared database": (extra("plugin {\n  quota = dict:User quota::proxy::quota\n}"), ["shared_quota"]),
    "`dsync_alt_char` on one host": (extra("dsync_alt_char = +"), ["alt_char_differs"]),
    "`protocol imap { mail_plugins = $mail_plugins fts_xapian }`, which is not installed": (
        extra("protocol imap {\n mail_plugins = $mail_plugins fts_xapian\n}"),
        ["plugin_of_protocol_not_installed"],
    ),
    "a line that Dovecot cannot read": (
        lambda pair: pair.shell(f"echo 'nonsense = 1' > {EXTRA}"),
        ["configuration_invalid"],
    ),
}


PASSDB = "passdb {\n  driver = passwd-file\n  args = /etc/dovecot/users\n}\n"
USERDBS = [
    (
        {AUTH: PASSDB + "userdb {\n  driver = static\n  args = uid=vmail gid=vmail home=/srv/vmail/%u\n}\n"},
        "`userdb { driver = static }`",
        "userdb_cannot_list",
    ),
    ({"/etc/dovecot/users": "\n"}, "a userdb without users", "userdb_empty"),
]
# Fields of a user that replace settings: what is planted on both hosts, and what each host says.
FIELDS = {
    "`userdb_mail_replica=tcp:mx2` for one user, on both hosts": (
        f"userdb_mail_replica=tcp:{MX2}:12345",
        [(MX2, "user_replica_elsewhere")],
    ),
    "`userdb_mail_plugins=zlib` for one user": (
        "userdb_mail_plugins=zlib",
        [(MX1, "user_plugins_missing"), (MX2, "user_plugins_missing")],
    ),
    "`userdb_noreplicate=yes` for one user, on both hosts": (
        "userdb_noreplicate=yes",
        [(MX1, "users_left_out"), (MX2, "users_left_out")],
    ),
}
ROLLING = """
- hosts: dovecot_replication
  gather_facts: false
  become: true
  serial: 1
  roles:
    - role: mailops.dovecot_replication.replication
      vars:
        replication_verify: true
"""

# What follows from other findings sooner or later, on one host or on both.
FOLLOWING = ("users_failing", "starvation")
# Seconds between two mails to a busy host.
BETWEEN_MAILS = 0.2
# Those whose cure is a decision: one of two ways, or something outside of Dovecot.
UNDECIDED = (
    "a namespace on one host only",
    "`tcp:` to a listener with TLS",
    "a certificate that nothing trusted has signed",
    "a public namespace",
    "a quota in a shared database",
    "`protocol imap { mail_plugins = $mail_plugins fts_xapian }`, which is not installed",
    "a line that Dovecot cannot read",
)


def observe(pair, **options):
    """What verify sees and concludes, without a proof."""
    seen = {host: pair.agent(host).module("node_info", **options) for host in HOSTS}
    for host, other in (HOSTS, HOSTS[::-1]):
        assert not seen[host]["failed"], seen[host]
        accounts = [account["username"] for account in seen[other].get("accounts", [])]
        if accounts:
            seen[host] = pair.agent(host).module("node_info", accounts=accounts, **options)
    return findings(seen)


def ids(found):
    return [(finding["host"], finding["id"]) for finding in found]


def apply(pair, finding):
    """Do what a cure says: remove the line that it names, run the commands between its backticks."""
    cure = finding["cure"]
    place = re.search(r"(?:Remove|Move) (\S+) line (\d+)", cure)
    if place:
        pair.shell(f"sed -i '{place[2]}d' {place[1]}", finding["host"])
    for command in re.findall(r"`([^`]+)`", cure):
        playbook = re.match(r"ansible-playbook mailops\.dovecot_replication\.(\w+)(?: -e (.*))?$", command)
        if playbook:
            value = shlex.split(playbook[2])[0] if playbook[2] else "{}"
            options = [] if value.startswith("{") else ["-e", value]
            variables = json.loads(value) if value.startswith("{") else {}
            succeeded(pair.play(playbook[1], *options, **variables))
        else:
            on_peer = "on the peer" in cure
            pair.shell(command, [host for host in HOSTS if (host == finding["host"]) != on_peer][0])


@pytest.fixture
def healthy(tidied):
    """The pair, which is healthy before and afterwards."""
    pair = tidied
    kept = {(host, path): pair.shell(f"cat {path}", host).stdout for host in HOSTS for path in (OWN, SECRET, MAIN)}
    yield pair
    for (host, path), text in kept.items():
        pair.lab.execute(host, "tee", path, stdin=text)
    for host in HOSTS:
        planted = f"{EXTRA} /etc/dovecot/replication.conf.ext /srv/replicator-doveadm /srv/other"
        pair.shell(f"rm -f {planted}; systemctl reload dovecot", host)
    time.sleep(0.5)
    pair.tidy()
    assert observe(pair) == []


# The rows of the table after those of PLANTED, in their order.
ALSO_PLANTED = (
    "Dovecot stopped on the peer",
    "users who failed meanwhile",
    "a plugin in `mail_plugins` of the peer that is not installed there",
    "a peer that lets connect and does not answer",
    "an account on one host only",
    "`noreplicate` on one host only",
    "a mailbox listed in two spellings",
    "a name that the userdb does not have",
    "a user with mail taken off the list",
    "the same hostname on both hosts",
    *(planted for _files, planted, _expected in USERDBS),
    *FIELDS,
    "a user's mail that belongs to root on the peer",
    "an aggregator that hangs",
    "a mailbox that `replication_dsync_parameters` excludes",
)
IN_TABLE = (*PLANTED, *ALSO_PLANTED)
# The findings of what this run has planted.
ROWS = {}
on_planted = pytest.mark.parametrize("pair", [PLANTED_ON], indirect=True)


def note(planted, found):
    assert planted in IN_TABLE, f"Add {planted!r} to ALSO_PLANTED."
    ROWS[planted] = found
    print(row(planted, found))


def noted(pair, planted):
    """Observe what was planted, and note it for the documentation."""
    found = observe(pair)
    note(planted, found)
    return found


@on_planted
@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_planted_is_found_and_cured(healthy, planted):
    plant, expected = PLANTED[planted]
    expected = [item if isinstance(item, tuple) else (MX1, item) for item in expected]
    plant(healthy)
    time.sleep(0.5)
    found = noted(healthy, planted)
    assert ids(found) == expected, found
    if planted not in UNDECIDED:
        apply(healthy, found[0])
        assert expected[0] not in ids(observe(healthy))


def cure(pair, found, name):
    """Apply the cure of one finding."""
    apply(pair, next(finding for finding in found if finding["id"] == name))


def synced(pair, name, **options):
    """Have a user synced, and wait until that has ended, well or not."""
    pair.module("replicator_replicate", users=[name], priority="high", wait=True, wait_timeout=30, **options)


@on_planted
def test_a_peer_that_is_stopped(healthy):
    """The failing users are still there when it is back, until the next cure is applied."""
    healthy.shell("systemctl stop dovecot", MX2)
    synced(healthy, ALICE)
    found = noted(healthy, "Dovecot stopped on the peer")
    assert ids(found)[:2] == [(MX1, "peer_unreachable"), (MX2, "replicator_unreachable")]
    assert ids(found)[2:] == [(MX1, "users_failing"), (MX1, "starvation")]
    apply(healthy, found[0])
    found = noted(healthy, "users who failed meanwhile")
    assert ids(found) == [(MX1, "users_failing"), (MX1, "starvation")]
    assert ALICE in found[0]["evidence"] and "Connection refused" in found[0]["evidence"]
    apply(healthy, found[0])
    assert observe(healthy) == []


@on_planted
def test_a_peer_that_does_not_answer(healthy):
    with healthy.silent():
        healthy.module("replicator_replicate", users=[ALICE], priority="high")
        found = noted(healthy, "a peer that lets connect and does not answer")
        assert ids(found) == [(MX1, "peer_silent"), (MX1, "syncs_stuck")]
        apply(healthy, found[0])
    healthy.shell("systemctl reload dovecot")
    time.sleep(0.5)
    assert not {"peer_silent", "syncs_stuck"}.intersection(finding["id"] for finding in observe(healthy))


@on_planted
def test_an_account_that_only_one_host_has(healthy):
    with healthy.account("frank@example.org", hosts=[MX1]):
        synced(healthy, "frank@example.org", check_userdb=False)
        found = noted(healthy, "an account on one host only")
        assert (MX2, "account_missing") in ids(found)
        with healthy.account("frank@example.org", hosts=[MX2]):
            cure(healthy, found, "account_missing")
            assert observe(healthy) == []


@on_planted
def test_noreplicate_on_one_host_only(healthy):
    with contextlib.ExitStack() as accounts:
        accounts.enter_context(healthy.account("frank@example.org", "userdb_noreplicate=yes", hosts=[MX1]))
        accounts.enter_context(healthy.account("frank@example.org", hosts=[MX2]))
        synced(healthy, "frank@example.org", check_userdb=False)
        found = noted(healthy, "`noreplicate` on one host only")
        assert ids(found)[0] == (MX1, "noreplicate_one_sided")


@on_planted
@pytest.mark.parametrize("planted", FIELDS)
def test_a_field_of_a_user_that_overrides_a_setting(healthy, planted):
    """The good values of all others do not hide it, and the cure does not lead to a set-up that ends the same."""
    fields, expected = FIELDS[planted]
    with healthy.account("frank@example.org", fields):
        found = noted(healthy, planted)
        assert ids(found) == expected
        assert fields.partition("_")[2] in found[0]["evidence"] and "frank@example.org" in found[0]["evidence"]
        assert "playbook" not in found[0]["cure"]
    assert observe(healthy) == []


@pytest.mark.parametrize("pair", [BY_ANSIBLE], indirect=True)
def test_a_mailbox_that_both_hosts_have_made(healthy):
    """Dovecot 2.3.19 alone: nothing in the log, failing for ever. The cure keeps the mail of both."""
    name = "frank@example.org"
    with healthy.account(name):
        tokens = [healthy.save_unnoticed(name, MX1), healthy.save_unnoticed(name, MX1)]
        # The two are then told apart by their times.
        time.sleep(1.5)
        tokens.append(healthy.save_unnoticed(name, MX2))
        synced(healthy, name)
        found = observe(healthy)
        assert found[0]["id"] == "mailbox_made_twice"
        apply(healthy, found[0])
        assert observe(healthy) == []
        for host in HOSTS:
            subjects = healthy.shell(f"doveadm fetch -u {name} hdr.subject all", host).stdout
            assert all(token in subjects for token in tokens)


def limited(setting):
    """What gives a host a quota with such a setting."""
    text = f"mail_plugins = $mail_plugins quota\nplugin {{\n quota = count:User\n quota_vsizes = yes\n {setting}\n}}\n"
    return f"printf '{text}' > {EXTRA}; systemctl reload dovecot; sleep 0.5"


UNQUOTED = f"rm {EXTRA}; systemctl reload dovecot; sleep 0.5"
# Why the peer cannot save a mail: the userdb's field of the user, what plants that on the peer, what the cure tells a
# person to do there, and what the finding says.
FULL = "/dev/shm/frank"
INODES = 100
REFUSED_BY_PEER = {
    "too large": (
        "",
        limited("quota_max_mail_size = 1k"),
        UNQUOTED,
        f"{MX2} refuses a mail as it is too large",
    ),
    "a disk that is full": (
        f"userdb_home={FULL}",
        "cat /dev/zero > /dev/shm/filler; true",
        "rm /dev/shm/filler",
        f"the disk of {MX2} is full, or has no inodes left",
    ),
    "a disk that is full, and sdbox": (
        f"userdb_home={FULL} userdb_mail=sdbox:~/sdbox",
        "cat /dev/zero > /dev/shm/filler; true",
        "rm /dev/shm/filler",
        f"the disk of {MX2} is full, or has no inodes left",
    ),
    "no inode": (
        f"userdb_home={FULL}/home",
        f"for number in $(seq {INODES}); do touch {FULL}/filler$number; done 2>/dev/null; true",
        f"rm {FULL}/filler*",
        f"the disk of {MX2} is full, or has no inodes left",
    ),
}


@contextlib.contextmanager
def few_inodes(pair):
    """A place with room for a few files on the peer; the test is skipped where the lab lets nobody mount one."""
    mount = f"mkdir -p {FULL} && mount -t tmpfs -o nr_inodes={INODES},mode=1777 tmpfs {FULL}"
    if pair.shell(mount, MX2, check=False).returncode:
        pytest.skip("nothing can be mounted on the hosts")
    try:
        yield
    finally:
        pair.shell(f"umount {FULL}", MX2)


@pytest.mark.parametrize("pair", [BY_ANSIBLE], indirect=True)
@pytest.mark.parametrize("cause", REFUSED_BY_PEER)
def test_a_mail_that_the_peer_refuses(healthy, cause):
    """The reason is in the peer's log alone. Dovecot 2.3.13 does not name the user there."""
    name = "frank@example.org"
    fields, plant, remedy, reason = REFUSED_BY_PEER[cause]
    with few_inodes(healthy) if cause == "no inode" else contextlib.nullcontext(), healthy.account(name, fields):
        assert healthy.arrived(name, healthy.deliver(name)) is not None
        healthy.shell(plant, MX2)
        try:
            mail = "Subject: big\n\n" + "y\n" * 9999
            healthy.lab.execute(MX1, "/usr/lib/dovecot/dovecot-lda", "-d", name, stdin=mail)
            synced(healthy, name)
            found = observe(healthy)
            # Where mx2 cannot write at all, it fails, too.
            failing = found[ids(found).index((MX1, "users_failing"))]
            assert reason in failing["evidence"], found
        finally:
            healthy.shell(remedy, MX2)
        apply(healthy, failing)
        assert observe(healthy) == []
        for host in HOSTS:
            healthy.shell(f"rm -rf {FULL}/*", host)


@on_planted
def test_a_plugin_that_the_peer_does_not_have(healthy):
    """Its doveadm ends before it greets, so the other host alone could take it for another program."""
    plugins = "printf 'mail_plugins = $mail_plugins fts_xapian\\n'"
    healthy.shell(f"{plugins} > {EXTRA}; systemctl restart dovecot; sleep 0.5", MX2)
    synced(healthy, ALICE)
    found = noted(healthy, "a plugin in `mail_plugins` of the peer that is not installed there")
    assert (MX2, "plugin_not_installed") == ids(found)[0] and "peer_is_not_doveadm" not in [
        name for _host, name in ids(found)
    ]
    healthy.shell(f"rm {EXTRA}", MX2)
    apply(healthy, found[0])
    cure(healthy, observe(healthy), "users_failing")
    assert observe(healthy) == []


@pytest.mark.parametrize("pair", [BY_ANSIBLE], indirect=True)
def test_a_quota_does_not_stop_replication(healthy):
    """Dovecot checks no quota while it syncs, so a user who is over it on one host does not fail."""
    name = "frank@example.org"
    with healthy.account(name):
        assert healthy.arrived(name, healthy.deliver(name)) is not None
        healthy.shell(limited("quota_rule = *:storage=1B"), MX2)
        assert healthy.arrived(name, healthy.deliver(name)) is not None
        refused = "printf 'Subject: x\\n\\nx\\n' | doveadm save -u frank@example.org"
        assert "Quota exceeded" in healthy.shell(refused, MX2, check=False).stderr
        for host in HOSTS:
            # Mail that comes in meanwhile makes a sync fail as well, until the next one.
            healthy.module("replicator_replicate", host=host, users=[name], wait=True)
        assert observe(healthy) == []


@on_planted
def test_mail_that_the_peer_may_not_write(healthy):
    name = "frank@example.org"
    with healthy.account(name):
        assert healthy.arrived(name, healthy.deliver(name)) is not None
        healthy.shell(f"chown root: /srv/vmail/{name} && chmod 700 /srv/vmail/{name}", MX2)
        healthy.deliver(name)
        synced(healthy, name)
        found = noted(healthy, "a user's mail that belongs to root on the peer")
        assert (MX1, "users_failing") in ids(found)
        failing = found[ids(found).index((MX1, "users_failing"))]
        assert f"may not read or write a file on {MX2}" in failing["evidence"]
        healthy.shell(f"chown vmail: /srv/vmail/{name}", MX2)
        apply(healthy, failing)
        assert observe(healthy) == []


@pytest.mark.parametrize("pair", [BY_ANSIBLE], indirect=True)
def test_an_inbox_with_a_prefix(healthy):
    """Dovecot 2.3.19 alone makes a new user's INBOX on both hosts, though only one gets mail."""
    name = "frank@example.org"
    for host in HOSTS:
        healthy.shell(
            f"printf 'namespace inbox {{\n separator = .\n prefix = INBOX.\n}}\n' > {EXTRA}; systemctl reload dovecot",
            host,
        )
    time.sleep(0.5)
    with healthy.account(name):
        token = healthy.deliver(name)
        synced(healthy, name)
        found = observe(healthy)
        assert set(ids(found)) >= {(MX1, "mailbox_made_twice"), (MX1, "inbox_prefix"), (MX2, "inbox_prefix")}
        cure(healthy, found, "mailbox_made_twice")
        assert {finding["id"] for finding in observe(healthy)} == {"inbox_prefix"}
        assert healthy.arrived(name, token) is not None


@pytest.mark.parametrize("pair", [BY_ANSIBLE], indirect=True)
def test_separators_that_differ(healthy):
    """dsync translates them, so the mail is the same."""
    healthy.shell(f"printf 'namespace inbox {{\n separator = /\n}}\n' > {EXTRA}; systemctl reload dovecot")
    time.sleep(0.5)
    healthy.shell(f"doveadm mailbox create -u {ALICE} Work/Deep")
    healthy.lab.execute(MX1, "doveadm", "save", "-u", ALICE, "-m", "Work/Deep", stdin="Subject: deep\n\nx\n")
    try:
        assert findings_of(succeeded(healthy.play("verify"))) == []
        assert "Work.Deep" in healthy.shell(f"doveadm mailbox list -u {ALICE}", MX2).stdout
    finally:
        healthy.shell(f"doveadm mailbox delete -u {ALICE} Work/Deep")


@on_planted
def test_names_on_the_list_that_should_not_be_there(healthy):
    healthy.shell("doveadm replicator replicate ALICE@example.org")
    time.sleep(1)
    found = noted(healthy, "a mailbox listed in two spellings")
    assert ids(found) == [(MX1, "duplicate_spellings_listed")]
    apply(healthy, found[0])
    assert observe(healthy) == []

    with healthy.stopped():
        synced(healthy, ALICE)
        healthy.shell("doveadm replicator add ghost@example.org")
    found = noted(healthy, "a name that the userdb does not have")
    assert (MX1, "unknown_users_listed") in ids(found)
    cure(healthy, found, "unknown_users_listed")
    assert (MX1, "unknown_users_listed") not in ids(observe(healthy))


@on_planted
def test_mail_that_is_not_on_the_list(healthy):
    token = healthy.save_unnoticed(ALICE)
    healthy.shell(f"doveadm replicator remove {ALICE}")
    found = noted(healthy, "a user with mail taken off the list")
    assert ids(found) == [(MX1, "mail_unlisted")]
    apply(healthy, found[0])
    assert observe(healthy) == [] and healthy.arrived(ALICE, token) is not None


@on_planted
def test_two_hosts_of_one_name(healthy):
    """Here it is one host under two names."""
    seen = healthy.agent(MX1).module("node_info")
    found = findings({MX1: seen, MX2: seen})
    note("the same hostname on both hosts", found)
    assert ids(found) == [(MX2, "same_hostname")]


@on_planted
@pytest.mark.parametrize("files, planted, expected", USERDBS, ids=[expected for files, planted, expected in USERDBS])
def test_a_userdb_that_does_not_list(healthy, files, planted, expected):
    with healthy.replaced(files, [MX1]):
        healthy.shell("systemctl restart dovecot")
        time.sleep(USERDB_SECONDS)
        assert ids(noted(healthy, planted)) == [(MX1, expected)]
        # What replication_require_iteration: false accepts.
        assert ids(observe(healthy, require_iteration=False)) == [(MX1, "users_not_listed")]
    healthy.shell("systemctl restart dovecot")
    time.sleep(USERDB_SECONDS)


@on_planted
def test_changes_that_nobody_announces(healthy):
    """Everything is configured, and yet a new mail starts no sync: only the probe shows it."""
    # It is started by the first change.
    assert healthy.arrived(ALICE, healthy.deliver(ALICE)) is not None
    healthy.shell("kill -STOP $(pgrep -x aggregator)")
    try:
        results = healthy.play("verify", replication_probe_user=ALICE, replication_verify_patience=4)
        found = findings_of(results)
        note("an aggregator that hangs", found)
        assert ids(found) == [(MX1, "probe_not_announced")]
        assert failures(results) != []
    finally:
        healthy.shell("kill -CONT $(pgrep -x aggregator)")
    apply(healthy, found[0])
    assert findings_of(succeeded(healthy.play("verify", replication_probe_user=ALICE))) == []
    assert nothing_of_a_probe_is_left(healthy)


@on_planted
def test_mail_that_is_left_out_of_syncs(healthy):
    """Each sync succeeds; only the fingerprints tell."""
    for host in HOSTS:
        settings = "replication_dsync_parameters = -d -N -x Left -l 30 -U"
        healthy.shell(f"echo '{settings}' > {EXTRA}; systemctl reload dovecot", host)
    time.sleep(0.5)
    healthy.shell(f"doveadm mailbox create -u {ALICE} Left")
    healthy.lab.execute(MX1, "doveadm", "save", "-u", ALICE, "-m", "Left", stdin="Subject: left\n\nx\n")
    found = findings_of(healthy.play("verify"))
    note("a mailbox that `replication_dsync_parameters` excludes", found)
    assert ids(found) == [(MX1, "mail_differs")] and ALICE in found[0]["evidence"]
    healthy.shell(f"doveadm mailbox delete -u {ALICE} Left")


def left_out(items):
    """The tests that plant rows of the table, and are not among those of this run."""
    here = [item for item in items if item.path == Path(__file__)]
    functions = {name for name, value in globals().items() if on_planted.mark in getattr(value, "pytestmark", [])}
    planted = {item.callspec.params.get("planted") for item in here}
    return sorted(functions - {item.originalname for item in here}) + [name for name in PLANTED if name not in planted]


@on_planted
def test_the_documentation_shows_what_was_planted(pair, request):
    """Where a part of the file is run, there is no table to compare. A test that failed is missing in it."""
    if left := left_out(request.session.items):
        pytest.skip(f"not run: {', '.join(left)}")
    assert [planted for planted in IN_TABLE if planted not in ROWS] == []
    rows = [row(planted, ROWS[planted]) for planted in IN_TABLE]
    text = HEAD + "".join(line + "\n" for line in rows)
    if os.environ.get("MAILOPS_UPDATE_DOCS"):
        TABLE.write_text(text)
    assert TABLE.read_text() == text


def row(planted, found):
    hosts = {MX1: "", MX2: f" ({MX2})"}
    told = found[:1] + [finding for finding in found[1:] if finding["id"] not in FOLLOWING]
    shown = ", ".join(f"`{finding['id']}`{hosts[finding['host']]}" for finding in told)
    return f"| {planted} | {shown} | {found[0]['cure']} |"


def nothing_of_a_probe_is_left(pair):
    look = "grep -l 'Subject: Replication probe' /srv/vmail/*/Maildir/cur/* /srv/vmail/*/Maildir/new/*"
    return [pair.shell(look, host, check=False).stdout for host in HOSTS] == ["", ""]


on_newest = pytest.mark.parametrize("pair", ["bookworm-backports"], indirect=True)


@pytest.mark.on_one
@pytest.mark.rare
def test_a_healthy_pair_under_load(tidied):
    """No finding, while mail comes to both hosts all the time, and nothing of the probe is left."""
    stop = threading.Event()
    users = [f"{name}@example.org" for name in ("alice", "bob", "carol")]

    def deliver(host):
        for number in itertools.count():
            if stop.wait(BETWEEN_MAILS):
                break
            tidied.deliver(users[number % len(users)], host)

    for user in [*users, "dave@example.org"]:
        # An INBOX that both hosts make for themselves would be trouble of another kind.
        assert tidied.arrived(user, tidied.deliver(user)) is not None
    threads = [threading.Thread(target=deliver, args=[host]) for host in HOSTS]
    for thread in threads:
        thread.start()
    try:
        # The machine is as busy as the hosts: other labs are tested at the same time.
        patience = dict(replication_verify_patience=180)
        results = succeeded(tidied.play("verify", replication_probe_user="dave@example.org", **patience))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert findings_of(results) == [] and changes(results) == []
    probes = [line for line in results if line["task"].endswith(": Judge the probe")][-1]["result"]["probes"]
    assert [(way["from"], way["announced"]) for way in probes] == [(MX1, True), (MX2, True)]
    assert nothing_of_a_probe_is_left(tidied)


@on_newest
def test_a_check_run_sends_nothing(tidied):
    results = succeeded(tidied.play("verify", "--check", replication_probe_user=ALICE))
    assert findings_of(results) == [] and changes(results) == []
    assert not any("probe" in line["task"] for line in results if line["status"] == "ok")


def fails_for_a_moment(pair, name):
    with pair.stopped():
        pair.module("replicator_replicate", users=[name], priority="high")
        time.sleep(1)


@on_newest
@pytest.mark.rare
def test_users_who_fail_no_more(tidied):
    """Each is synced again before it counts; a check run does not, and says so by its finding."""
    fails_for_a_moment(tidied, ALICE)
    foreseen = tidied.play("verify", "--check")
    assert ids(findings_of(foreseen)) == [(MX1, "users_failing")]
    results = succeeded(tidied.play("verify"))
    assert findings_of(results) == [] and changes(results) == []


@on_newest
def test_a_message_that_is_there_twice(tidied):
    """It is no finding, as a client may have copied it. The report says so, and how to keep one of each."""
    tidied.deliver(ALICE)
    # dsync may have doubled mail of other tests, which came in at both hosts at once.
    had = mail_of_alice(tidied)[0]
    copy = f"doveadm copy -u {ALICE} %s mailbox INBOX 1"
    tidied.shell(f"doveadm mailbox create -u {ALICE} Kept; {copy % 'Kept'}; {copy % 'INBOX'}")
    results = succeeded(tidied.play("verify"))
    (told,) = [line for line in reported(results) if "in one folder twice" in line]
    assert findings_of(results) == [] and f"of {ALICE}" in told
    assert [user["doubled"] for user in mail_of_alice(tidied)] == [had["doubled"] + 1] * 2
    apply(tidied, {"host": MX1, "cure": told})
    here, there = mail_of_alice(tidied)
    assert here == there and (here["messages"], here["doubled"]) == (had["messages"] - had["doubled"] + 1, 0)
    tidied.shell(f"doveadm mailbox delete -u {ALICE} Kept")


def mail_of_alice(pair):
    return [pair.module("mailbox_info", host, users=[ALICE])["users"][0] for host in HOSTS]


@on_newest
def test_setup_verifies(tidied):
    """A green set-up means that mail arrives; with a wrong password it is not green."""
    ended = succeeded(tidied.play("setup", replication_verify=True, replication_probe_user=ALICE))
    assert findings_of(ended) == [] and changes(ended) == []
    try:
        results = tidied.play("setup", "--limit", MX1, replication_secret="of-one-host", replication_verify=True)
        assert {finding["id"] for finding in findings_of(results)} == {"password_refused"}
        assert len(failures(results)) == 1
    finally:
        succeeded(tidied.play("setup"))


@on_newest
@pytest.mark.rare
def test_one_host_after_the_other(tidied, tmp_path):
    """With serial: 1 the first host cannot be verified before its peer is configured; the last one is."""
    playbook = tmp_path / "rolling.yml"
    playbook.write_text(ROLLING)
    succeeded(tidied.play("setup", replication_state="absent"))
    results = runs.play(tidied.lab, INVENTORY, playbook)
    assert findings_of(succeeded(results)) == []
    fails_for_a_moment(tidied, ALICE)
    assert findings_of(succeeded(runs.play(tidied.lab, INVENTORY, playbook))) == []
