# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on configured hosts: what it refuses, what it notices, and that it leaves alone what is right."""

import json
from pathlib import Path

import pytest
import runs

INVENTORY = Path(__file__).with_name("inventory.yml")
MX1 = "mx1.example.org"
SETUP = f"{runs.COLLECTION}.setup"

REFUSALS = [
    ({"replication_group": "all_mx1"}, "has 1 hosts, but a pair is exactly two"),
    ({"replication_group": "nosuch"}, "has 0 hosts, but a pair is exactly two"),
    ({"replication_group": "others"}, "is not in the inventory group others"),
    ({"replication_peer": MX1}, "is this host itself"),
    ({"replication_peer": "localhost"}, "is this host itself"),
    ({"replication_peer": "mx2.example.org:12345"}, "must be a host name or an IPv4 address"),
    ({"replication_peer": ""}, "must be a host name or an IPv4 address"),
    ({"replication_secret": ""}, "replication_secret is empty"),
    ({"replication_secret": None}, "replication_secret is empty"),
    ({"replication_secret": "hid\nden"}, "replication_secret contains a line break"),
    ({"replication_max_conns": 0}, "replication_max_conns is 0"),
    ({"replication_full_sync_interval": "3600"}, "replication_full_sync_interval is '3600'"),
    ({"replication_full_sync_interval": "0 days"}, "replication_full_sync_interval is '0 days'"),
    ({"replication_dsync_parameters": "-N -l 30 -U"}, "Every sync would fail without -d and -N"),
    ({"replication_doveadm_socket": {"mode": "0666"}}, "The mode of a socket must"),
    ({"replication_notify_fifo": {"mode": "0606"}}, "The mode of a socket must"),
    ({"replication_notify_socket": {"mode": 384}}, "The mode of a socket must"),
    ({"replication_doveadm_socket": {"path": "replicator-doveadn"}}, "The paths of the sockets must end in"),
    ({"replication_mail_user": "nosuch"}, "there is no such user on this host"),
    ({"replication_doveadm_socket": {"mode": "0660", "group": "nosuch"}}, "there is no such group on this host"),
    ({"replication_config_dir": "/etc/nosuch"}, "replication_install"),
    ({"replication_scheme": "http"}, "value of replication_scheme must be one of: tcp"),
]
GROUPS = """
all_mx1: {hosts: {mx1.example.org: }}
others: {hosts: {a.example.org: , b.example.org: }}
"""


def setup(host, *options, **variables):
    """Run the setup playbook on one host; return its results."""
    extra = ["-e", json.dumps({"replication_hosts": MX1, **variables})]
    return runs.play(host.lab, INVENTORY, SETUP, *extra, *options)


def failures(results):
    return [line["result"]["msg"] for line in results if line["status"] == "failed"]


def changes(results):
    return [line["task"] for line in results if line["result"].get("changed")]


def written(host):
    return host.shell("cd /etc/dovecot && find . -type f -printf '%p %m %u ' -exec md5sum {} + | sort").stdout


@pytest.mark.parametrize("variables, text", REFUSALS, ids=[str(variables)[:60] for variables, text in REFUSALS])
def test_refused_before_anything_is_changed(pair, tmp_path, variables, text):
    groups = tmp_path / "groups.yml"
    groups.write_text(GROUPS)
    before = written(pair)
    results = setup(pair, "-i", str(groups), **variables)
    (message,) = failures(results)
    assert text in message
    assert changes(results) == []
    assert written(pair) == before
    for secret in ("hid\nden", "hid\\nden", "only-for-the-lab"):
        assert secret not in str(results)


@pytest.mark.parametrize("install", [False, True])
def test_dovecot_without_a_replicator(host_without_replicator, install):
    results = setup(host_without_replicator, replication_install=install)
    (message,) = failures(results)
    assert "removed in 2.4.0" in message
    assert changes(results) == []


def test_nothing_to_do(pair):
    results = setup(pair)
    assert failures(results) == [] and changes(results) == []
    # What a run costs when there is nothing to do: these, and the check of the arguments.
    assert [line["task"].split(" : ")[-1] for line in results if line["status"] == "ok"][1:] == [
        "Write the configuration and have Dovecot validate it",
        "See that the replicator answers",
    ]


def test_plugins_of_the_administrator_stay(pair):
    """What is set before is kept, and the replication plugins named there as well do no harm."""
    pair.shell("echo 'mail_plugins = zlib notify replication' > /etc/dovecot/conf.d/10-zz-test.conf")
    try:
        assert failures(setup(pair)) == []
        plugins = pair.shell("doveconf -h -f protocol=lda mail_plugins").stdout.split()
        pair.shell("systemctl reload dovecot")
        token = pair.deliver("alice@example.org")
        assert pair.arrived("alice@example.org", token) is not None
    finally:
        pair.shell("rm /etc/dovecot/conf.d/10-zz-test.conf && systemctl reload dovecot")
    assert plugins == ["zlib", "notify", "replication", "notify", "replication"]


@pytest.mark.parametrize("protocol", ["imap", "lmtp", "lda", "doveadm"])
def test_a_protocol_that_drops_the_plugins_is_named(pair, protocol):
    pair.shell(f"printf 'protocol {protocol} {{\\n mail_plugins = zlib\\n}}\\n' > /etc/dovecot/conf.d/95-test.conf")
    try:
        (message,) = failures(setup(pair))
    finally:
        pair.shell("rm /etc/dovecot/conf.d/95-test.conf")
    assert f"mail_plugins should contain notify replication, but inside protocol {protocol} it is 'zlib'" in message


def test_settings_and_sockets(pair):
    """Changes reach the running Dovecot by one reload, and can be taken back."""
    try:
        results = setup(
            pair,
            replication_max_conns=3,
            replication_full_sync_interval="12 hours",
            replication_dsync_parameters="-d -N -l 60 -U",
            replication_listen=["127.0.0.1", "0.0.0.0"],
            replication_doveadm_socket={"mode": "0660", "group": "mail"},
            replication_base_dir=pair.shell("doveconf -h base_dir").stdout.strip(),
        )
        sockets = pair.shell("stat -c '%a %U %G' /run/dovecot/replicator-doveadm").stdout
        values = pair.shell("for s in max_conns full_sync_interval; do doveconf -h replication_$s; done").stdout
    finally:
        back = setup(pair)
    assert failures(results) == [] and failures(back) == []
    assert changes(results)[-1].endswith("Reload Dovecot") and len(changes(results)) == 2
    assert sockets == "660 vmail mail\n"
    assert values == "3\n12 hours\n"
    assert pair.shell("stat -c '%a %U %G' /run/dovecot/replicator-doveadm").stdout == "600 vmail root\n"
