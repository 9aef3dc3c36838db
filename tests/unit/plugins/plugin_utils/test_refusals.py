# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role refuses: rows for each reason, and that nothing else is refused."""

import pytest
from sides import MX1, MX2, OBSERVED, USER, side

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._refusals import REFUSALS, refused

TLS = {
    "replication_scheme": "tcps",
    "replication_tls_ca_file": "/etc/ssl/certs/ca-certificates.crt",
    "replication_tls_cert_file": "/etc/dovecot/private/dovecot.pem",
    "replication_tls_key_file": "/etc/dovecot/private/dovecot.key",
}
API = {"replication_api_port": 8443, "replication_api_key": "another-one"}
SSH = {"replication_scheme": "ssh"}
SQL = {"driver": "sql", "file": "/etc/dovecot/x"}
LDAP = {"driver": "ldap", "file": "/etc/dovecot/x"}

# id of the refusal, variables and more of a Side, words of the message
NOT_ROOT = {"task_user": "deploy", "is_root": False}
UNKNOWN = {"peer_addresses": []}
SERVICE = {"replicator_problem": None, "userdb_problem": "x", "cannot_list": None, "users": None}
NOT_LISTING = {"service": {**SERVICE, "cannot_list": "Dovecot's log says: no such table: users"}}
V2_4 = {"dovecot_version": "2.4.1-4 (abc)"}
ROWS = [
    ("not_root", dict(observed=NOT_ROOT), f"run on {MX1} as the user deploy"),
    ("not_root", dict(observed=NOT_ROOT, replication_state="absent"), "set `become: true` in the play"),
    ("timer_and_replicator", dict(replication_engine="timer"), "and this is Dovecot 2.3.19.1"),
    ("timer_without_pause", dict(observed=V2_4, replication_timer_interval=4), "interval is 4 and"),
    (
        "syncer_of_another",
        dict(observed={**V2_4, "syncer_of_another": "/srv/second/replication-syncer.json"}),
        "its settings are /srv/second/replication-syncer.json",
    ),
    ("timer_without_pause", dict(observed=V2_4, replication_timer_patience=9), "patience is 9"),
    (
        "api_of_2_4",
        dict(observed=V2_4, replication_api_port=8080, replication_api_key="k", replication_api_listen=["127.0.0.1"]),
        "no commands for a replicator",
    ),
    ("excluded_and_replicator", dict(replication_excluded_users=["a"]), "noreplicate=y"),
    (
        "sweep_without_pause",
        dict(observed=V2_4, replication_engine="service", replication_sweep_interval=59),
        "give replication_sweep_interval 60 or more",
    ),
    (
        "tls_to_address_of_2_4",
        dict(
            observed=V2_4,
            replication_scheme="tcps",
            replication_tls_ca_file="/ca",
            replication_peer="192.0.2.2",
        ),
        "give the peer's host name",
    ),
    ("no_pair", dict(members=(MX1,)), "has 1 host. A pair is exactly two"),
    ("no_pair", dict(members=()), "has 0 hosts. A pair is exactly two"),
    # The host that replication_peer names is one of three others: its inventory name may be any of them.
    ("no_pair", dict(members=(MX1, MX2, "a", "b"), replication_peer=MX2), "has 4 hosts"),
    ("not_a_member", dict(members=("a", "b")), f"{MX1} is not in the inventory group dovecot_replication"),
    ("peer_malformed", dict(replication_peer="mx2.example.org:12345"), "must be a host name or an address"),
    ("peer_malformed", dict(replication_peer="root@mx2.example.org"), "correct replication_peer"),
    ("peer_malformed", dict(replication_peer=""), "replication_peer is ''"),
    ("peer_is_self", dict(replication_peer=MX1.upper()), "is this host itself (192.0.2.2)"),
    ("peer_is_self", dict(replication_peer=MX1, observed={"peer_addresses": []}), "itself (the same name)"),
    ("peer_is_self", dict(replication_peer="localhost", observed={"peer_is_self": True}), "name the other host"),
    ("same_hostname", dict(peer_observed={"hostname": MX1}), f"Both hosts call themselves {MX1}. Dovecot uses"),
    ("secret_empty", dict(replication_secret=""), "replication_secret is empty"),
    ("secret_empty", dict(replication_secret=None), "from a vault"),
    ("secret_is_no_text", dict(replication_secret="83", secret_is_text=False), "YAML reads 0123 as 83"),
    ("secret_with_line_break", dict(replication_secret="hid\nden"), "replication_secret contains a line break"),
    ("secret_with_line_break", dict(API, replication_api_key="hid\rden"), "replication_api_key contains a line break"),
    ("secrets_differ", dict(secret_is_shared=False), f"{MX1} and {MX2} have different values"),
    ("secrets_differ", dict(secret_is_shared=False), "variables of the group dovecot_replication"),
    ("secret_changes", dict(secret_is_shared=False, secret_is_steady=False), "another value each time"),
    ("api_port", dict(API, replication_api_port=12345), "a port of its own"),
    ("api_port", dict(API, replication_api_port=65536), "replication_api_port is 65536"),
    ("api_port", dict(API, replication_api_port=-1), "replication_api_port is -1"),
    ("api_key_empty", dict(API, replication_api_key=""), "replication_api_key is empty"),
    ("api_key_is_secret", dict(API, replication_api_key="a-long-secret"), "the same as replication_secret"),
    ("api_in_the_clear", dict(API, replication_api_tls=False), "cross the network in the clear"),
    (
        "api_in_the_clear",
        dict(API, replication_api_tls=False, replication_api_listen=["127.0.0.1", "192.0.2.1"]),
        "replication_api_listen: [127.0.0.1]",
    ),
    ("api_without_clients", dict(API, replication_firewall="ufw"), "nobody reach the API"),
    ("api_clients_malformed", dict(API, replication_api_clients=["awx.example.org"]), "'awx.example.org'"),
    ("api_commands_joined", dict(API, replication_api_commands=["user,fetch"]), "without commas"),
    ("api_too_old", dict(API, observed={"dovecot_version": "2.3.16 (7e2e900c1a)"}), "came with 2.3.17"),
    ("peer_unknown", dict(observed=UNKNOWN), f"on {MX1}, set replication_peer to the name or address"),
    ("peer_unknown", dict(SSH, observed=UNKNOWN, replication_peer="b"), "The name of the peer, b, cannot be looked up"),
    (
        "peer_unknown",
        dict(observed=UNKNOWN, ansible_calls_peer="192.0.2.2"),
        "`replication_peer: 192.0.2.2`, the ",
    ),
    ("peer_unknown", dict(observed=UNKNOWN, ansible_calls_peer="127.0.0.1"), "reaches the peer; or add"),
    ("tls_without_authority", dict(replication_scheme="tcps"), "needs replication_tls_ca_file"),
    ("certificate_without_key", dict(TLS, replication_tls_key_file=""), "Only one of"),
    ("certificate_without_key", dict(replication_tls_key_file="/key"), "give both, or none"),
    ("tls_to_ipv6_address", dict(TLS, replication_peer="2001:db8::1"), "give the peer's host name"),
    ("ssh_without_other", dict(SSH, members=(), replication_peer=MX2), "needs both hosts in the inventory group"),
    ("ssh_without_client", dict(SSH, observed={"ssh_client": False}), "install the OpenSSH client (openssh-client)"),
    (
        "ssh_without_client",
        dict(SSH, observed={"ssh_client": False, "os_family": "redhat"}),
        "(openssh-clients), or use the scheme tcps",
    ),
    ("ssh_without_server", dict(SSH, observed={"ssh_host_keys": False}), "install the OpenSSH server"),
    ("ssh_without_user", dict(SSH, observed={"system_user": None}), "no user vmail on this host"),
    (
        "ssh_without_shell",
        dict(SSH, observed={"system_user": dict(USER, shell="/usr/sbin/nologin", can_log_in=False)}),
        "run `usermod -s /bin/sh vmail`",
    ),
    (
        "chrooted",
        dict(observed={"service": dict(OBSERVED["service"], chrooted=["a@x"])}),
        "give the users a home without `/./`",
    ),
    (
        "ssh_user_cannot_read",
        dict(SSH, observed={"system_user": dict(USER, config_problem="open(key) failed")}),
        "set replication_ssh_user to root",
    ),
    ("max_conns", dict(replication_max_conns=0), "replication_max_conns is 0"),
    ("full_sync_interval", dict(replication_full_sync_interval="3600"), "is '3600'"),
    ("full_sync_interval", dict(replication_full_sync_interval="0 days"), "such as '12 hours'"),
    ("full_sync_interval", dict(replication_full_sync_interval="1 day\nx"), "with a unit"),
    ("dsync_parameters", dict(replication_dsync_parameters="-N -l 30 -U"), "would fail without -d"),
    ("socket_mode", dict(replication_doveadm_socket={"mode": "0666"}), "socket replicator-doveadm is '0666'"),
    ("socket_mode", dict(replication_notify_fifo={"mode": "0606"}), "replication-notify-fifo"),
    # 0600 without quotes
    ("socket_mode", dict(replication_notify_socket={"mode": 384}), "in quotes"),
    ("socket_name", dict(replication_doveadm_socket={"path": "replicator-doveadn"}), "knows the purpose"),
    ("userdb_cannot_list", dict(observed=NOT_LISTING), "Dovecot's log says: no such table: users"),
    ("iterate_sql", dict(replication_iterate=SQL), "has none of `query`"),
    ("iterate_sql", dict(replication_iterate=dict(LDAP, query="x", attrs="a", filter="f")), "only there"),
    ("iterate_ldap", dict(replication_iterate=dict(LDAP, attrs="a")), "with the driver ldap"),
    ("iterate_ldap", dict(replication_iterate=dict(SQL, query="q", attrs="a", filter="f")), "driver sql has"),
]
# What is right although it looks like what is refused.
ACCEPTED = [
    dict(),
    TLS,
    SSH,
    dict(SSH, replication_secret=""),
    # A port is nobody's where Dovecot listens nowhere.
    {**SSH, **API, "replication_api_port": 12345},
    dict(SSH, observed={"system_user": None}, replication_install=True, previewing=True),
    API,
    dict(API, replication_api_tls=False, replication_api_listen=["127.0.0.1", "::1"]),
    dict(API, replication_firewall="ufw", replication_api_clients=["192.0.2.0/24", "2001:db8::/32"]),
    dict(replication_peer="192.0.2.2", members=()),
    dict(replication_peer="2001:db8::2"),
    dict(observed={"ssh_client": False, "ssh_host_keys": False}),
    dict(replication_full_sync_interval="12 Hours", replication_max_conns=1, replication_dsync_parameters="-d -N"),
    dict(replication_doveadm_socket={"mode": "0660", "group": "mail", "path": "/srv/replicator-doveadm"}),
    dict(replication_iterate=dict(SQL, query="SELECT 1")),
    dict(replication_iterate=dict(SQL, query="SELECT 1"), observed=NOT_LISTING),
    dict(replication_require_iteration=False, observed=NOT_LISTING),
    dict(replication_state="absent", observed=NOT_LISTING),
    dict(observed={"service": SERVICE}),
    dict(replication_iterate=dict(LDAP, attrs="mail=user", filter="(mail=*)")),
    dict(observed={"dovecot_version": None}, replication_install=True),
    # Taking replication away works whatever has become of the peer.
    dict(members=(MX1,), replication_state="absent", replication_secret="", replication_max_conns=0),
]


