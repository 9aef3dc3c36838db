# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dovecot 2.4 has no replicator: modules, role and playbooks with the timer that the role sets up, on live hosts."""

import contextlib
import json
import re
import time

import pytest
import runs
from conftest import EVERYONE, HOSTS, MX1, MX2
from lab import RELEASES

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _diagnosis

ALICE, BOB, CAROL, DAVE = EVERYONE
SERVICE, TIMER = "dovecot-replication.service", "dovecot-replication.timer"
# Dovecot reads it where it is there.
LOCAL = "/etc/dovecot/conf.d/60-local.conf"
STATE = "/var/lib/dovecot-replication"


def counts(pair, user):
    return [
        int(
            pair.shell(f"doveadm -f flow mailbox status -u {user} messages INBOX", host).stdout.split("=")[1].split()[0]
        )
        for host in HOSTS
    ]


def save(pair, user, host=MX1):
    pair.lab.execute(host, "doveadm", "save", "-u", user, stdin="Subject: timer\n\nHello.\n")


@contextlib.contextmanager
def no_rounds(pair):
    """Nothing is synced that is not asked for, nor by a round that is under way."""
    under_way = "$(systemctl show --property ActiveState --value dovecot-replication.service)"
    for host in HOSTS:
        pair.shell(f'systemctl stop {TIMER}; while [ "{under_way}" = activating ]; do sleep 0.1; done', host)
    try:
        yield
    finally:
        for host in HOSTS:
            pair.shell(f"systemctl start {TIMER}", host)


def found(pair, *accounts):
    """What verify finds before it proves anything, by host and id."""
    seen = {host: pair.agent(host).module("node_info", accounts=list(accounts)) for host in HOSTS}
    return {(finding["host"], finding["id"]): finding for finding in _diagnosis.findings(seen)}


def proved(pair, **variables):
    """The findings of a run of verify that succeeds, pairs of host and id."""
    results = runs.succeeded(pair.play("verify", replication_probe_user=ALICE, **variables))
    conclusions = [line["result"] for line in results if "findings" in line["result"]]
    return {(each["host"], each["id"]) for conclusion in conclusions for each in conclusion["findings"]}


def test_set_up_twice(timed):
    assert runs.changes(timed.play("setup", "--check")) == []
    assert runs.changes(runs.succeeded(timed.play("setup"))) == []
    for host in HOSTS:
        state = timed.shell(
            f"systemctl is-active {TIMER}; systemctl is-enabled {TIMER}; stat -c %a {STATE}/users.sqlite", host
        )
        assert state.stdout.split() == ["active", "enabled", "640"]


def test_the_blind_spot(timed):
    """With one new mail on each host a plain sync carries nothing and says that all is well. Ours carries both."""
    with no_rounds(timed):
        assert not timed.module("replicator_replicate", users=[BOB], wait=True)["failed_users"]
        before = counts(timed, BOB)
        assert before[0] == before[1]
        for host in HOSTS:
            save(timed, BOB, host)
        plain = timed.shell(f"doveadm sync -l 30 -u {BOB} tcp:{MX2}:12345")
        assert plain.returncode == 0 and counts(timed, BOB) == [before[0] + 1] * 2, "a plain sync now sees it"
        timed.module("replicator_replicate", users=[BOB], wait=True)
        assert counts(timed, BOB) == [before[0] + 2] * 2


def test_a_change_of_a_setting_is_previewed_and_mail_crosses_by_itself(timed):
    changed = {"replication_timer_interval": 5}
    predicted = runs.changes(timed.play("setup", "--check", **changed))
    done = runs.changes(runs.succeeded(timed.play("setup", **changed)))
    assert predicted and set(predicted) == set(done)
    unit = timed.shell(f"systemctl show -p TimersMonotonic {TIMER}").stdout
    assert "5s" in unit
    for here, there in (HOSTS, HOSTS[::-1]):
        token = timed.deliver(CAROL, here)
        assert timed.arrived(CAROL, token, there, seconds=30) is not None
    runs.succeeded(timed.play("setup"))


