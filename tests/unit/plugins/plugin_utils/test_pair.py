# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role decides for a host: a row for each setting and what becomes of it."""

import json
import re

import pytest
from sides import MX1, MX2, OBSERVED, PEER, side

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import source
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _role
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._pair import decide, needs_peer

KNOWN_HOSTS = "/etc/dovecot/replication-known-hosts"
DSYNC_SERVER = "/etc/dovecot/replication-dsync-server"
HOLD = "/etc/dovecot/replication-hold.conf.ext"
SECRETS = "/etc/dovecot/replication-secret.conf.ext"
ABSENT = {"replication_state": "absent"}
SSH = {"replication_scheme": "ssh"}
TLS = {
    "replication_scheme": "tcps",
    "replication_tls_ca_file": "/ca.pem",
    "replication_tls_cert_file": "/cert.pem",
    "replication_tls_key_file": "/key.pem",
}
IN_SERVICE = OBSERVED["service"]
API = {"replication_api_port": 8443, "replication_api_key": "another-one"}
REPLICATION, HTTP = "service/doveadm/inet_listener/replication", "service/doveadm/inet_listener/http"
DOVEADM, AGGREGATOR = "service/replicator/unix_listener", "service/aggregator"


def decided(**given):
    """Return what is decided for a host, with its variables."""
    decision = decide(side(**given), _role.render)
    assert decision.refused == []
    return decision


def written(decision, path):
    """Return the file at a path that is to be there, None where it is to be absent."""
    (file,) = [file for file in decision.config["files"] if file["path"] == path]
    return file["content"] if file["state"] == "present" else None


def settings(decision):
    """Return what our configuration file sets: values by name, inside a protocol's section by name and protocol."""
    found = source.parse(decision.config["settings"]["content"])
    return {item.setting if item.protocol is None else (item.setting, item.protocol): item.value for item in found}


# A variable of the role and what it becomes in the configuration; None: nothing sets it.
SETTINGS = [
    ({}, {"plugin/mail_replica": f"tcp:{MX2}:12345", "mail_plugins": None}),
    ({}, {"service/replicator/process_min_avail": "1", "dsync_remote_cmd": None, "replication_max_conns": None}),
    ({}, {f"{REPLICATION}/port": "12345", f"{REPLICATION}/ssl": "no", f"{REPLICATION}/address": None}),
    ({}, {f"{HTTP}/port": None, "doveadm_allowed_commands": None, ("ssl", "doveadm"): None}),
    ({"replication_port": 2525}, {f"{REPLICATION}/port": "2525", "plugin/mail_replica": f"tcp:{MX2}:2525"}),
    ({"replication_peer": "192.0.2.9"}, {"plugin/mail_replica": "tcp:192.0.2.9:12345"}),
    ({"replication_peer": "2001:db8::2"}, {"plugin/mail_replica": "tcp:[2001:db8::2]:12345"}),
    ({"replication_listen": ["192.0.2.1", "::1"]}, {f"{REPLICATION}/address": "192.0.2.1, ::1"}),
    ({"replication_max_conns": 3}, {"replication_max_conns": "3"}),
    ({"replication_full_sync_interval": "12 hours"}, {"replication_full_sync_interval": "12 hours"}),
    ({"replication_dsync_parameters": "-d -n inbox"}, {"replication_dsync_parameters": "-d -n inbox"}),
    ({"replication_last_valid_uid": 65533}, {"last_valid_uid": "65533"}),
    ({"replication_first_valid_uid": 1000}, {"first_valid_uid": "1000"}),
    (TLS, {"plugin/mail_replica": f"tcps:{MX2}:12345", f"{REPLICATION}/ssl": "yes"}),
    (TLS, {("ssl", "doveadm"): "yes", ("ssl_cert", "doveadm"): "</cert.pem", ("ssl_key", "doveadm"): "</key.pem"}),
    (TLS, {("ssl_client_ca_file", "doveadm"): "/ca.pem", ("ssl_client_require_valid_cert", "doveadm"): "yes"}),
    (API, {f"{HTTP}/port": "8443", f"{HTTP}/ssl": "yes", ("ssl_client_ca_file", "doveadm"): None}),
    ({**API, "replication_api_listen": ["127.0.0.1"]}, {f"{HTTP}/address": "127.0.0.1"}),
    (
        {**API, "replication_api_listen": ["127.0.0.1"], "replication_api_tls": False},
        {f"{HTTP}/ssl": "no", ("ssl", "doveadm"): None},
    ),
    ({**API, "replication_api_commands": ["user", "sync"]}, {"doveadm_allowed_commands": "sync,dsync-server,user"}),
    ({**API, "replication_api_commands": []}, {"doveadm_allowed_commands": None}),
    (SSH, {"plugin/mail_replica": f"remoteprefix:vmail@{MX2}", f"{REPLICATION}/port": None}),
    ({}, {f"{DOVEADM}/replicator-doveadm/mode": "0600", f"{DOVEADM}/replicator-doveadm/user": "vmail"}),
    (
        {"replication_mail_user": "mail"},
        {
            f"{DOVEADM}/replicator-doveadm/user": "mail",
            f"{AGGREGATOR}/unix_listener/replication-notify/user": "mail",
            f"{AGGREGATOR}/fifo_listener/replication-notify-fifo/user": "mail",
        },
    ),
    (
        {"replication_doveadm_socket": {"mode": "0660", "group": "staff", "path": "/srv/replicator-doveadm"}},
        {f"{DOVEADM}/\\ssrv\\sreplicator-doveadm/group": "staff", f"{DOVEADM}/replicator-doveadm/mode": None},
    ),
]


