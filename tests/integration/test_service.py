# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service in place of a replicator, on live hosts with Dovecot 2.4. The tests of the modules run over it, too."""

import json
import time

import pytest
import runs
from conftest import EVERYONE, HOSTS, MX1, MX2, SERVICE_SOCKET
from lab import LabError

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _diagnosis

pytestmark = pytest.mark.parametrize("pair", ["trixie"], indirect=True)

ALICE, BOB, CAROL, DAVE = EVERYONE
SERVICE = "dovecot-replication.service"
LOCAL = "/etc/dovecot/conf.d/60-local.conf"
# What makes events, in the words of an IMAP client. The last one is told of in FACTS of the field: FETCH sets \Seen.
BY_IMAP = r"""
import imaplib, sys
client = imaplib.IMAP4("localhost")
client.login(sys.argv[1], "lab")
client.select("INBOX")
exec(sys.argv[2])
client.logout()
"""

# Puts a script there as a client of ManageSieve does.
BY_MANAGESIEVE = r"""
import base64, socket, sys
stream = socket.create_connection(("localhost", 4190)).makefile("rwb")
def answered():
    line = stream.readline()
    while not line.startswith((b"OK", b"NO")):
        line = stream.readline()
    assert line.startswith(b"OK"), line
answered()
secret = base64.b64encode(b"\0%s\0lab" % sys.argv[1].encode())
for command in (b'AUTHENTICATE "PLAIN" "%s"' % secret, b'PUTSCRIPT "away" {5+}\r\nkeep;', b"LOGOUT"):
    stream.write(command + b"\r\n")
    stream.flush()
    answered()
"""


def count(pair, user, host):
    shown = pair.shell(f"doveadm -f flow mailbox status -u {user} messages INBOX", host).stdout
    return int(shown.split("=")[1].split()[0])