def test_what_the_modules_tell(timed):
    timed.module("replicator_replicate", user_mask="*", wait=True)
    info = timed.module("replicator_info", user_mask="*")
    assert info["transport"] == "timer" and info["dovecot_version"].startswith(RELEASES[timed.release].dovecot)
    assert info["socket_path"] is None and info["overview"]["known_users"] == len(EVERYONE)
    assert [user["username"] for user in info["users"]] == EVERYONE
    for user in info["users"]:
        assert user["successful_sync_age"] is not None and not user["failed"] and user["next_sync"] is not None
    assert info["summary"]["failing"] == info["summary"]["never_synced"] == 0 and info["summary"]["on_hold"] is False
    # As many slots as syncs may run at once.
    assert len(info["dsyncs"]) == 4 and {slot["username"] for slot in info["dsyncs"]} == {None}


def test_requests(timed):
    with no_rounds(timed):
        predicted = timed.module("replicator_replicate", users=[ALICE, BOB], check=True)
        done = timed.module("replicator_replicate", users=[ALICE, BOB], wait=True)
        assert predicted["requested"] == done["requested"] == done["synced_users"] == [ALICE, BOB]
        again = timed.module("replicator_replicate", users=[ALICE], max_age="1h")
        assert not again["changed"] and again["skipped_users"][0]["username"] == ALICE
        (row,) = timed.module("replicator_info", users=[ALICE])["users"]
        time.sleep(1.1)
        timed.module("replicator_replicate", users=[ALICE], full=True, wait=True, priority="high")
        (after,) = timed.module("replicator_info", users=[ALICE])["users"]
        assert after["last_full_sync"] > row["last_full_sync"]
        unknown = timed.module("replicator_replicate", users=["nobody@example.org"])
        assert unknown["failed"] and unknown["unknown_users"] == ["nobody@example.org"]


def test_the_list_of_users(timed):
    """A user who is removed comes back with the next round, as with a replicator that starts."""
    with no_rounds(timed):
        removed = timed.module("replicator_user", users=[DAVE], state="absent")
        assert removed["removed"] == [DAVE] and removed["known_users"] == len(EVERYONE) - 1
        assert not timed.module("replicator_user", users=[DAVE], state="absent")["changed"]
        added = timed.module("replicator_user", users=EVERYONE, exclusive=True, wait=True)
        assert added["added"] == added["synced_users"] == [DAVE]
        assert not timed.module("replicator_user", user_mask="*")["changed"]
    assert timed.module("replicator_wait", until="synced", wait_timeout=90)["failed_users"] == []


def test_verify_proves_it_both_ways(timed):
    results = runs.succeeded(timed.play("verify", replication_probe_user=ALICE))
    report = max((line["result"].get("report") or [] for line in results), key=len)
    assert len([line for line in report if line.startswith("A probe from")]) == 2
    assert report[-1] == "No errors, no warnings."
    assert "4 users have the same mail on both hosts, after a sync from either side." in report


def test_a_user_whom_the_peer_lacks(timed):
    """Told apart from a failure, and named by verify."""
    nina = "nina@example.org"
    with timed.account(nina, hosts=[MX1]):
        result = timed.module("replicator_replicate", users=[nina], wait=True)
        assert result["failed"] and result["dropped_reasons"] == {nina: "unknown_on_peer"}
        assert timed.module("replicator_info", user_mask="*")["summary"]["failing"] == 0
        assert (MX2, "account_missing") in found(timed, nina)
    timed.module("replicator_user", users=[nina], state="absent")


def test_fields_for_a_replicator(timed):
    """Nobody heeds them: such a user is synced, and verify says so."""
    nora = "nora@example.org"
    with timed.account(nora, "userdb_noreplicate=y"):
        assert timed.module("replicator_replicate", users=[nora], wait=True)["synced_users"] == [nora]
        seen = timed.agent(MX1).module("node_info", all_accounts=True)
        named = {finding["id"]: finding["evidence"] for finding in _diagnosis.findings({MX1: seen})}
        assert list(named) == ["field_of_2_3"] and nora in named["field_of_2_3"]
    # Else it stays until the next round.
    timed.module("replicator_user", users=[nora], state="absent")