@pytest.mark.parametrize("given, expected", SETTINGS)
def test_a_variable_becomes_a_setting(given, expected):
    found = settings(decided(**given))
    assert {name: found.get(name) for name in expected} == expected


def test_ssh():
    decision = decided(**SSH, replication_ssh_port=2222, peer_host_keys=["ssh-ed25519 AAAA root@mx2", "ssh-rsa BBBB"])
    assert written(decision, KNOWN_HOSTS) == f"[{MX2}]:2222 ssh-ed25519 AAAA\n[{MX2}]:2222 ssh-rsa BBBB\n"
    assert written(decision, DSYNC_SERVER).startswith("#!/bin/sh\n")
    (script,) = [file for file in decision.config["files"] if file["path"] == DSYNC_SERVER]
    assert script["mode"] == "0755"
    assert settings(decision)["dsync_remote_cmd"] == (
        "ssh -i/etc/dovecot/replication-ssh-key -oIdentitiesOnly=yes -oBatchMode=yes -oStrictHostKeyChecking=yes "
        f"-oUserKnownHostsFile={KNOWN_HOSTS} -oCheckHostIP=no -oUpdateHostKeys=no -p2222 -l%{{login}} %{{host}} "
        "dsync-server"
    )
    assert decision.secrets == [] and "replication-secret" not in decision.config["settings"]["content"]
    assert decision.ssh and decision.ssh_keys_file == "/srv/vmail/.ssh/authorized_keys" and decision.needs["access"]


@pytest.mark.parametrize(
    "given, left", [(SSH, ["/root"]), ({}, ["/root", "/srv/vmail"]), (ABSENT, ["/root", "/srv/vmail"])]
)
def test_keys_that_let_the_peer_in_before(given, left):
    """When another user or another scheme is wanted, what the old one let in is taken away."""
    homes = ["/root", "/srv/vmail"]
    observed = {"authorized_keys": [f"{home}/.ssh/authorized_keys" for home in homes]}
    decision = decided(**given, observed=observed)
    assert decision.ssh_keys_left == [f"{home}/.ssh/authorized_keys" for home in left] and decision.needs["access"]


