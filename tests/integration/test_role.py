# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on configured hosts: what it refuses, what it notices, and that it leaves alone what is right."""

import re
import uuid

import pytest
from conftest import HOSTS, MX1
from runs import changes, failures, findings_of, handed_over, succeeded

# The certificate that Debian makes for the host's own name.
TLS = {
    "replication_scheme": "tcps",
    "replication_tls_ca_file": "/etc/ssl/certs/ca-certificates.crt",
    "replication_tls_cert_file": "/etc/dovecot/private/dovecot.pem",
    "replication_tls_key_file": "/etc/dovecot/private/dovecot.key",
}
WITH_API = {"replication_api_port": 8443, "replication_api_key": "another-one"}
# What needs a host or an inventory to be seen; tests/unit/plugins/plugin_utils/test_refusals.py has a row for each.
REFUSALS = [
    ({"replication_group": "nosuch"}, "has 0 hosts. A pair is exactly two"),
    ({"replication_group": "others"}, "is not in the inventory group others"),
    ({"replication_peer": "localhost"}, "is this host itself"),
    ({"replication_peer": "::1"}, "is this host itself"),
    ({**TLS, "replication_tls_ca_file": "/nosuch.pem"}, "/nosuch.pem cannot be read: No such file"),
    ({**TLS, "replication_tls_cert_file": "/nosuch.pem"}, "cannot be read: No such file"),
    ({**TLS, "replication_peer": "192.0.2.9"}, "would be refused: "),
    ({"replication_scheme": "ssh"}, "The shell of vmail is /usr/sbin/nologin"),
    ({"replication_scheme": "ssh", "replication_ssh_user": "nosuch"}, "There is no user nosuch on this host"),
    (
        {"replication_iterate": {"driver": "sql", "file": "/etc/dovecot/nosuch", "query": "x"}},
        "there is no such file",
    ),
    ({"replication_secret": 83}, "replication_secret is a number"),
    ({"replication_secret": "hid\nden"}, "replication_secret contains a line break"),
    (WITH_API, "no commands for the replicator"),
    ({"replication_max_conns": 0}, "replication_max_conns is 0"),
    ({"replication_notify_socket": {"mode": 384}}, "The mode of the socket"),
    ({"replication_mail_user": "nosuch"}, "there is no such user on this host"),
    ({"replication_doveadm_socket": {"mode": "0660", "group": "nosuch"}}, "there is no such group on this host"),
    ({"replication_config_dir": "/etc/nosuch"}, "replication_install"),
    ({"replication_scheme": "http"}, "value of replication_scheme must be one of: tcp"),
    ({"replication_base_dir": "/run/other"}, "base_dir should be '/run/other', but it is '/run/dovecot'"),
]
TEST = "/etc/dovecot/conf.d/95-test.conf"
GROUPS = """
others: {hosts: {a.example.org: , b.example.org: }}
"""

pytestmark = pytest.mark.on_one


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


def test_nothing_to_do(pair):
    results = setup(pair)
    assert failures(results) == [] and changes(results) == []
    # What a run costs when there is nothing to do.
    role = [line["task"].split(" : ")[1] for line in results if line["status"] == "ok" and " : " in line["task"]]
    assert role == [
        "Validate prerequisites",
        "Write the configuration, which Dovecot validates",
    ]


@pytest.mark.parametrize(
    "tag, last",
    [
        ("preflight", "Validate prerequisites"),
        ("configure", "Write the configuration, which Dovecot validates"),
        ("access", "Validate prerequisites"),
        ("finish", "Check that the replicator answers and the userdb lists its users"),
        ("verify", "Conclude and report"),
    ],
)
def test_each_tag_works_alone(pair, tag, last):
    results = setup(pair, "--tags", tag, replication_hosts="dovecot_replication", replication_verify=True)
    assert failures(results) == [] and changes(results) == [] and handed_over(results)["ok"]
    tasks = [line["task"].split(" : ")[1] for line in results if line["status"] == "ok" and " : " in line["task"]]
    assert tasks[0] == "Validate prerequisites" and last in tasks
    assert ("Conclude and report" in tasks) == (tag == "verify")


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


# What is like a pair made by hand, or would decide in place of the role, and the setting by which it is named.
BY_HAND = [
    ("plugin {\n  mail_replica = tcp:other:1\n}\n", "line 2 sets plugin/mail_replica"),
    ("doveadm_password = other\n", "line 1 sets doveadm_password"),
    ("service replicator {\n  process_min_avail = 0\n}\n", "line 2 sets service/replicator/process_min_avail"),
    (
        "protocol lda {\n  plugin {\n    replication_sync_timeout = 2\n  }\n}\n",
        "line 3 sets plugin/replication_sync_timeout",
    ),
    (
        "service doveadm {\n  inet_listener {\n    port = 12345\n  }\n}\n",
        "line 2 sets service/doveadm/inet_listener",
    ),
]