def crossed(pair, user, host=MX1, seconds=10):
    """Whether both hosts have the same mail soon, flags and folders included."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        here, there = (pair.agent(each).module("mailbox_info", users=[user])["users"] for each in HOSTS)
        if here == there:
            return True
        time.sleep(0.2)
    return False


def found(pair):
    seen = {host: pair.agent(host).module("node_info") for host in HOSTS}
    return {(finding["host"], finding["id"]): finding for finding in _diagnosis.findings(seen)}


def calm(pair):
    """Everyone is in sync, and nobody has anything to do."""
    for host in HOSTS:
        pair.agent(host).module("replicator_replicate", user_mask="*", wait=True)


def syncs(pair, host=MX1):
    """How many syncs the host has begun."""
    rows = pair.say("STATUS", "*", host=host).splitlines()
    return {row.split("\t")[0]: row.split("\t")[2] for row in rows}


def test_set_up_twice(pair):
    assert runs.changes(pair.play("setup", "--check")) == []
    assert runs.changes(runs.succeeded(pair.play("setup"))) == []
    for host in HOSTS:
        state = pair.shell(
            f"systemctl is-active {SERVICE}; systemctl is-enabled {SERVICE};"
            "stat -c '%U %a' /run/dovecot-replication/events /run/dovecot-replication/replicator-doveadm",
            host,
        )
        assert state.stdout.split() == ["active", "enabled", "dovecot", "600", "root", "600"]


@pytest.mark.parametrize("here, there", [HOSTS, HOSTS[::-1]])
def test_mail_crosses_by_itself(pair, here, there):
    token = pair.deliver(CAROL, here)
    assert pair.arrived(CAROL, token, there, seconds=5) is not None


CHANGES = {
    "a flag": r"client.store('1', '+FLAGS', r'(\Flagged)')",
    "a mail that is read": "client.fetch('1', '(BODY[])')",
    "a mail that is put there": "client.append('INBOX', None, None, b'Subject: x\\r\\n\\r\\nx')",
    "a folder": "client.create('Work')",
    "a mail that is moved": "client.uid('MOVE', client.uid('search', 'ALL')[1][0].split()[0], 'Work')",
    "a folder with another name": "client.rename('Work', 'Play')",
    "a mail that is gone": r"client.store('1', '+FLAGS', r'(\Deleted)'), client.expunge()",
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_crosses(pair, change):
    pair.deliver(BOB)
    calm(pair)
    before = pair.agent(MX1).module("mailbox_info", users=[BOB])["users"]
    pair.lab.execute(MX1, "python3", "-c", BY_IMAP, BOB, CHANGES[change])
    assert pair.agent(MX1).module("mailbox_info", users=[BOB])["users"] != before or "another name" in change
    assert crossed(pair, BOB)


def test_a_sync_is_no_change(pair):
    """No loop: what a host has by a sync starts none."""
    calm(pair)
    token = pair.deliver(DAVE)
    assert pair.arrived(DAVE, token, MX2) is not None
    time.sleep(2)
    before = [syncs(pair, host) for host in HOSTS]
    time.sleep(3)
    assert [syncs(pair, host) for host in HOSTS] == before


@pytest.mark.rare
def test_sieve_scripts_cross(pair):
    sieve = "sieve_script personal {\n  type = personal\n  path = ~/sieve\n  active_path = ~/.dovecot.sieve\n}\n"
    for host in HOSTS:
        packages = "dovecot-sieve dovecot-managesieved"
        pair.shell(f"DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends {packages}", host)
        pair.lab.execute(host, "tee", LOCAL, stdin="protocols = imap lmtp sieve\n" + sieve)
        pair.shell("systemctl restart dovecot; sleep 1", host)
    calm(pair)
    pair.lab.execute(MX1, "python3", "-c", BY_MANAGESIEVE, BOB)
    try:
        assert "away" in pair.shell(f"doveadm sieve list -u {BOB}").stdout
        deadline = time.monotonic() + 5
        while "away" not in pair.shell(f"doveadm sieve list -u {BOB}", MX2).stdout and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "away" in pair.shell(f"doveadm sieve list -u {BOB}", MX2).stdout
    finally:
        for host in HOSTS:
            pair.shell(f"rm {LOCAL}; systemctl restart dovecot", host)


def deliver_to_a_reloading(pair, user):
    """Deliver as an MTA does, which tries again what is deferred (75, EX_TEMPFAIL)."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return pair.deliver(user)
        except LabError as error:
            if "status 75" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_nothing_is_lost_by_a_restart(pair):
    """Dovecot drops the event that finds nobody who listens, and says so to nobody."""
    calm(pair)
    for how in (f"systemctl restart {SERVICE}", f"systemctl kill -s KILL {SERVICE}", "doveadm reload"):
        pair.shell(how)
        token = deliver_to_a_reloading(pair, CAROL) if "reload" in how else pair.deliver(CAROL)
        assert pair.arrived(CAROL, token, MX2, seconds=15) is not None, how


@pytest.mark.parametrize("how", ["--no-block restart", "--signal KILL kill"])
def test_what_changes_while_it_is_away_is_heard(pair, how):
    """On hold, so that it is not just found by the sweep after the start."""
    calm(pair)
    hold = "/etc/dovecot/replication-hold.conf.ext"
    pair.shell(f"touch {hold}; sleep 1.5; systemctl {how} {SERVICE}")
    try:
        pair.deliver(CAROL)
        pair.shell(f"sleep 1; timeout 10 sh -c 'until test -S {SERVICE_SOCKET}; do sleep 0.1; done'; sleep 1")
        waiting = [row.split("\t")[0] for row in pair.say("STATUS", "*").splitlines() if row.split("\t")[1] != "none"]
        assert waiting == [CAROL]
    finally:
        pair.shell(f"rm {hold}")
    assert crossed(pair, CAROL)