def test_what_is_taken_away():
    decision = decided(**ABSENT, **API, **TLS, replication_firewall="ufw", replication_api_clients=["192.0.2.7"])
    assert {file["path"]: file["state"] for file in decision.config["files"]} == dict.fromkeys(
        [KNOWN_HOSTS, DSYNC_SERVER, HOLD], "absent"
    )
    assert decision.config["settings"]["content"] == ""
    assert decision.secrets == [] and decision.config["expect"] == [] and decision.config["require_users"] == []
    assert [opening["open"] for opening in decision.openings] == [False, False]


def test_a_hold_outlives_a_set_up():
    config = decided().config
    assert HOLD not in [file["path"] for file in config["files"]]
    assert config["settings"]["content"].endswith(f"!include_try {HOLD}\n")


@pytest.mark.parametrize("given", [{}, API, TLS, SSH, {**API, **TLS}, ABSENT])
def test_the_decision_is_data_without_secrets(given):
    text = json.dumps(decided(**given)._asdict())
    assert "a-long-secret" not in text and "another-one" not in text


@pytest.mark.parametrize(
    "given, secrets",
    [
        ({}, ["doveadm_password"]),
        (API, ["doveadm_password", "doveadm_api_key"]),
        ({**API, **SSH}, ["doveadm_api_key"]),
        (SSH, []),
    ],
)
def test_secrets(given, secrets):
    decision = decided(**given)
    assert decision.secrets == secrets
    assert bool(secrets) == (f"!include_try {SECRETS}\n" in decision.config["settings"]["content"])


def test_what_is_expected_beyond_our_assignments():
    more = decided(**API, replication_base_dir="/run/x", replication_listen=["*"]).config["expect"]
    assert [(item["setting"], item.get("value")) for item in more[:2]] == [
        ("base_dir", "/run/x"),
        (f"{HTTP}/address", ""),
    ]
    assert more[2]["protocols"] == ["doveadm"] and more[2]["value"].startswith("sync,dsync-server,")
    assert {item["setting"] for item in more[3:]} == {"mail_chroot"}


def unmet(values, **given):
    """The settings of the administrator's that are not as they must be."""
    expected = [item for item in decided(**given).config["expect"] if "matches" in item]
    assert {item["setting"] for item in expected} >= set(values)
    return [item["setting"] for item in expected if not re.match(item["matches"], values.get(item["setting"], ""))]


BY_SETTING = {"service": {**IN_SERVICE, "mail_by_userdb": False}}


@pytest.mark.parametrize("value", ["", "sync dsync-server", "who,dsync-server,sync", "who, sync, dsync-server"])
def test_commands_that_allow_syncs(value):
    assert unmet({"doveadm_allowed_commands": value}) == []


@pytest.mark.parametrize("value", ["who,kick", "sync", "dsync-server", "dsync,dsync-servers", "resync,dsync-server"])
def test_commands_that_allow_no_syncs(value):
    assert unmet({"doveadm_allowed_commands": value}) == ["doveadm_allowed_commands"]


@pytest.mark.parametrize("value", ["*, ::", "*", "127.0.0.1, 192.0.2.1", "::1 ::", "mail.example.org"])
def test_addresses_that_a_peer_may_reach(value):
    assert unmet({"doveadm_allowed_commands": "", "listen": value}) == []


@pytest.mark.parametrize("value", ["127.0.0.1", "127.0.0.1, ::1", "localhost", "127.0.1.1 ::1"])
def test_addresses_that_no_peer_reaches(value):
    assert unmet({"doveadm_allowed_commands": "", "listen": value}) == ["listen"]
    assert not unmet({"doveadm_allowed_commands": ""}, replication_listen=["*"])


@pytest.mark.parametrize("value, wrong", [("", ["mail_location"]), ("maildir:~/Maildir", [])])
def test_where_mail_is(value, wrong):
    """Only where no userdb says it."""
    allowed = {"doveadm_allowed_commands": ""}
    assert unmet({**allowed, "mail_location": value}, observed=BY_SETTING) == wrong
    assert unmet(allowed) == []