@pytest.mark.parametrize("pair", ["bookworm"], indirect=True)
def test_lines_of_others_are_refused_or_commented_out(pair):
    """Each is named, with the variable that cures it; then all together are taken over."""
    texts = [text for text, _words in BY_HAND]
    for text, words in BY_HAND:
        with pair.replaced({TEST: text}, [MX1]):
            before = written(pair)
            (message,) = failures(setup(pair))
            assert f"{TEST} {words}" in message and "nothing was changed" in message
            assert "replication_take_over: true" in message and "= other" not in message
            assert written(pair) == before
    with pair.replaced({TEST: "".join(texts)}, [MX1]):
        results = setup(pair, "--diff", replication_take_over=True)
        assert failures(results) == [] and (MX1, "Write the configuration, which Dovecot validates") in {
            (host, task.split(" : ")[-1]) for host, task in changes(results)
        }
        shown = str([line["result"].get("diff") for line in results])
        assert "#mailops.dovecot_replication#   mail_replica = tcp:other:1" in shown
        assert "doveadm_password = ********" in shown and "doveadm_password = other" not in shown
        assert changes(setup(pair)) == []
        lines = pair.shell(f"cat {TEST}").stdout.splitlines()
        assert "#mailops.dovecot_replication# doveadm_password = other" in lines


@pytest.mark.parametrize("pair", ["bookworm"], indirect=True)
def test_what_overrides_a_setting_is_named(pair):
    """In the section of the role's own listener."""
    text = "service doveadm {\n  inet_listener replication {\n    haproxy = yes\n    ssl = yes\n  }\n}\n"
    with pair.replaced({TEST: text}, [MX1]):
        (message,) = failures(setup(pair))
    assert f"{TEST} line 4 sets service/doveadm/inet_listener/replication/ssl" in message


USERDBS = [
    (
        "userdb {\n  driver = static\n  args = uid=vmail gid=vmail home=/srv/vmail/%u\n}\n",
        "static (/etc/dovecot/conf.d/10",
    ),
    ("userdb {\n  driver = prefetch\n}\n", "driver prefetch (/etc/dovecot/conf.d/10-auth.conf line 6) cannot list its"),
    ("userdb {\n  driver = passwd\n}\n", "nobody (uid 65534)"),
    (
        "userdb {\n  driver = passwd-file\n  args = /etc/dovecot/%d/users\n}\n",
        "(/etc/dovecot/conf.d/10-auth.conf line 7) cannot list its users, as there are variables in its path",
    ),
    (
        "userdb {\n  driver = passwd-file\n  args = /etc/dovecot/users\n}\nuserdb {\n  driver = static\n}\n",
        "static (/etc/dovecot/conf.d/10-auth.conf line 10) cannot list its users, and Dovecot passes over it",
    ),
    ("", "there is no userdb"),
]


@pytest.mark.parametrize(
    "userdb, words", USERDBS, ids=["static", "prefetch", "passwd", "variables", "one of two", "none"]
)
def test_a_userdb_that_does_not_list_the_mailboxes_is_refused(pair, userdb, words):
    passdb = "passdb {\n  driver = passwd-file\n  args = /etc/dovecot/users\n}\n"
    with pair.replaced({"/etc/dovecot/conf.d/10-auth.conf": passdb + userdb}, [MX1]):
        (message,) = failures(setup(pair))
        assert words in message and "nothing was changed" in message
        accepted = failures(setup(pair, "--check", replication_require_iteration=False))
    assert accepted == []


@pytest.mark.parametrize("tags", ["all", "preflight", "configure"])
def test_two_hosts_of_one_name_are_refused(pair, tmp_path, tags):
    """Here it is one host under two names, of which one is like another host's; to the second the first is itself."""
    port = re.search(r"mx1[^:]*:\s+ansible_port: (\d+)", pair.lab.inventory.read_text())[1]
    inventory = tmp_path / "twins.yml"
    inventory.write_text(f"twins: {{hosts: {{{MX1}: , 192.0.2.9: {{ansible_port: {port}}}}}}}\n")
    variables = {"replication_hosts": "twins", "replication_group": "twins", "replication_secret": "x"}
    results = setup(pair, "-i", str(inventory), "--tags", tags, **variables)
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
    assert "cannot read Dovecot's configuration" in message and "set replication_ssh_user to root" in message


@pytest.mark.parametrize("pair", ["bullseye"], indirect=True)
def test_ssh(tidied):
    """As root, for whom the hosts of a lab have keys already; these stay."""
    ssh = {"replication_scheme": "ssh", "replication_ssh_user": "root"}
    of_root = "cd ~root; find .ssh -type f | sort | xargs md5sum; stat -c '%a %U' .ssh .ssh/authorized_keys"
    before = [tidied.shell(of_root, host).stdout for host in HOSTS]
    try:
        announced = tidied.play("setup", "--check", **ssh)
        done = tidied.play("setup", replication_verify=True, replication_probe_user="alice@example.org", **ssh)
        again = tidied.play("setup", **ssh)
        replicas = [tidied.shell("doveconf -h plugin/mail_replica", host).stdout.strip() for host in HOSTS]
    finally:
        succeeded(tidied.play("setup"))
    assert changes(succeeded(announced)) == changes(succeeded(done)) != [] == findings_of(done)
    assert replicas == [f"remoteprefix:root@{peer}" for peer in HOSTS[::-1]]
    assert changes(succeeded(again)) == []
    assert [tidied.shell(of_root, host).stdout for host in HOSTS] == before


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
        "Write the configuration, which Dovecot validates",
    ]
    assert sockets == "660 vmail mail\n"
    assert moved.stdout == "/run/dovecot/replication-notify\n/srv/replication-notify\n"
    assert "No such file" in pair.shell("ls /srv/replication-notify", check=False).stderr
    assert values == "3\n12 hours\n"
    assert pair.shell("stat -c '%a %U %G' /run/dovecot/replicator-doveadm").stdout == "600 vmail root\n"
