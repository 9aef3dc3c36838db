# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observations of a healthy host, for tests of what `verify` makes of them."""

MX1, MX2 = "mx1", "mx2"


def setting(name, value, place=None):
    return {"setting": name, "value": value, "place": place}


def scope(protocol, *not_installed):
    value = {"value": "notify replication", "place": None, "left_out": [], "not_installed": list(not_installed)}
    return {"protocol": protocol, "filter": None, **value}


def change(seen, name, value, place=None):
    """Give a setting another value on a host."""
    in_force = seen["settings"]["in_force"]
    in_force[[item["setting"] for item in in_force].index(name)] = setting(name, value, place)


def listener(name):
    path = f"/run/dovecot/{name}"
    access = {"exists": True, "mode": "0600", "owner": "vmail", "group": "root", "shut_out": []}
    return {"name": name, "path": path, "configured": [path], "in_base_dir": True, **access}


def healthy(name):
    nobody = {"count": 0, "first": []}
    return {
        "hostname": name,
        "dovecot_version": "2.3.21.1 (abc)",
        "socket_path": "/run/dovecot/replicator-doveadm",
        "config_problem": None,
        "settings": {
            "in_force": [
                setting("base_dir", "/run/dovecot"),
                setting("doveadm_allowed_commands", ""),
                setting("doveadm_password", None, "replication-secret.conf.ext line 1"),
                setting("dsync_alt_char", "_"),
                setting("listen", "*, ::"),
                setting("mail_chroot", ""),
                setting("plugin/mail_replica", "tcp:peer:1", "11-replication.conf line 9"),
                setting("replication_dsync_parameters", "-d -N -l 30 -U"),
                setting("replication_full_sync_interval", "1 days"),
                setting("replication_max_conns", "10"),
                setting("service/doveadm/inet_listener/replication/address", ""),
                setting("service/replicator/process_min_avail", "1"),
            ],
            "mail_plugins": [scope(None), scope("lda")],
            "misplaced": [],
            "forbidden": [],
            "shared_namespaces": [],
            "shared_quota": [],
            "unknown_listeners": [],
            "other_doveadm_listeners": [],
            "mbox": [],
            "namespaces": [{"type": "private", "prefix": "", "separator": "", "inbox": True}],
        },
        "listeners": [
            listener(name) for name in ("replicator-doveadm", "replication-notify", "replication-notify-fifo")
        ],
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
        "userdb": {
            "users": 4,
            "problem": None,
            "passed_over": [],
            "without_mail": nobody,
            "aliases": nobody,
            "chrooted": nobody,
            "required": True,
        },
        "replicator": {
            "problem": None,
            "overview": {"queued_full_resync": 0, "known_users": 4},
            "summary": {"known_users": 4, "failing": 0, "newest_success_age": 5},
            "failing": nobody,
            "running": [],
            "standing": nobody,
            "unlisted": nobody,
            "unknown_users": nobody,
            "duplicate_spellings": nobody,
        },
        "metrics_dir": None,
        "accounts": [],
        "fields": [],
        "errors": [],
    }


def timed(name):
    """A healthy host whose Dovecot has no replicator."""
    seen = healthy(name)
    seen.update(
        dovecot_version="2.4.1-4 (abc)",
        engine="timer",
        socket_path=None,
        listeners=[],
        syncer={
            "destination": "tcp:peer:1",
            "interval": 60,
            "active": True,
            "enabled": True,
            "on_hold": False,
            "running": False,
            "round_age": 30,
            "round_problem": None,
            "listing_problem": None,
            "deaf": False,
            "missing": {"count": 0, "first": []},
            "problems": [],
        },
    )
    seen["settings"].update(leftovers=[], storage="maildir", mail_plugins=[])
    # doveconf of 2.4 does not know the settings of a replicator.
    for item in seen["settings"]["in_force"]:
        if "replica" in item["setting"]:
            item["value"] = ""
    return seen