def test_a_chroot():
    assert unmet({"mail_chroot": "/srv"}) == ["mail_chroot"]
    (refusal,) = decide(side(observed={"service": {**IN_SERVICE, "chrooted": ["a@x"]}}), _role.render).refused
    assert refusal["id"] == "chrooted" and refusal["message"].startswith("Mail processes of a@x run in a chroot.")


@pytest.mark.parametrize(
    "given, names",
    [
        (TLS, [MX1]),
        ({**TLS, "peer_calls_it": "192.0.2.1"}, ["192.0.2.1"]),
        ({**TLS, "replication_tls_cert_file": "", "replication_tls_key_file": ""}, []),
        ({**API, **TLS}, [MX1]),
        ({**API, **TLS, "replication_api_url": "https://api.example.org:8443"}, [MX1, "api.example.org"]),
        ({**API, "replication_tls_cert_file": "/c", "replication_tls_key_file": "/k"}, [MX1]),
        ({"replication_tls_cert_file": "/c", "replication_tls_key_file": "/k"}, []),
    ],
)
def test_names_that_certificates_must_be_for(given, names):
    assert [item["name"] for item in decided(**given).config["require_certificates"]] == names


@pytest.mark.parametrize(
    "given, openings",
    [
        ({}, [("192.0.2.2", 12345, True)]),
        (SSH, [("192.0.2.2", 12345, False)]),
        (
            {**API, "replication_api_clients": ["198.51.100.0/24"]},
            [("192.0.2.2", 12345, True), ("198.51.100.0/24", 8443, True)],
        ),
    ],
)
def test_whom_a_firewall_lets_in(given, openings):
    assert [tuple(opening.values()) for opening in decided(**given).openings] == openings


def test_nftables():
    assert decided().nftables["rules"] == "" == decided(**SSH, replication_firewall="nftables").nftables["unit"]
    opened = decided(**API, replication_firewall="nftables", replication_api_clients=["2001:db8::/32"]).nftables
    assert opened["rules"].splitlines()[3:] == [
        "add rule inet filter dovecot_replication ip saddr 192.0.2.2 tcp dport 12345 accept",
        "add rule inet filter dovecot_replication ip6 saddr 2001:db8::/32 tcp dport 8443 accept",
        "insert rule inet filter input tcp dport { 12345, 8443 } jump dovecot_replication",
    ]
    assert f"-f {opened['file']}\n" in opened["unit"]


def test_ports_under_selinux():
    assert decided().selinux_ports == []
    assert decided(observed={"selinux": True}).selinux_ports == [{"port": 12345, "open": True}]
    ports = decided(observed={"selinux": True}, **SSH, **API).selinux_ports
    assert ports == [{"port": 12345, "open": False}, {"port": 8443, "open": True}]


@pytest.mark.parametrize(
    "given, needs",
    [
        ({"replication_verify": False}, []),
        ({}, ["finish"]),
        ({"replication_verify": False, "replication_require_iteration": False}, ["finish"]),
        ({"replication_verify": False, **API}, ["finish"]),
        ({"replication_verify": False, "observed": {"service": None}}, ["finish"]),
        ({"replication_verify": False, "observed": {"service": {**IN_SERVICE, "users": None}}}, ["finish"]),
        ({"replication_verify": False, "observed": {"service": {**IN_SERVICE, "replicator_problem": "x"}}}, ["finish"]),
        ({"replication_verify": False, **SSH}, ["preflight", "access"]),
        ({"replication_verify": False, "replication_firewall": "ufw"}, ["access"]),
        ({"replication_verify": False, "observed": {"selinux": True}}, ["access"]),
        (ABSENT, ["access", "finish"]),
        (
            {"replication_verify": False, "replication_install": True, "observed": {"dovecot_version": None}},
            ["preflight"],
        ),
    ],
)
def test_what_has_something_to_do(given, needs):
    found = decided(**given).needs
    follows = found.pop("follow_up")
    assert [name for name, needed in found.items() if needed] == needs
    assert follows == bool(set(needs) - {"preflight"})


