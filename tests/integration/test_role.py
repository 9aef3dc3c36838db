# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on configured hosts: what it refuses, what it notices, and that it leaves alone what is right."""

import re
import uuid

import pytest
from conftest import MX1, MX2
from runs import changes, failures

# The certificate that Debian makes for the host's own name.
TLS = {
    "replication_scheme": "tcps",
    "replication_tls_ca_file": "/etc/ssl/certs/ca-certificates.crt",
    "replication_tls_cert_file": "/etc/dovecot/private/dovecot.pem",
    "replication_tls_key_file": "/etc/dovecot/private/dovecot.key",
}
WITH_API = {"replication_api_port": 8443, "replication_api_key": "another-one"}
REFUSALS = [
    ({"replication_group": "all_mx1"}, "has 1 hosts, but a pair is exactly two"),
    ({"replication_group": "nosuch"}, "has 0 hosts, but a pair is exactly two"),
    # The host that replication_peer names is one of three others: its inventory name may be any of them.
    ({"replication_group": "two_pairs", "replication_peer": MX2}, "has 4 hosts, but a pair is exactly two"),
    ({"replication_group": "others"}, "is not in the inventory group others"),
    ({"replication_peer": MX1}, "is this host itself"),
    ({"replication_peer": "MX1.example.ORG"}, "is this host itself"),
    ({"replication_peer": "localhost"}, "is this host itself"),
    ({"replication_peer": "127.0.0.7"}, "is this host itself"),
    ({"replication_peer": "::1"}, "is this host itself"),
    ({"replication_peer": "mx2.example.org:12345"}, "must be a host name or an address"),
    ({"replication_peer": "root@mx2.example.org"}, "must be a host name or an address"),
    ({"replication_peer": ""}, "must be a host name or an address"),
    ({"replication_scheme": "tcps"}, "needs replication_tls_ca_file"),
    ({**TLS, "replication_tls_key_file": ""}, "Only one of replication_tls_cert_file and replication_tls_key_file"),
    ({**TLS, "replication_peer": "2001:db8::1"}, "Give the peer's host name"),
    ({**TLS, "replication_tls_ca_file": "/nosuch.pem"}, "/nosuch.pem cannot be read: No such file"),
    ({**TLS, "replication_tls_cert_file": "/nosuch.pem"}, "cannot be read: No such file"),
    ({**TLS, "replication_peer": "mail.example.net"}, "would be refused: "),
    ({"replication_scheme": "ssh"}, "The shell of vmail is /usr/sbin/nologin"),
    ({"replication_scheme": "ssh", "replication_ssh_user": "nosuch"}, "There is no user nosuch on this host"),
    ({"replication_scheme": "ssh", "replication_group": "nosuch", "replication_peer": MX2}, "needs both hosts in the"),
    ({"replication_iterate": {"driver": "sql", "file": "/etc/dovecot/x"}}, "needs `query` with the driver sql"),
    ({"replication_iterate": {"driver": "ldap", "file": "/etc/dovecot/x", "attrs": "a"}}, "needs `attrs` and `filter`"),
    (
        {"replication_iterate": {"driver": "sql", "file": "/etc/dovecot/nosuch", "query": "x"}},
        "there is no such file",
    ),
    ({"replication_secret": ""}, "replication_secret is empty"),
    ({"replication_secret": None}, "replication_secret is empty"),
    ({"replication_secret": 83}, "replication_secret is a number"),
    ({"replication_secret": "hid\nden"}, "replication_secret contains a line break"),
    ({**WITH_API, "replication_api_key": ""}, "replication_api_key is empty"),
    ({**WITH_API, "replication_api_key": "hid\nden"}, "replication_api_key contains a line break"),
    ({**WITH_API, "replication_api_key": "only-for-the-lab"}, "the same as replication_secret"),
    ({**WITH_API, "replication_api_port": 12345}, "a port of its own"),
    ({**WITH_API, "replication_api_tls": False}, "would cross the network in the clear"),
    ({**WITH_API, "replication_firewall": "ufw"}, "nobody would reach the API"),
    ({**WITH_API, "replication_api_clients": ["awx.example.org"]}, "'awx.example.org' is not"),
    ({**WITH_API, "replication_api_commands": ["user,fetch"]}, "without commas"),
    (WITH_API, "no commands for the replicator in its HTTP API"),
    ({"replication_max_conns": 0}, "replication_max_conns is 0"),
    ({"replication_full_sync_interval": "3600"}, "replication_full_sync_interval is '3600'"),
    ({"replication_full_sync_interval": "0 days"}, "replication_full_sync_interval is '0 days'"),
    ({"replication_dsync_parameters": "-N -l 30 -U"}, "Every sync would fail without -d"),
    ({"replication_doveadm_socket": {"mode": "0666"}}, "The mode of a socket must"),
    ({"replication_notify_fifo": {"mode": "0606"}}, "The mode of a socket must"),
    ({"replication_notify_socket": {"mode": 384}}, "The mode of a socket must"),
    ({"replication_doveadm_socket": {"path": "replicator-doveadn"}}, "The paths of the sockets must end in"),
    ({"replication_mail_user": "nosuch"}, "there is no such user on this host"),
    ({"replication_doveadm_socket": {"mode": "0660", "group": "nosuch"}}, "there is no such group on this host"),
    ({"replication_config_dir": "/etc/nosuch"}, "replication_install"),
    ({"replication_scheme": "http"}, "value of replication_scheme must be one of: tcp"),
    ({"replication_state": "gone"}, "value of replication_state must be one of: present, absent"),
    ({"replication_base_dir": "/run/other"}, "base_dir should be '/run/other', but it is '/run/dovecot'"),
]
GROUPS = """
all_mx1: {hosts: {mx1.example.org: }}
others: {hosts: {a.example.org: , b.example.org: }}
two_pairs: {children: {all_mx1: , others: }, hosts: {mx2.example.org: }}
"""