def test_users_who_are_kept_out(timed):
    runs.succeeded(timed.play("setup", replication_excluded_users=["d*@example.org"]))
    timed.shell(f"systemctl start {SERVICE}")
    result = timed.module("replicator_user", user_mask="*")
    assert not result["changed"] and result["noreplicate_users"] == [DAVE] and result["known_users"] == 3
    assert timed.module("replicator_replicate", users=[DAVE])["noreplicate_users"] == [DAVE]
    runs.succeeded(timed.play("setup"))
    assert timed.module("replicator_user", user_mask="*", wait=True)["added"] in ([DAVE], [])


def test_sieve_scripts_go_along(timed):
    sieve = "sieve_script personal {\n  type = personal\n  path = ~/sieve\n  active_path = ~/.dovecot.sieve\n}\n"
    for host in HOSTS:
        timed.shell("DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends dovecot-sieve", host)
        timed.lab.execute(host, "tee", LOCAL, stdin=sieve)
        timed.shell("systemctl restart dovecot", host)
    timed.lab.execute(MX1, "doveadm", "sieve", "put", "-a", "-u", BOB, "away", stdin="keep;\n")
    timed.module("replicator_replicate", users=[BOB], wait=True)
    assert "away" in timed.shell(f"doveadm sieve list -u {BOB}", MX2).stdout
    for host in HOSTS:
        timed.shell(f"rm {LOCAL}; systemctl reload dovecot", host)


def test_a_peer_that_is_down(timed):
    """The message says why; one round after its return everyone is in sync."""
    with timed.stopped(MX2):
        save(timed, ALICE)
        result = timed.module("replicator_replicate", user_mask="*", wait=True)
        assert result["failed_users"] == EVERYONE and "Connection refused" in result["msg"]
        assert set(result["failed_reasons"]) == set(EVERYONE)
        assert timed.module("replicator_info", user_mask="*")["summary"]["failing"] == len(EVERYONE)
        status = timed.play("status", "--limit", MX1)
        assert ["4 of 4 users fail" in message for message in runs.failures(status)] == [True], status
        seen = timed.agent(MX1).module("node_info")
        assert "peer_unreachable" in {finding["id"] for finding in _diagnosis.findings({MX1: seen})}
    runs.succeeded(timed.play("resync"))
    assert counts(timed, ALICE)[0] == counts(timed, ALICE)[1]
    assert found(timed) == {}


@pytest.mark.rare
def test_a_peer_that_says_nothing(timed):
    """dsync would wait for ever; each sync has an end."""
    runs.succeeded(timed.play("setup", replication_timer_patience=10))
    with timed.silent_dovecot(MX2):
        result = timed.module("replicator_replicate", users=[ALICE], wait=True, wait_timeout=60)
        assert result["failed_users"] == [ALICE] and "has not answered within 10 seconds" in result["msg"]
    runs.succeeded(timed.play("setup"))
    timed.module("replicator_replicate", user_mask="*", wait=True)


def test_drain_and_release(timed):
    with no_rounds(timed):
        predicted = runs.changes(timed.play("drain", "--check"))
        assert runs.changes(runs.succeeded(timed.play("drain"))) == predicted != []
        assert runs.changes(runs.succeeded(timed.play("drain"))) == []
        token = timed.deliver(DAVE)
        timed.shell(f"systemctl start {SERVICE}")
        held = timed.module("replicator_replicate", users=[DAVE], wait=True, wait_timeout=3)
        assert held["pending_users"] == [DAVE]
        assert timed.arrived(DAVE, token, seconds=1) is None
        assert timed.module("replicator_info", user_mask="*")["summary"]["on_hold"] is True
        assert {(host, "on_hold") for host in HOSTS} <= set(found(timed))
        runs.succeeded(timed.play("drain", replication_hold=False))
        assert timed.arrived(DAVE, token, seconds=1) is not None


