# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way in which the replicator cannot be reached has its own message, with a cure."""

import pytest
from conftest import API_KEY, API_URL, MX1, TRANSPORTS
from runs import changes, failures

MODULES = {
    "replicator_info": {},
    "replicator_user": {"users": ["alice@example.org"]},
    "replicator_replicate": {"users": ["alice@example.org"]},
    "replicator_wait": {},
    "node_info": {},
}

pytestmark = pytest.mark.on_one


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", MODULES)
def test_dovecot_without_a_replicator(host_without_replicator, name, transport):
    options = {"transport": transport, **TRANSPORTS[transport], **MODULES[name]}
    result = host_without_replicator.module(name, **options)
    assert result["failed"]
    if transport != "http":
        assert "removed in 2.4.0" in result["msg"] and "mailops.dovecot_replication.setup" in result["msg"]
    elif name != "node_info":
        assert "removed in 2.4.0" in result["msg"] and "ask its timer" in result["msg"]


def test_mail_is_read_without_a_replicator(host_without_replicator):
    """Here by the system's users of Debian's own configuration, of whom none has mail."""
    assert host_without_replicator.module("mailbox_info", users=["nobody"])["users"][0]["username"] == "nobody"
    unknown = host_without_replicator.module("mailbox_probe", user="nosuch", token="t")
    assert unknown["failed"] and "does not have nosuch" in unknown["msg"]


@pytest.mark.parametrize("playbook", ["verify", "status", "resync", "drain", "decommission"])
def test_playbooks_without_a_replicator(host_without_replicator, playbook):
    results = host_without_replicator.play(playbook, replication_hosts=MX1)
    assert all("removed in 2.4.0" in message for message in failures(results)) and failures(results)
    assert changes(results) == []


@pytest.mark.parametrize("name", ["auth-userdb", "anvil"])
def test_the_socket_of_another_service(pair, name):
    """One of them greets in its own way, the other says nothing."""
    result = pair.module("replicator_info", socket_path=f"/run/dovecot/{name}", timeout=1)
    assert result["failed"] and "another service's" in result["msg"]


def test_no_socket(pair, transport):
    result = pair.module("replicator_info", socket_path="/run/dovecot/nosuch")
    assert result["failed"]
    if transport == "http":
        assert "empty reply" in result["msg"] and "cannot reach the replicator's socket" in result["msg"]
    else:
        assert "No such file" in result["msg"] and "mode" in result["msg"]


@pytest.mark.parametrize("transport", ["socket", "doveadm"], indirect=True)
def test_a_stale_socket(pair, transport):
    pair.shell("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/stale\")'")
    try:
        result = pair.module("replicator_info", socket_path="/run/stale")
    finally:
        pair.shell("rm /run/stale")
    assert result["failed"] and "Connection refused" in result["msg"] and "start Dovecot" in result["msg"]


def test_dovecot_stopped(pair, transport):
    with pair.stopped(MX1):
        result = pair.module("replicator_user", users=["alice@example.org"])
    assert result["failed"]
    assert ("check that Dovecot runs" if transport == "http" else "Dovecot is stopped") in result["msg"]


@pytest.mark.parametrize("transport", ["socket", "doveadm"], indirect=True)
def test_no_permission(pair, transport):
    become = ["--become", "--become-method", "su", "--become-user", "nobody"]
    become += ["-e", "ansible_become_flags='-s /bin/sh'"]
    result = pair.module("replicator_info", ansible_options=become)
    assert result["failed"] and "Permission denied" in result["msg"] and "become" in result["msg"]


def test_a_base_dir_elsewhere_is_found(still):
    """The configuration says where the socket is; here it is that of a second instance."""
    still.have_users({"someone@x.org": ""})
    result = still.module("replicator_info")
    assert result["socket_path"] == "/run/still/replicator-doveadm"
    assert still.module("replicator_user", user_mask="*")["known_users"] >= 1
    assert still.module("replicator_info", user_mask="someone@x.org")["users"]


def test_doveadm_is_taken_where_only_it_can_do_what_is_asked(pair):
    result = pair.module("replicator_info", debug=True)
    assert result["transport"] == "doveadm" and any("Debug: " in line for line in result["debug_log"])
    result = pair.module("replicator_info", settings={"base_dir": "/run/nosuch"})
    assert result["failed"] and "/run/nosuch/replicator-doveadm" in result["msg"]
    result = pair.module("replicator_info", settings={"base_dir": "/run/nosuch"}, transport="socket")
    assert result["failed"] and "settings is for transport=doveadm" in result["msg"]
    result = pair.module("replicator_info", transport="doveadm", doveadm_path="/opt/nosuch/doveadm")
    assert result["failed"] and "/opt/nosuch/doveadm" in result["msg"]


def test_the_api_is_taken_when_it_is_named(pair):
    if pair.release == "bullseye":
        result = pair.module("replicator_info", api_url=API_URL, api_key=API_KEY)
        assert result["failed"] and "older than 2.3.17" in result["msg"]
    else:
        assert pair.module("replicator_info", api_url=API_URL, api_key=API_KEY)["transport"] == "http"


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(api_key="not-this-one"), "the key is wrong"),
        (dict(api_url=API_URL + "/elsewhere"), "leave the path out"),
        (dict(api_url="http://127.0.0.1:1"), "Connection refused"),
        (dict(api_url="https://127.0.0.1:8080"), "the listener has no TLS"),
        (dict(api_url="127.0.0.1:8080"), "https://host:port"),
        (dict(api_url="http://127.0.0.1:port"), "https://host:port"),
        (dict(api_url="http://127.0.0.1:143"), "no sound HTTP"),
        (dict(api_url="https://127.0.0.1:8080", ca_path="/nosuch.pem"), "/nosuch.pem"),
        (dict(api_url="https://127.0.0.1:8080", ca_path="/etc/passwd"), "in PEM"),
        (dict(api_key=""), "needs api_url and api_key"),
        (dict(debug=True), "transport=doveadm"),
    ],
)
def test_what_goes_wrong_with_the_api(pair, options, words):
    result = pair.module("replicator_info", **{"api_url": API_URL, "api_key": API_KEY, **options})
    assert result["failed"] and words in result["msg"]
    assert API_KEY not in str(result)


def test_the_api_over_tls(pair):
    if pair.release == "bullseye":
        pytest.skip("before Dovecot 2.3.17 the API has no replicator commands")
    pair.shell(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=mx1.example.org "
        "-addext subjectAltName=DNS:mx1.example.org -keyout /srv/api.key -out /srv/api.pem 2>/dev/null && "
        "printf 'service doveadm {\\n inet_listener http {\\n ssl = yes\\n }\\n}\\n"
        "ssl_cert = </srv/api.pem\\nssl_key = </srv/api.key\\n' > /etc/dovecot/conf.d/97-tls.conf && "
        "doveadm reload && sleep 1"
    )
    try:
        results = [
            pair.module("replicator_info", api_url=f"https://{host}:8080", api_key=API_KEY, **options)
            for host, options in [
                (MX1, dict(ca_path="/srv/api.pem")),
                ("127.0.0.1", dict(validate_certs=False)),
                (MX1, {}),
                ("127.0.0.1", dict(ca_path="/srv/api.pem")),
            ]
        ]
    finally:
        pair.shell("rm /etc/dovecot/conf.d/97-tls.conf; doveadm reload; sleep 1")
    assert [result["failed"] for result in results] == [False, False, True, True]
    assert all("ca_path" in result["msg"] for result in results[2:])
