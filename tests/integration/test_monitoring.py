# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role monitoring on live hosts: what it tells when, whom it lets do what, and that it goes without a trace."""

import json
import time

import pytest
import runs
from conftest import HOSTS, LEAST_LOADED, MX1, MX2
from runs import changes, failures, succeeded

pytestmark = pytest.mark.parametrize("pair", [LEAST_LOADED], indirect=True)

ALICE = "alice@example.org"
COLLECTOR = "/usr/local/lib/dovecot-replication-monitoring"
METRICS = "/var/lib/prometheus/node-exporter/dovecot_replicator.prom"
STATE = "/var/lib/dovecot-replication-monitoring"
RECEIVED = "/var/tmp/received"
PLAY = """
- hosts: dovecot_replication
  gather_facts: false
  become: true
  roles:
    - role: mailops.dovecot_replication.monitoring
"""
# Takes mails as sendmail does.
SENDMAIL = f"printf '#!/bin/sh\\ncat >> {RECEIVED}\\n' > /usr/sbin/sendmail; chmod 755 /usr/sbin/sendmail"
CHANGED_FILES = "find / -xdev -newer /var/tmp/before ! -path '/proc/*' ! -path '/sys/*' ! -path '/run/*' ! -path '/tmp/*' "
CHANGED_FILES += "! -path '/var/tmp*' ! -path '/var/log/*' ! -path '/srv/*' ! -path '/var/lib/dovecot/*' ! -path '/root/*'"


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    path = tmp_path_factory.mktemp("monitoring") / "monitoring.yml"
    path.write_text(PLAY)
    return path


def monitor(pair, play, *options, **variables):
    return runs.play(pair.lab, runs_inventory(), play, *options, "-e", json.dumps(variables))


def runs_inventory():
    from conftest import INVENTORY

    return INVENTORY


@pytest.fixture
def watched(tidied, play):
    succeeded(monitor(tidied, play))
    yield tidied
    succeeded(monitor(tidied, play, monitoring_state="absent"))


def ask(pair, *options, host=MX1):
    """Read the replicator anew; return what the collector answers then, and its exit code."""
    pair.shell("systemctl start dovecot-replication-monitoring.service", host)
    done = pair.lab.execute(host, COLLECTOR, *options, check=False)
    return done.stdout, done.returncode


def metric(pair, name, host=MX1):
    """The value of a metric without labels, None without it."""
    lines = [line.split() for line in pair.shell(f"cat {METRICS}", host).stdout.splitlines()]
    return next((float(words[1]) for words in lines if words[0] == name), None)


def test_it_comes_and_goes(tidied, play):
    pair = tidied
    for host in HOSTS:
        pair.shell("touch /var/tmp/before; sleep 1.1", host)
    foreseen = changes(succeeded(monitor(pair, play, "--check", "--diff")))
    assert pair.shell(CHANGED_FILES + " ! -type d").stdout == "" and foreseen
    done = succeeded(monitor(pair, play, "--diff"))
    assert set(foreseen) <= set(changes(done))
    assert changes(succeeded(monitor(pair, play))) == []
    answer, code = ask(pair, "--check")
    assert code == 0 and answer.startswith("OK - 4 users, none fails") and "failing=0;" in answer
    assert metric(pair, "dovecot_replicator_up") == 1 and metric(pair, "dovecot_replicator_known_users") == 4
    assert abs(metric(pair, "dovecot_replicator_collected_timestamp_seconds") - time.time()) < 60
    # Anybody may ask what was learned last.
    asked = pair.shell(f"runuser -u nobody -- {COLLECTOR} --json").stdout
    assert json.loads(asked)["up"] and "example.org" not in asked
    foreseen = changes(succeeded(monitor(pair, play, "--check", monitoring_state="absent")))
    gone = changes(succeeded(monitor(pair, play, monitoring_state="absent")))
    assert set(foreseen) <= set(gone)
    assert changes(succeeded(monitor(pair, play, monitoring_state="absent"))) == []
    for host in HOSTS:
        assert "dovecot-replication" not in pair.shell(CHANGED_FILES, host).stdout
        assert "dovecot-replication" not in pair.shell("systemctl list-units --all --plain", host).stdout


def test_a_user_of_its_own_who_may_do_nothing_else(tidied, play):
    pair = tidied
    own = {"monitoring_user": "dovecot-monitoring"}
    refused = failures(monitor(pair, play, **own))
    cure = 'replication_doveadm_socket: {mode: "0660", group: dovecot-monitoring}'
    assert len(refused) == 2 and all(f"`{cure}`" in message for message in refused)
    socket = {"mode": "0660", "group": "dovecot-monitoring"}
    succeeded(pair.play("setup", replication_doveadm_socket=socket))
    succeeded(monitor(pair, play, **own))
    assert ask(pair, "--check")[1] == 0
    as_user = "runuser -u dovecot-monitoring --"
    assert pair.shell(f"{as_user} ls /srv/vmail/alice@example.org", check=False).returncode != 0
    assert pair.shell(f"{as_user} cat /etc/dovecot/replication-secret.conf.ext", check=False).returncode != 0
    succeeded(monitor(pair, play, monitoring_state="absent", **own))
    succeeded(pair.play("setup"))


def test_what_is_told_when(watched):
    pair = watched
    with pair.stopped(MX2):
        pair.module("replicator_replicate", users=[ALICE], priority="high")
        time.sleep(1)
        answer, code = ask(pair, "--check")
        assert code == 1 and "The syncs of users fail: 1 of 4 users" in answer and "|" in answer
        # New changes hide the failure from Dovecot's own counters.
        pair.module("replicator_replicate", users=[ALICE], priority="low")
        answer, code = ask(pair, "--checkmk")
        assert code == 0 and answer.startswith("1 Dovecot_replication failing=1;") and ALICE not in answer
        assert metric(pair, "dovecot_replicator_failing_users") == 1
        assert ask(pair, "--check", host=MX2) == (ask(pair, "--check", host=MX2)[0], 3)
        assert metric(pair, "dovecot_replicator_up", MX2) == 0
        assert metric(pair, "dovecot_replicator_failing_users", MX2) is None
        told = json.loads(ask(pair, "--json", host=MX2)[0])
        assert told["state"] == "UNKNOWN" and "Connecting to" in told["problem"] and "failing" not in told
    pair.tidy()
    assert ask(pair, "--check")[1] == 0
    pair.shell(f"systemctl stop dovecot-replication-monitoring.timer; sed -i 's/\"time\": /&1/' {STATE}/last.json")
    pair.shell(f"sed -i 's/\"time\": 1/\"time\": /; s/\"time\": 1/\"time\": /' {STATE}/last.json")
    done = pair.lab.execute(MX1, COLLECTOR, "--check", check=False)
    assert done.returncode == 3 and "systemctl status dovecot-replication-monitoring.timer" in done.stdout
    pair.shell("systemctl start dovecot-replication-monitoring.timer")
