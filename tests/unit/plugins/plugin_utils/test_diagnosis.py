# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from observations that a live host is hard to bring into, and how findings are told."""

import copy

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._diagnosis import PAIR_RULES, RULES, findings

MX1, MX2 = "mx1", "mx2"


def setting(value, place=None):
    return {"value": value, "place": place}


def listener(name):
    path = f"/run/dovecot/{name}"
    access = {"exists": True, "mode": "0600", "owner": "vmail", "group": "root", "shut_out": []}
    return {"path": path, "configured": [path], **access}


def healthy(name):
    nobody = {"count": 0, "first": []}
    return {
        "hostname": name,
        "dovecot_version": "2.3.21.1 (abc)",
        "socket_path": "/run/dovecot/replicator-doveadm",
        "config_problem": None,
        "settings": {
            "values": {
                "base_dir": setting("/run/dovecot"),
                "doveadm_allowed_commands": setting(""),
                "doveadm_password": setting(None, "replication-secret.conf.ext line 1"),
                "dsync_alt_char": setting("_"),
                "plugin/mail_replica": setting("tcp:peer:1", "11-replication.conf line 9"),
                "replication_dsync_parameters": setting("-d -N -l 30 -U"),
                "replication_full_sync_interval": setting("1 days"),
                "replication_max_conns": setting("10"),
                "service/replicator/process_min_avail": setting("1"),
            },
            "mail_plugins": {"": setting("notify replication"), "lda": setting("notify replication")},
            "misplaced": [],
            "forbidden": [],
            "shared_namespaces": [],
            "shared_quota": [],
            "unknown_listeners": [],
        },
        "listeners": {
            name: listener(name) for name in ("replicator-doveadm", "replication-notify", "replication-notify-fifo")
        },
        "peer": {
            "replica": "tcp:peer:1",
            "problem": None,
            "host": "peer",
            "port": 1,
            "addresses": ["192.0.2.1"],
            "is_self": False,
            "stage": "ok",
            "answer": "",
        },
        "userdb": {"users": 4, "problem": None},
        "replicator": {
            "problem": None,
            "overview": {"queued_full_resync": 0, "known_users": 4},
            "failing": nobody,
            "running": [],
            "standing": nobody,
            "unlisted": nobody,
            "strangers": nobody,
            "doubles": nobody,
        },
        "accounts": {},
        "errors": [],
    }


@pytest.fixture
def seen():
    return {MX1: healthy(MX1), MX2: healthy(MX2)}


def ids(found):
    return [(finding["host"], finding["id"]) for finding in found]


def test_a_healthy_pair(seen):
    assert findings(seen) == []
    assert findings(seen, {"probes": [], "syncs": {MX1: "", MX2: ""}, "differing": [], "compared": 4}) == []


def test_one_host_alone(seen):
    assert findings({MX1: seen[MX1]}) == []


def test_a_queue_that_stands(seen):
    seen[MX1]["replicator"]["standing"] = {"count": 1, "first": ["alice"]}
    (finding,) = findings(seen)
    assert finding["id"] == "queue_standing" and "alice" in finding["evidence"]
    seen[MX1]["settings"]["values"]["replication_max_conns"] = setting("0", "12-replication-hold.conf line 3")
    assert ids(findings(seen)) == [(MX1, "on_hold")]


def test_idle_slots_and_old_successes_are_nothing(seen):
    seen[MX2]["replicator"]["running"] = [
        {"username": "alice", "type": "full", "status": "Waiting for dsync to finish", "seconds": 5000}
    ]
    assert findings(seen) == []


def test_starvation_only_where_the_queue_starves(seen):
    seen[MX1]["replicator"]["failing"] = {"count": 1, "first": [{"username": "alice", "success_age": 9}]}
    assert ids(findings(seen)) == [(MX1, "users_failing")]
    seen[MX1]["dovecot_version"] = "2.3.19.1 (abc)"
    assert ids(findings(seen)) == [(MX1, "users_failing"), (MX1, "starvation")]


@pytest.mark.parametrize(
    "proof, expected",
    [
        ({"sent": False, "announced": False, "arrived": False, "message": "No quota"}, "probe_not_saved"),
        ({"sent": True, "announced": False, "arrived": True, "message": ""}, "probe_not_announced"),
        ({"sent": True, "announced": False, "arrived": False, "message": "0 of 1 synced"}, "probe_lost"),
        ({"sent": True, "announced": True, "arrived": True, "message": ""}, None),
    ],
)
def test_probes(seen, proof, expected):
    found = findings(seen, {"probe_user": "probe", "probes": [{"from": MX2, "to": MX1, **proof}]})
    assert ids(found) == ([(MX2, expected)] if expected else [])
    assert all(proof["message"] in finding["evidence"] for finding in found)


def test_a_sync_that_failed(seen):
    (finding,) = findings(seen, {"syncs": {MX1: "", MX2: "0 of 4 users synced"}})
    assert (finding["host"], finding["id"], finding["evidence"]) == (MX2, "sync_failed", "0 of 4 users synced")


def test_errors_come_before_warnings_and_causes_before_what_follows(seen):
    seen[MX1]["replicator"]["failing"] = {"count": 1, "first": [{"username": "alice", "success_age": 9}]}
    seen[MX1]["peer"].update(stage="connect", answer="Connection refused")
    seen[MX2]["settings"]["values"]["service/replicator/process_min_avail"] = setting("0")
    assert ids(findings(seen)) == [(MX1, "peer_unreachable"), (MX1, "users_failing"), (MX2, "no_autostart")]


def test_where_the_configuration_cannot_be_read_nothing_else_is_said(seen):
    seen[MX1] = {"hostname": MX1, "config_problem": "Unknown setting: x"}
    assert ids(findings(seen)) == [(MX1, "configuration_invalid")]


def test_a_mailbox_made_twice_is_told_on_the_host_with_less_in_it(seen):
    account = {"exists": True, "noreplicate": False, "mail_replica": None}
    for host, guid, messages in ((MX1, "a", 5), (MX2, "b", 2)):
        seen[host]["accounts"] = {"alice": {**account, "mailboxes": {"INBOX": {"guid": guid, "messages": messages}}}}
    assert findings(copy.deepcopy(seen)) == []
    seen[MX1]["replicator"]["failing"] = {"count": 1, "first": [{"username": "alice", "success_age": None}]}
    first = findings(seen)[0]
    assert (first["host"], first["id"]) == (MX2, "mailbox_made_twice")
    assert "--mailbox-guid a INBOX" in first["cure"]


def test_ids_are_unique():
    names = [item.id for item in RULES + PAIR_RULES]
    assert len(names) == len(set(names)) > 40