def setup(host, *options, **variables):
    """Run the setup playbook on one host; return its results."""
    return host.play("setup", *options, **{"replication_hosts": MX1, **variables})


def written(host):
    return host.shell("cd /etc/dovecot && find . -type f -printf '%p %m %u ' -exec md5sum {} + | sort").stdout


@pytest.mark.parametrize("pair", ["bullseye"], indirect=True)
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
    role = [line["task"].split(" : ")[1] for line in results if line["status"] == "ok" and " : " in line["task"]]
    assert role[1:] == [
        "Look at the host",
        "Write the configuration and have Dovecot validate it",
        "See that the replicator answers and the userdb lists its users",
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


def test_what_doveadm_writes_starts_a_sync(pair):
    """The plugins are for every protocol, not only for those of clients."""
    token = f"t-{uuid.uuid4().hex}"
    pair.lab.execute(MX1, "doveadm", "save", "-u", "carol@example.org", stdin=f"Subject: {token}\n\nHello.\n")
    assert pair.arrived("carol@example.org", token) is not None


@pytest.mark.parametrize("protocol", ["imap", "lmtp", "lda", "doveadm"])
def test_a_protocol_that_drops_the_plugins_is_named(pair, protocol):
    pair.shell(f"printf 'protocol {protocol} {{\\n mail_plugins = zlib\\n}}\\n' > /etc/dovecot/conf.d/95-test.conf")
    try:
        (message,) = failures(setup(pair))
    finally:
        pair.shell("rm /etc/dovecot/conf.d/95-test.conf")
    assert (
        f"mail_plugins should contain notify replication, but inside protocol {protocol} it is 'zlib' "
        "(set in /etc/dovecot/conf.d/95-test.conf line 2)" in message
    )


OVERRIDES = [
    (
        "plugin {\n  mail_replica = tcp:other:1\n}\n",
        "it is 'tcp:other:1' (set in /etc/dovecot/conf.d/95-test.conf line 2)",
    ),
    (
        "doveadm_password = other\n",
        "doveadm_password is not the given one; it is set in /etc/dovecot/conf.d/95-test.conf",
    ),
    ("service replicator {\n  process_min_avail = 0\n}\n", "process_min_avail should be '1', but it is '0' (set in"),
    (
        "plugin {\n  replication_sync_timeout = 2\n}\n",
        "replication_sync_timeout is set in /etc/dovecot/conf.d/95-test.conf",
    ),
    ("protocol lda {\n  plugin {\n    replication_sync_timeout = 2\n  }\n}\n", "95-test.conf line 3: with it the"),
    (
        "service doveadm {\n  inet_listener replication {\n    ssl = yes\n  }\n}\n",
        "ssl should be 'no', but it is 'yes'",
    ),
]


@pytest.mark.parametrize("text, words", OVERRIDES, ids=[words[:40] for text, words in OVERRIDES])
def test_what_overrides_a_setting_is_named(pair, text, words):
    pair.lab.execute(MX1, "tee", "/etc/dovecot/conf.d/95-test.conf", stdin=text)
    before = written(pair)
    try:
        (message,) = failures(setup(pair))
        assert words in message and "nothing was changed" in message
        assert written(pair) == before
    finally:
        pair.shell("rm /etc/dovecot/conf.d/95-test.conf")


USERDBS = [
    (
        "userdb {\n  driver = static\n  args = uid=vmail gid=vmail home=/srv/vmail/%u\n}\n",
        "static (/etc/dovecot/conf.d/10",
    ),
    ("userdb {\n  driver = prefetch\n}\n", "driver prefetch (/etc/dovecot/conf.d/10-auth.conf line 6) cannot list its"),
    ("userdb {\n  driver = passwd\n}\n", "lists the system user nobody (uid 65534) as a mailbox"),
    ("", "there is no userdb"),
]


@pytest.mark.parametrize("userdb, words", USERDBS, ids=["static", "prefetch", "passwd", "none"])
def test_a_userdb_that_does_not_list_the_mailboxes_is_refused(pair, userdb, words):
    passdb = "passdb {\n  driver = passwd-file\n  args = /etc/dovecot/users\n}\n"
    with pair.replaced({"/etc/dovecot/conf.d/10-auth.conf": passdb + userdb}, [MX1]):
        (message,) = failures(setup(pair))
        assert words in message and "nothing was changed" in message
        accepted = failures(setup(pair, "--check", replication_require_iteration=False))
    assert accepted == []


def test_two_hosts_of_one_name_are_refused(pair, tmp_path):
    """Here it is one host under two names; to the second one the first is itself."""
    port = re.search(r"mx1[^:]*:\s+ansible_port: (\d+)", pair.lab.inventory.read_text())[1]
    inventory = tmp_path / "twins.yml"
    inventory.write_text(f"twins: {{hosts: {{{MX1}: , twin.example.org: {{ansible_port: {port}}}}}}}\n")
    variables = {"replication_hosts": "twins", "replication_group": "twins", "replication_secret": "x"}
    results = setup(pair, "-i", str(inventory), **variables)
    first, second = sorted(failures(results))
    assert f"Both hosts call themselves {MX1}" in first and "is this host itself" in second
    assert changes(results) == []


@pytest.mark.parametrize("pair", ["bullseye"], indirect=True)
def test_ssh_as_a_user_who_cannot_read_the_configuration(pair):
    """Dovecot 2.3.13 opens the key of the certificate, which is root's, whoever runs it."""
    pair.shell("usermod -s /bin/sh vmail")
    try:
        (message,) = failures(setup(pair, replication_scheme="ssh"))
    finally:
        pair.shell("usermod -s /usr/sbin/nologin vmail")
    assert "cannot read Dovecot's configuration" in message and "Set replication_ssh_user to root" in message


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
            replication_notify_socket={"path": "/srv/replication-notify"},
            replication_base_dir=pair.shell("doveconf -h base_dir").stdout.strip(),
        )
        sockets = pair.shell("stat -c '%a %U %G' /run/dovecot/replicator-doveadm").stdout
        moved = pair.shell("ls /srv/replication-notify /run/dovecot/replication-notify", check=False)
        values = pair.shell("for s in max_conns full_sync_interval; do doveconf -h replication_$s; done").stdout
    finally:
        back = setup(pair)
    assert failures(results) == [] and failures(back) == []
    assert [task.split(" : ")[-1] for host, task in changes(results)] == [
        "Reload Dovecot",
        "Write the configuration and have Dovecot validate it",
    ]
    assert sockets == "660 vmail mail\n"
    assert moved.stdout == "/run/dovecot/replication-notify\n/srv/replication-notify\n"
    assert "No such file" in pair.shell("ls /srv/replication-notify", check=False).stderr
    assert values == "3\n12 hours\n"
    assert pair.shell("stat -c '%a %U %G' /run/dovecot/replicator-doveadm").stdout == "600 vmail root\n"