FAULTS = {
    "timer_stopped": f"systemctl disable --now {TIMER}",
    "timer_not_enabled": f"systemctl disable {TIMER}",
    "leftovers_of_2_3": f"printf 'service replicator {{\\n  process_min_avail = 1\\n}}\\n' > {LOCAL}",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_its_cure_works(timed, fault):
    timed.shell(FAULTS[fault])
    try:
        cured(timed, found(timed)[MX1, fault])
        assert found(timed) == {}
    finally:
        timed.shell(f"rm -f {LOCAL}; systemctl enable --now {TIMER}; systemctl reload dovecot")


def cured(pair, finding):
    """Remove the file that a cure names a line of, and run its commands."""
    for path in re.findall(r"Remove (\S+) line", finding["cure"]):
        pair.shell(f"rm {path}", finding["host"])
    for command in re.findall(r"`(systemctl [^`]*)`", finding["cure"]):
        pair.shell(command, finding["host"])
    for variables in re.findall(r"dovecot_replication\.resync -e '([^`]*)'`", finding["cure"]):
        runs.succeeded(pair.play("resync", **json.loads(variables)))


def test_a_plugin_of_2_3_is_named_and_its_cure_works(timed):
    """No sync succeeds with it, and who has failed meanwhile fails until the next one."""
    timed.shell(f"printf 'mail_plugins {{\\n  replication = yes\\n}}\\n' > {LOCAL}; systemctl restart dovecot")
    try:
        failed = timed.module("replicator_replicate", user_mask="*", wait=True)
        assert failed["failed_users"] == EVERYONE
        named = found(timed)
        assert {(MX1, "plugin_of_2_3"), (MX1, "users_failing")} <= set(named)
        # That host's doveadm does not answer, for this reason.
        assert (MX2, "peer_is_not_doveadm") not in named
        for fault in ("plugin_of_2_3", "users_failing"):
            cured(timed, named[MX1, fault])
        assert found(timed) == {}
    finally:
        timed.shell(f"rm -f {LOCAL}; systemctl restart dovecot")


def test_a_run_that_is_killed(timed):
    """Whatever was under way is done by the next one."""
    with no_rounds(timed):
        tokens = {user: timed.deliver(user) for user in EVERYONE}
        for _kill in range(3):
            timed.module("replicator_replicate", users=EVERYONE)
            timed.shell(f"sleep 0.1; systemctl kill -s KILL {SERVICE}; true")
        # What was asked for is not forgotten.
        assert timed.module("replicator_wait", until="synced", wait_timeout=30)["failed_users"] == []
        for user in EVERYONE:
            assert timed.arrived(user, tokens[user], seconds=1) is not None
        assert {slot["username"] for slot in timed.module("replicator_info")["dsyncs"]} == {None}


def test_mail_is_comparable(timed):
    timed.module("replicator_replicate", user_mask="*", wait=True)
    here, there = (timed.module("mailbox_info", host=host, user_mask="*")["users"] for host in HOSTS)
    assert here == there and [user["username"] for user in here] == EVERYONE
    timed.shell(f"doveadm flags add -u {ALICE} '\\Flagged' mailbox INBOX all")
    changed = timed.module("mailbox_info", users=[ALICE])["users"][0]
    assert changed["fingerprint"] != there[0]["fingerprint"]
    timed.module("replicator_replicate", users=[ALICE], wait=True)
    assert timed.module("mailbox_info", host=MX2, users=[ALICE])["users"][0]["fingerprint"] == changed["fingerprint"]


def certificates_of_their_own(pair):
    """Certificates that the hosts have made for themselves, each trusted by the other: variables of the role."""
    for host in HOSTS:
        pair.shell(
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={host} -addext subjectAltName=DNS:{host} "
            "-keyout /etc/dovecot/own.key -out /etc/dovecot/own.pem 2> /dev/null",
            host,
        )
    certificates = {host: pair.shell("cat /etc/dovecot/own.pem", host).stdout for host in HOSTS}
    for here, there in (HOSTS, HOSTS[::-1]):
        pair.lab.execute(here, "tee", "/etc/dovecot/peer.pem", stdin=certificates[there])
    return {
        "replication_scheme": "tcps",
        "replication_tls_ca_file": "/etc/dovecot/peer.pem",
        "replication_tls_cert_file": "/etc/dovecot/own.pem",
        "replication_tls_key_file": "/etc/dovecot/own.key",
    }


def test_tls(timed):
    """A certificate that the authority of the peer has not signed is refused, by Dovecot as well."""
    tls = certificates_of_their_own(timed)
    timed.shell(f"echo 'ssl = no' > {LOCAL}")
    assert any("ssl should not be no" in message for message in runs.failures(timed.play("setup", **tls)))
    timed.shell(f"rm {LOCAL}")
    runs.succeeded(timed.play("setup", **tls))
    assert proved(timed, **tls) == set()
    timed.shell("cat /etc/dovecot/own.pem > /etc/dovecot/peer.pem; doveadm reload; sleep 2")
    result = timed.module("replicator_replicate", users=[ALICE], wait=True)
    assert result["failed_users"] == [ALICE] and "certificate" in result["msg"]
    assert (MX1, "certificate_refused") in found(timed)
    runs.succeeded(timed.play("setup"))
    timed.module("replicator_replicate", user_mask="*", wait=True)


@pytest.mark.torture
def test_ssh(timed):
    for host in HOSTS:
        timed.shell("usermod --shell /bin/sh vmail", host)
    ssh = {"replication_scheme": "ssh"}
    runs.succeeded(timed.play("setup", **ssh))
    assert proved(timed, **ssh) == set()
    runs.succeeded(timed.play("setup"))


@pytest.mark.torture
def test_it_is_watched_as_any_pair(timed):
    """By numbers that anybody may read; the names stay with root."""
    check = "/usr/local/bin/dovecot_replication_check"
    predicted = runs.changes(timed.play("monitor", "--check"))
    done = runs.changes(runs.succeeded(timed.play("monitor", monitoring_textfile_dir="")))
    assert set(predicted) & set(done)
    assert runs.changes(runs.succeeded(timed.play("monitor", monitoring_textfile_dir=""))) == []
    timed.module("replicator_replicate", user_mask="*", wait=True)
    answer = timed.shell(f"runuser -u nobody -- {check} --now --check").stdout
    assert answer.startswith("OK - 4 users, none fails") and "running=0;;;0;4" in answer
    timed.shell(f"{check} --now --prom /tmp/x.prom")
    assert "dovecot_replicator_known_users 4" in timed.shell("cat /tmp/x.prom; rm /tmp/x.prom").stdout
    with timed.stopped(MX2):
        timed.module("replicator_replicate", user_mask="*", wait=True)
        told = timed.shell(f"{check} --now --check", check=False)
        assert told.returncode == 2 and "4 of 4 users" in told.stdout
    timed.module("replicator_replicate", user_mask="*", wait=True)
    # A timer that no longer runs is no healthy one.
    with no_rounds(timed):
        timed.shell(f'sed -i \'s/"time": [0-9]*/"time": 1000/\' {STATE}/reading.json')
        told = timed.shell(f"{check} --now --check", check=False)
        assert told.returncode == 3 and "nothing was synced for" in told.stdout
    assert "example.org" not in timed.shell(f"cat {STATE}/reading.json").stdout
    runs.succeeded(timed.play("monitor", monitoring_state="absent"))
    timed.module("replicator_replicate", user_mask="*", wait=True)


@pytest.mark.torture
def test_what_was_planned_is_applied(timed, tmp_path):
    files = {"replication_plan_dir": str(tmp_path)}

    def planned(**variables):
        runs.succeeded(timed.play("plan", **files, **variables))
        return json.loads((tmp_path / "plan.json").read_text())

    assert planned()["result"] == "no changes"
    changed = {"replication_timer_interval": 50}
    assert planned(**changed)["result"] == "changes"
    file = {"replication_plan_file": str(tmp_path / "plan.json")}
    assert runs.changes(runs.succeeded(timed.play("apply", **file, **changed))) != []
    assert "50s" in timed.shell(f"systemctl show -p TimersMonotonic {TIMER}").stdout
    assert planned(**changed)["result"] == "no changes"
    runs.succeeded(timed.play("setup"))


@pytest.mark.rare
def test_a_userdb_that_lists_nobody(timed):
    """It can look up its users; how they are listed is added to its block."""
    zoe = "zoe@example.org"
    config = (
        "sql_driver = sqlite\nsqlite_path = /etc/dovecot/users.db\n"
        "userdb %s {\n  driver = sql\n"
        "  sql_query = SELECT '/srv/vmail/zoe' AS home FROM users WHERE name = '%%{user}'\n}\n"
    )
    iterate = {
        "replication_iterate": {
            "driver": "sql",
            "file": "/etc/dovecot/dovecot.conf",
            "query": "SELECT name AS user FROM users",
        }
    }
    for host in HOSTS:
        timed.shell(
            "DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends dovecot-sqlite sqlite3;"
            "rm -rf /etc/dovecot/users.db /srv/vmail/zoe; sqlite3 /etc/dovecot/users.db"
            f" \"create table users (name); insert into users values ('{zoe}')\"",
            host,
        )
        timed.lab.execute(host, "tee", LOCAL, stdin=config % "accounts")
        timed.shell("systemctl reload dovecot", host)
    refused = runs.failures(timed.play("setup", **iterate))
    assert any("userdb/sql/query should be set" in message for message in refused)
    for host in HOSTS:
        timed.lab.execute(host, "tee", LOCAL, stdin=config % "sql")
        timed.shell("systemctl reload dovecot", host)
    try:
        assert zoe not in timed.shell("doveadm user '*'", check=False).stdout
        runs.succeeded(timed.play("setup", **iterate))
        assert zoe in timed.shell("doveadm user '*'").stdout.split()
        timed.deliver(zoe)
        assert timed.module("replicator_user", user_mask="*", wait=True)["added"] == [zoe]
        assert counts(timed, zoe) == [1, 1]
    finally:
        for host in HOSTS:
            timed.shell(f"rm {LOCAL} /etc/dovecot/users.db; systemctl restart dovecot", host)
        runs.succeeded(timed.play("setup"))
        for host in HOSTS:
            timed.module("replicator_user", host=host, users=EVERYONE, exclusive=True)


def test_the_page_tells_what_is_wrong(timed, tmp_path):
    page = tmp_path / "page.html"
    with no_rounds(timed):
        timed.play("report", replication_report_file=str(page), replication_probe_user=ALICE)
        assert f"systemctl enable --now {TIMER}" in page.read_text()


@pytest.mark.rare
def test_mail_of_both_hosts_is_brought_together(timed):
    """Each has made an INBOX of this user."""
    wanda = "wanda@example.org"
    with timed.account(wanda), no_rounds(timed):
        for host in HOSTS:
            save(timed, wanda, host)
        mask = {"replication_user_mask": wanda}
        announced = runs.changes(runs.succeeded(timed.play("adopt", "--check", **mask)))
        assert runs.changes(runs.succeeded(timed.play("adopt", **mask))) == announced != []
        assert counts(timed, wanda) == [2, 2]
        assert runs.changes(runs.succeeded(timed.play("adopt", **mask))) == []
    for host in HOSTS:
        timed.module("replicator_user", host=host, users=[wanda], state="absent")


LISTS_TOO_MUCH_OR_NOBODY = {
    "userdb passwd {\n}\n": "lists system accounts as mailboxes",
    "userdb passwd-file {\n  passwd_file_path = /srv/%{user | domain}/users\n}\n": "there are variables in its path",
    "userdb static {\n  fields {\n    uid = vmail\n  }\n}\n": "the userdb with driver static",
}


@pytest.mark.parametrize("userdb", LISTS_TOO_MUCH_OR_NOBODY)
def test_a_userdb_that_does_not_list_the_mailboxes_is_refused(timed, userdb):
    timed.lab.execute(MX1, "tee", LOCAL, stdin=userdb)
    try:
        messages = runs.failures(timed.play("setup", "--check"))
        assert any(LISTS_TOO_MUCH_OR_NOBODY[userdb] in message for message in messages), messages
    finally:
        timed.shell(f"rm {LOCAL}")


def test_mbox_is_refused(timed):
    """Debian 13 has it in its own configuration."""
    timed.shell(f"printf 'mail_driver = mbox\\nmail_inbox_path = ~/inbox\\n' > {LOCAL}")
    try:
        messages = runs.failures(timed.play("setup", "--check"))
        assert any("mail_driver should not begin with mbox" in message for message in messages)
    finally:
        timed.shell(f"rm {LOCAL}")


def test_a_second_dovecot_is_refused(timed):
    """It would take over the timer of the first one."""
    for host in HOSTS:
        timed.shell("cp -a /etc/dovecot /etc/dovecot-second; rm /etc/dovecot-second/replication-syncer.json", host)
    try:
        messages = runs.failures(timed.play("setup", "--check", replication_config_dir="/etc/dovecot-second"))
        assert messages and "settings are /etc/dovecot/replication-syncer.json" in messages[0]
    finally:
        for host in HOSTS:
            timed.shell("rm -r /etc/dovecot-second", host)


@pytest.mark.rare
def test_a_mixed_pair(mixed):
    """mx1 replicates as ever, but in a way that mx2 understands; mx2 has a timer."""
    assert runs.changes(runs.succeeded(mixed.play("setup"))) == []
    # Alone, too: the host remembers what its peer needs.
    assert runs.changes(runs.succeeded(mixed.play("setup", "--limit", MX1))) == []
    token = mixed.deliver(ALICE, MX1)
    assert mixed.arrived(ALICE, token, MX2) is not None
    for host in HOSTS:
        save(mixed, BOB, host)
    assert proved(mixed) == set()
    assert {mixed.module("replicator_info", host=host)["transport"] for host in HOSTS} == {"socket", "timer"}
    # What Dovecot 2.3 does by default, and 2.4 refuses.
    mixed.shell("sed -i '/^replication_dsync_parameters/d' /etc/dovecot/conf.d/11-replication.conf; doveadm reload")
    assert (MX1, "parameters_of_2_3") in found(mixed)
    runs.succeeded(mixed.play("setup"))
    runs.succeeded(mixed.play("resync"))
    assert found(mixed) == {}
    prepared = runs.succeeded(mixed.play("upgrade_prepare"))
    handed = runs.handed_over(prepared)["hosts"]
    assert handed[MX2]["to_convert"] == [] and len(handed[MX1]["to_convert"]) > 5
    runs.succeeded(mixed.play("drain"))
    runs.succeeded(mixed.play("drain", replication_hold=False))


@pytest.mark.torture
def test_tls_in_a_mixed_pair(mixed):
    tls = certificates_of_their_own(mixed)
    runs.succeeded(mixed.play("setup", **tls))
    assert proved(mixed, **tls) == set()


@pytest.mark.torture
def test_ssh_in_a_mixed_pair(mixed):
    for host in HOSTS:
        mixed.shell("usermod --shell /bin/sh vmail", host)
    ssh = {"replication_scheme": "ssh"}
    runs.succeeded(mixed.play("setup", **ssh))
    assert proved(mixed, **ssh) == set()


@pytest.mark.torture
def test_a_service_in_a_mixed_pair(mixed):
    """Each engine hears of what comes in on its host, and of nothing that the other has carried."""
    service = {"replication_engine": "service"}
    runs.succeeded(mixed.play("setup", **service))
    assert proved(mixed, **service) == set()
    assert {mixed.module("replicator_info", host=host)["transport"] for host in HOSTS} == {"socket", "service"}
    for here, there in (HOSTS, HOSTS[::-1]):
        token = mixed.deliver(ALICE, here)
        assert mixed.arrived(ALICE, token, there, seconds=5) is not None

    def begun():
        return [
            {
                user["username"]: user["last_fast_sync"]
                for user in mixed.module("replicator_info", host=host, user_mask="*")["users"]
            }
            for host in HOSTS
        ]

    time.sleep(3)
    before = begun()
    time.sleep(5)
    assert begun() == before, "a sync has started another one"
    runs.succeeded(mixed.play("drain", **service))
    runs.succeeded(mixed.play("drain", replication_hold=False, **service))
    runs.succeeded(mixed.play("setup"))


def test_nothing_is_left(timed):
    """The last test with this pair."""
    predicted = runs.changes(timed.play("decommission", "--check"))
    done = runs.changes(runs.succeeded(timed.play("decommission")))
    assert predicted and set(predicted) <= set(done)
    for host in HOSTS:
        left = timed.shell(
            "find / -xdev -name '*replication*' -not -path '/proc/*' -not -path '*/ansible*' -not -path '/srv/agent-*'"
            " -not -path '/usr/share/*' -not -path '/usr/lib/*' -not -path '/var/lib/dpkg/*' -not -path '/sys/*'",
            host,
        ).stdout.split()
        assert left == []
        assert "could not be found" in timed.shell(f"systemctl status {TIMER} 2>&1; true", host).stdout