def test_packages():
    missing = {"replication_install": True, "observed": {"dovecot_version": None}}
    assert decided().packages == []
    assert decided(**missing).packages == ["dovecot-core", "dovecot-imapd", "dovecot-lmtpd"]
    assert decided(**missing, replication_packages=["dovecot-mine"]).packages == ["dovecot-mine"]


@pytest.mark.parametrize(
    "listen, tls, url",
    [
        ([], True, "https://127.0.0.1:8443"),
        (["*", "192.0.2.1"], True, "https://192.0.2.1:8443"),
        (["::1"], False, "http://[::1]:8443"),
    ],
)
def test_where_the_host_reaches_its_own_api(listen, tls, url):
    assert decided(**API, replication_api_listen=listen, replication_api_tls=tls).api_url == url


@pytest.mark.parametrize(
    "given, words",
    [
        ({"replication_scheme": "http"}, "value of replication_scheme must be one of: tcp, tcps, ssh, got: http"),
        ({"replication_state": "gone"}, "value of replication_state must be one of: present, absent, got: gone"),
        ({"replication_port": "many"}, "replication_port"),
        ({"replication_doveadm_socket": {"modus": "0600"}}, "modus"),
        ({"replication_iterate": {"driver": "sql"}}, "file"),
    ],
)
def test_variables_that_make_no_sense(given, words):
    dummy, (problem,) = _role.variables(lambda value: value, given)
    assert words in problem


def test_variables_of_the_command_line_are_text():
    given = {"replication_port": "2525", "replication_verify": "no", "replication_listen": "::1,192.0.2.1"}
    variables, problems = _role.variables(lambda value: value, given)
    assert problems == []
    assert (variables["replication_port"], variables["replication_verify"]) == (2525, False)
    assert variables["replication_listen"] == ["::1", "192.0.2.1"] and variables["replication_peer"] is None


V2_4 = {"dovecot_version": "2.4.1-4 (abc)"}


@pytest.mark.parametrize(
    "given",
    [
        dict(observed=V2_4),
        # Dovecot is still to be installed.
        dict(observed={"dovecot_version": None}, replication_install=True, replication_engine="timer"),
    ],
)
def test_a_host_without_a_replicator(given):
    pair = decided(**given)
    assert pair.by_syncer and pair.needs["syncer"]
    content = pair.config["settings"]["content"]
    assert "inet_listener replication" in content and "replicator {" not in content and "mail_replica" not in content
    assert pair.config["settings"]["plugins"] == [] and pair.config["require_users"] == []
    settings, service, timer = pair.syncer["files"]
    assert json.loads(settings["content"])["destination"] == f"tcp:{MX2}:12345"
    assert "dovecot-replication-syncer" in service["content"] and "OnUnitInactiveSec=60" in timer["content"]
    # The secret is in Dovecot's own file alone.
    assert "a-long-secret" not in str(pair)


def test_a_service_in_place_of_the_timer():
    pair = decided(observed=V2_4, replication_engine="service", replication_excluded_users=["spam@*"])
    content = pair.config["settings"]["content"]
    assert (
        "event_exporter_unix_path = /run/dovecot-replication/events" in content and "push_notification = yes" in content
    )
    settings, service, timer = pair.syncer["files"]
    assert json.loads(settings["content"])["engine"] == "service" and "spam@*" in settings["content"]
    assert "Type=notify" in service["content"] and timer["content"] == ""
    assert pair.syncer["unit"] == "dovecot-replication.service"
    assert "mail_plugins/push_notification" in [item["setting"] for item in pair.config["expect"]]