@pytest.mark.parametrize("name, given, words", ROWS)
def test_refused(name, given, words):
    found = refused(side(**given))
    assert name in [item["id"] for item in found]
    (message, *more) = [item["message"] for item in found if item["id"] == name]
    assert words in message and " Next step: " in message and message.endswith(".") and ".." not in message
    assert "a-long-secret" not in message and "hid" not in message


@pytest.mark.parametrize("given", ACCEPTED)
def test_accepted(given):
    assert refused(side(**given)) == []


@pytest.mark.parametrize(
    "given, said",
    [
        (dict(observed={"service": SERVICE}), True),
        (dict(observed={"service": SERVICE}, replication_require_iteration=False), False),
        (dict(observed={"service": SERVICE, "dovecot_version": None}, replication_install=True), False),
        (dict(observed=NOT_LISTING), False),
        (dict(), False),
    ],
)
def test_what_a_stopped_dovecot_was_not_asked_is_said(given, said):
    assert bool(side(**given).not_asked) == said


def test_each_refusal_has_a_row_and_an_id_of_its_own():
    ids = [item.id for item in REFUSALS]
    assert len(set(ids)) == len(ids)
    assert {name for name, dummy, dummy in ROWS} == set(ids)


def test_causes_come_before_what_follows_from_them():
    """A group without the host has no peer, whose name is then malformed as well."""
    found = [item["id"] for item in refused(side(members=("a", "b"), replication_secret=""))]
    assert found == ["not_a_member", "peer_malformed", "secret_empty"]
    found = [item["id"] for item in refused(side(replication_peer="mx2:12345", observed=UNKNOWN))]
    assert found == ["peer_malformed", "peer_unknown"]