@pytest.mark.rare
def test_a_peer_that_is_down(pair):
    """All mail of the meantime is there soon after its return, and who asks is told why it fails."""
    tokens = {}
    with pair.stopped(MX2):
        for user in EVERYONE:
            tokens[user] = pair.deliver(user)
        result = pair.module("replicator_replicate", users=EVERYONE, wait=True)
        assert result["failed_users"] == EVERYONE and "Connection refused" in result["msg"]
        assert pair.module("replicator_info")["summary"]["failing"] == len(EVERYONE)
        seen = pair.agent(MX1).module("node_info")
        assert "peer_unreachable" in {finding["id"] for finding in _diagnosis.findings({MX1: seen})}
    for user, token in tokens.items():
        assert pair.arrived(user, token, MX2, seconds=60) is not None
    assert pair.module("replicator_wait", until="synced", wait_timeout=60)["failed_users"] == []
    assert found(pair) == {}


@pytest.mark.rare
def test_drain_and_release(pair):
    predicted = runs.changes(pair.play("drain", "--check"))
    assert runs.changes(runs.succeeded(pair.play("drain"))) == predicted != []
    token = pair.deliver(DAVE)
    assert pair.arrived(DAVE, token, seconds=2) is None
    assert pair.module("replicator_info")["summary"]["on_hold"] is True
    assert {(host, "on_hold") for host in HOSTS} <= set(found(pair))
    runs.succeeded(pair.play("drain", replication_hold=False))
    assert pair.arrived(DAVE, token, seconds=1) is not None


@pytest.mark.rare
def test_users_who_are_kept_out(pair):
    kept_out = {"replication_excluded_users": ["d*@example.org"]}
    runs.succeeded(pair.play("setup", **kept_out))
    assert pair.listed() == EVERYONE[:3]
    token = pair.deliver(DAVE)
    assert pair.arrived(DAVE, token, seconds=2) is None
    assert pair.say("REPLICATE", "low", "", DAVE) == "-User not found\n"
    result = pair.module("replicator_user", user_mask="*")
    assert not result["changed"] and result["noreplicate_users"] == [DAVE]
    refused = pair.module("replicator_replicate", users=[DAVE])
    assert refused["failed"] and refused["noreplicate_users"] == [DAVE]
    assert found(pair) == {}
    runs.succeeded(pair.play("setup"))
    assert pair.arrived(DAVE, token, seconds=20) is not None


@pytest.mark.rare
def test_verify_proves_that_changes_cross(pair):
    results = runs.succeeded(pair.play("verify", replication_probe_user=ALICE))
    report = max((line["result"].get("report") or [] for line in results), key=len)
    assert len([line for line in report if line.startswith("A probe from") and "asked for" not in line]) == 2
    assert report[-1] == "No errors, no warnings."


