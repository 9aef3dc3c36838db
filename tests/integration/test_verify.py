# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is planted is found, with a cure that helps; a healthy pair gives no finding.

The planted rows make the table in docs/diagnosis.md. MAILOPS_UPDATE_DOCS=1 writes it, which `make docs` does.
"""

import json
import re
import shlex
import time

import pytest
import runs
from conftest import HOSTS, MX1, MX2
from runs import succeeded

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._diagnosis import findings

# The oldest one, which has troubles that newer ones no longer have.
PLANTED_ON = "bullseye"
ALICE = "alice@example.org"
OWN = "/etc/dovecot/conf.d/11-replication.conf"
EXTRA = "/etc/dovecot/conf.d/97-planted.conf"
SECRET = "/etc/dovecot/replication-secret.conf.ext"
AUTH = "/etc/dovecot/conf.d/10-auth.conf"
TABLE = runs.ROOT / "docs" / "diagnosis.md"
HEAD = """# What `verify` finds

Each row was planted on a pair of live hosts, found, cured by what the finding says, and gone afterwards. The test run
writes this table (`make docs`); `tests/integration/test_verify.py` fails when it is not true any more. `mx1.example.org` is
the host on which something was planted, Dovecot 2.3.13.

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
    "a public namespace": (
        extra(
            "namespace public {\n type = public\n separator = /\n prefix = Public/\n location = maildir:/srv/public\n}"
        ),
        ["shared_namespaces"],
    ),
    "a quota in a shared database": (extra("plugin {\n  quota = dict:User quota::proxy::quota\n}"), ["shared_quota"]),
    "`dsync_alt_char` on one host": (extra("dsync_alt_char = +"), ["alt_char_differs"]),
    "a line that Dovecot cannot read": (
        lambda pair: pair.shell(f"echo 'nonsense = 1' > {EXTRA}"),
        ["configuration_invalid"],
    ),
}


# Those whose cure is a decision: one of two ways, or something outside of Dovecot.
UNDECIDED = (
    "`tcp:` to a listener with TLS",
    "a certificate that nothing trusted has signed",
    "a public namespace",
    "a quota in a shared database",
    "a line that Dovecot cannot read",
)


def observe(pair):
    """What verify sees and concludes, without a proof."""
    seen = {host: pair.agent(host).module("replication_info") for host in HOSTS}
    for host, other in (HOSTS, HOSTS[::-1]):
        assert not seen[host]["failed"], seen[host]
        accounts = list(seen[other].get("accounts", {}))
        if accounts:
            seen[host] = pair.agent(host).module("replication_info", accounts=accounts)
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
def healthy(pair):
    """The pair, which is healthy before and afterwards."""
    kept = {host: pair.shell(f"cat {OWN}", host).stdout for host in HOSTS}
    yield pair
    for host in HOSTS:
        pair.lab.execute(host, "tee", OWN, stdin=kept[host])
        pair.lab.execute(host, "tee", SECRET, stdin="doveadm_password = only-for-the-lab\n")
        pair.shell(f"rm -f {EXTRA} /srv/replicator-doveadm /srv/other; systemctl reload dovecot", host)
    time.sleep(0.5)
    for host in HOSTS:
        pair.agent(host).module("replicator_replicate", user_mask="*", failed_only=True, wait=True, wait_timeout=20)
    assert observe(pair) == []


ROWS = {}
on_planted = pytest.mark.parametrize("pair", [PLANTED_ON], indirect=True)


def note(planted, found):
    ROWS[planted] = (planted, found)


@on_planted
@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_planted_is_found_and_cured(healthy, planted):
    plant, expected = PLANTED[planted]
    expected = [item if isinstance(item, tuple) else (MX1, item) for item in expected]
    plant(healthy)
    time.sleep(0.5)
    found = observe(healthy)
    assert ids(found) == expected
    note(planted, found)
    if planted not in UNDECIDED:
        apply(healthy, found[0])
        assert expected[0] not in ids(observe(healthy))