def test_where_dovecot_has_a_replicator_there_is_no_service():
    """So one variable is right for both hosts of a pair on its way."""
    pair = decided(replication_engine="service")
    assert not pair.by_syncer and "mail_replica" in pair.config["settings"]["content"]


ITERATE = {
    "driver": "ldap",
    "file": "/etc/dovecot/ldap",
    "attrs": "mail=user, =home=/srv/%{ldap:uid}",
    "filter": "(a=b)",
}


def test_how_the_userdb_of_2_4_lists_its_users():
    pair = decided(observed=V2_4, replication_iterate=ITERATE)
    content = pair.config["settings"]["content"]
    assert "userdb ldap {\n  iterate_fields {\n    user = %{ldap:mail}\n    home = /srv/%{ldap:uid}\n" in content
    assert pair.config["blocks"] == [] and "userdb/ldap/filter" in [item["setting"] for item in pair.config["expect"]]


def test_a_timer_goes_where_a_replicator_comes_back():
    pair = decided(observed={"has_syncer": True})
    assert not pair.by_syncer and pair.needs["syncer"] and all(not file["content"] for file in pair.syncer["files"])
    gone = decided(observed={**V2_4, "has_syncer": True}, replication_state="absent")
    assert not gone.by_syncer and gone.needs["syncer"] and gone.config["settings"]["content"] == ""
    assert not decided().needs["syncer"]


PARAMETERS = "replication_dsync_parameters = -d -N -l 30\n"


@pytest.mark.parametrize(
    "given, prepared",
    [
        ({}, False),
        ({"replication_upgrading": True}, True),
        ({"peer_observed": {**PEER, **V2_4}}, True),
        ({"peer_observed": PEER, "observed": {"dsync_parameters": "-d -N -l 30"}}, False),
        # The peer is not in this run.
        ({"observed": {"dsync_parameters": "-d -N -l 30"}}, True),
        ({"observed": {"dsync_parameters": "-d -N -l 60"}}, False),
    ],
)
def test_a_host_with_a_replicator_whose_peer_has_none(given, prepared):
    content = decided(**given).config["settings"]["content"]
    assert (PARAMETERS in content) is prepared


@pytest.mark.parametrize(
    "given, peer, needed",
    [
        ({}, {}, False),
        ({}, PEER, False),
        ({}, {**PEER, **V2_4}, True),
        ({}, {**PEER, "dovecot_version": None}, False),
        ({}, {**PEER, "hostname": MX1}, True),
        # The peer may have a replicator again.
        ({"observed": {"dsync_parameters": "-d -N -l 30"}}, PEER, True),
        ({"observed": V2_4}, {**PEER, **V2_4}, False),
        ({"observed": V2_4}, {**PEER, **V2_4, "hostname": MX1}, True),
        ({"peer_observed": {**PEER, **V2_4}}, {**PEER, **V2_4}, False),
    ],
)
def test_when_the_peer_makes_a_difference(given, peer, needed):
    host = side(**given)
    decision = {**decide(host, _role.render)._asdict(), "observed": host.observed}
    assert needs_peer(decision, peer) is needed


def test_two_hosts_of_one_name_can_be_taken_apart():
    assert decided(**ABSENT, peer_observed={**PEER, "hostname": MX1}).peer_seen


def test_the_parameters_of_an_administrator_stay():
    given = {"replication_dsync_parameters": "-d -n inbox -l 30", "replication_upgrading": True}
    content = decided(**given).config["settings"]["content"]
    assert "replication_dsync_parameters = -d -n inbox -l 30\n" in content


def test_tls_in_the_syntax_of_2_4():
    pair = decided(observed=V2_4, **TLS)
    content = pair.config["settings"]["content"]
    for line in (
        "ssl_server_cert_file = /cert.pem",
        "ssl_client_ca_file = /ca.pem",
        "ssl_client_require_valid_cert = yes",
    ):
        assert line in content
    assert "ssl" in [item["setting"] for item in pair.config["expect"]]