FAULTS = {
    "service_stopped": f"systemctl disable --now {SERVICE}",
    "service_not_enabled": f"systemctl disable {SERVICE}",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_its_cure_works(pair, fault):
    pair.shell(FAULTS[fault])
    try:
        pair.shell(found(pair)[MX1, fault]["cure"].split("`")[1])
        assert found(pair) == {}
    finally:
        pair.shell(f"systemctl enable --now {SERVICE}")


@pytest.mark.rare
def test_a_service_that_is_not_told(pair):
    """It takes itself for deaf, syncs as often as a timer would, and hears again."""
    config = "/etc/dovecot/conf.d/11-replication.conf"
    pair.shell(f"sed -i 's/event=push_notification_finished/event=nothing/; s/event=mail_user_s/event=x/' {config}")
    pair.shell("systemctl restart dovecot; sleep 1")
    for _round in range(6):
        pair.module("replicator_replicate", user_mask="*", wait=True)
    assert (MX1, "changes_not_told") in found(pair)
    assert "does not tell of changes" in pair.shell("journalctl -t dovecot-replication -o cat -n 50").stdout
    runs.succeeded(pair.play("setup"))
    calm(pair)
    time.sleep(1)
    assert (MX1, "changes_not_told") not in found(pair)


def test_a_plugin_that_a_protocol_lacks(pair):
    """Then changes by IMAP would not be told. Setup says what overrides it."""
    pair.shell(f"printf 'protocol imap {{\\n  mail_plugins = quota\\n}}\\n' > {LOCAL}")
    try:
        messages = runs.failures(pair.play("setup", "--check"))
        assert any("mail_plugins" in message and "protocol imap" in message for message in messages), messages
    finally:
        pair.shell(f"rm {LOCAL}")


def test_a_reload_loses_nothing(pair):
    token = pair.deliver(ALICE)
    pair.shell(f"systemctl reload {SERVICE}")
    assert pair.arrived(ALICE, token, MX2, seconds=10) is not None
    assert pair.shell(f"systemctl show -p NRestarts --value {SERVICE}").stdout


@pytest.mark.torture
def test_one_that_hangs_is_started_again(pair):
    """systemd hears from it each second, and after a minute of silence kills it."""
    restarts = f"systemctl show -p NRestarts --value {SERVICE}"
    before = int(pair.shell(restarts).stdout)
    pair.shell(f"kill -STOP $(systemctl show -p MainPID --value {SERVICE})")
    token = pair.deliver(BOB)
    deadline = time.monotonic() + 120
    while int(pair.shell(restarts).stdout) == before and time.monotonic() < deadline:
        time.sleep(1)
    assert int(pair.shell(restarts).stdout) == before + 1
    assert pair.arrived(BOB, token, MX2, seconds=15) is not None


@pytest.mark.torture
def test_it_is_watched_as_any_pair(pair):
    runs.succeeded(pair.play("monitor", monitoring_textfile_dir=""))
    # A service that has just started tells of its list as soon as it has one.
    reading = "/var/lib/dovecot-replication/reading.json"
    pair.shell(f"timeout 30 sh -c 'until grep -q \"known.: 4\" {reading}; do sleep 0.5; done'")
    answer = pair.shell("/usr/local/bin/dovecot_replication_check --now --check").stdout
    assert answer.startswith("OK - 4 users, none fails") and "running=0;;;0;4" in answer
    pair.shell(
        f'systemctl stop {SERVICE}; sed -i \'s/"time": [0-9]*/"time": 1000/\' /var/lib/dovecot-replication/reading.json'
    )
    told = pair.shell("/usr/local/bin/dovecot_replication_check --now --check", check=False)
    assert told.returncode == 3 and "nothing was synced for" in told.stdout
    assert f"systemctl status {SERVICE}" in told.stdout
    pair.shell(f"systemctl start {SERVICE}")
    runs.succeeded(pair.play("monitor", monitoring_state="absent"))


@pytest.mark.torture
def test_to_the_timer_and_back(pair):
    runs.succeeded(pair.play("setup", replication_engine="auto"))
    state = pair.shell("systemctl is-active dovecot-replication.timer; pgrep -f dovecot-replication-syncer; true")
    assert "active" in state.stdout
    assert "push_notification" not in pair.shell("doveconf -n").stdout
    predicted = runs.changes(pair.play("setup", "--check"))
    assert runs.changes(runs.succeeded(pair.play("setup"))) == predicted != []
    assert not pair.shell("ls /etc/systemd/system/dovecot-replication.timer", check=False).stdout
    token = pair.deliver(ALICE)
    assert pair.arrived(ALICE, token, MX2, seconds=5) is not None


@pytest.mark.rare
def test_nothing_is_left(pair):
    """The last test with this pair, which is set up again for others."""
    predicted = runs.changes(pair.play("decommission", "--check"))
    done = runs.changes(runs.succeeded(pair.play("decommission")))
    assert predicted and set(predicted) <= set(done)
    for host in HOSTS:
        left = pair.shell(
            "find / -xdev -name '*replication*' -not -path '/proc/*' -not -path '*/ansible*' -not -path '/srv/agent-*'"
            " -not -path '/usr/share/*' -not -path '/usr/lib/*' -not -path '/var/lib/dpkg/*' -not -path '/sys/*'",
            host,
        ).stdout.split()
        assert left == [] and not pair.shell("ls -d /run/dovecot-replication", host, check=False).stdout
    runs.succeeded(pair.play("setup"))
    assert json.loads(pair.shell("cat /etc/dovecot/replication-syncer.json").stdout)["engine"] == "service"
