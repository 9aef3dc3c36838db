# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of an observation of one host: configuration, sockets, peer, queue, errors. PRIVATE to this collection.

Nothing here judges: the controller does, which has the observations of both hosts. All values can be written as JSON,
and lists are limited in length. RETURN of the module node_info describes them.
"""

import os
import pwd
import re
import stat
import time
from typing import Any, Callable, Collection, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.accounts import group_name, user_name
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.commands import RunCommand
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.hosts import addresses_of, is_own
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import plugins
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import Configuration, words
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.source import Section
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.spelling import seconds_in
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node import peer as peer_login
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.replica import parse_replica
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import error_log
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.summary import summarized
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb import PLACES, Account

# Settings that are returned with their place.
SETTINGS = (
    "base_dir",
    "doveadm_allowed_commands",
    "dsync_alt_char",
    "first_valid_uid",
    "last_valid_uid",
    "listen",
    "mail_chroot",
    "plugin/mail_replica",
    "replication_dsync_parameters",
    "replication_full_sync_interval",
    "replication_max_conns",
    "service/doveadm/inet_listener/replication/address",
    "service/replicator/process_min_avail",
)
# Protocols in which mail changes, besides what is outside of all sections.
CHANGING_MAIL = ("doveadm", "imap", "lda", "lmtp", "pop3")
# Settings that Dovecot ignores inside a plugin section.
NOT_IN_PLUGIN = (
    "replication_dsync_parameters",
    "replication_full_sync_interval",
    "replication_max_conns",
    "doveadm_password",
    "doveadm_port",
)
FORBIDDEN = ("replication_sync_timeout",)
LISTENERS = ("replicator-doveadm", "replication-notify", "replication-notify-fifo")
# The only other listener of these services that Dovecot uses.
INTERNAL_LISTENER = "replicator"
# Seconds between two looks at a queue that does not move.
SECOND_LOOK = 1.0
# Looks at a queue until the failed users that it retries have ended.
SETTLING_LOOKS = 5
# Characters of an error that are returned.
LONGEST_ERROR = 400

SERVICES_OF_2_3 = re.compile("service/(?:replicator|aggregator)/")
FIELDS_FOR_ALL = re.compile(r"userdb\[\d+\]/(?:default|override)_fields\Z")

# Part of the module's result, described in its RETURN.
Described = Dict[str, Any]


def excerpt(items: Sequence[Any], limit: int) -> Described:
    """Return how many items there are, and the first of them.

    >>> excerpt(["a", "b", "c"], 2)
    {'count': 3, 'first': ['a', 'b']}
    """
    return {"count": len(items), "first": list(items[:limit])}


def settings(configuration: Configuration) -> Described:
    """Return what the configuration says about replication."""
    # Of a secret only the place is returned.
    secret = dict(configuration.described("doveadm_password"), setting="doveadm_password", value=None)
    return {
        "storage": storage(configuration),
        "leftovers": leftovers(configuration),
        "in_force": [dict(configuration.described(name), setting=name) for name in SETTINGS] + [secret],
        "full_sync_interval": seconds_in(configuration.value("replication_full_sync_interval")),
        "mail_plugins": mail_plugins(configuration),
        "misplaced": configuration.written(
            lambda found: found.setting.startswith("plugin/") and found.setting.split("/")[-1] in NOT_IN_PLUGIN
        ),
        "forbidden": configuration.written(lambda found: found.setting.split("/")[-1] in FORBIDDEN),
        "unknown_listeners": sorted(
            os.path.basename(path)
            for service, path in configuration.listeners()
            if service in ("replicator", "aggregator")
            and os.path.basename(path) not in LISTENERS + (INTERNAL_LISTENER,)
        ),
        "namespaces": namespaces(configuration),
        "mbox": sorted(
            match.group(0)
            for match, value in configuration.named(r"(mail_location|namespace\[\d+\]/location)\Z")
            if value.startswith("mbox:")
        )
        + (["mail_driver"] if configuration.value("mail_driver") == "mbox" else []),
        "other_doveadm_listeners": [
            {"port": port, "place": configuration.place(match.group(0))}
            for match, port in configuration.named(r"service/doveadm/inet_listener(?!/replication/|/http/).*/port\Z")
            if port != "0"
        ],
        "shared_namespaces": sorted(
            {value for match, value in configuration.named(r"namespace\[\d+\]/type\Z") if value in ("shared", "public")}
        ),
        # The kind of database, as the rest may have a password in it.
        "shared_quota": [
            found.group(1)
            for found in (
                re.match(r"dict:.*(proxy|redis):", value) for dummy, value in configuration.named(r"plugin/quota\w*\Z")
            )
            if found
        ],
    }


def storage(configuration: Configuration) -> str:
    """Return the format of the mail, such as ``maildir``, empty where the userdb says it, or nobody."""
    return configuration.value("mail_driver") or configuration.value("mail_location").partition(":")[0]


def leftovers(configuration: Configuration) -> List[Described]:
    """Return what is written for a replicator or its plugin, and has no place in Dovecot 2.4."""
    return configuration.written(
        lambda found: (
            bool(SERVICES_OF_2_3.match(found.setting))
            or found.setting.split("/")[-2:] == ["mail_plugins", "replication"]
            or found.setting.split("/")[-1] == "mail_plugins"
            and "replication" in found.value.split()
        )
    )


def namespaces(configuration: Configuration) -> List[Described]:
    """Return the namespaces that are in use and are no other name of another one."""
    found: Dict[str, Dict[str, str]] = {}
    for match, value in configuration.named(r"namespace\[(\d+)\]/(\w+)\Z"):
        found.setdefault(match.group(1), {})[match.group(2)] = value
    return [
        {
            "type": item.get("type", "private"),
            "prefix": item.get("prefix", ""),
            "separator": item.get("separator", ""),
            "inbox": item.get("inbox") == "yes",
        }
        for item in found.values()
        if not item.get("alias_for") and item.get("disabled") != "yes"
    ]


def mail_plugins(configuration: Configuration) -> List[Described]:
    """Return the plugins outside of sections, in each protocol that changes mail, and for some connections only."""
    enabled = configuration.enabled_protocols()
    found = []
    for protocol in [None] + [name for name in CHANGING_MAIL if name in enabled]:
        section: Section = (("protocol", protocol),) if protocol else ()
        loaded = " ".join(plugins.in_force(configuration, protocol))
        found.append((section, protocol, dict(configuration.described(plugins.PLUGINS, protocol), value=loaded)))
    for printed in configuration.for_some:
        if printed.setting == plugins.PLUGINS and (printed.protocol or CHANGING_MAIL[0]) in CHANGING_MAIL:
            deciding = plugins.theirs((), configuration, printed.section)
            place = deciding.place if deciding else None
            found.append((printed.section, printed.protocol, {"value": printed.value, "place": place}))
    return [
        {
            "value": " ".join(words(item["value"] or "")),
            "place": item["place"],
            "protocol": protocol,
            "filter": " ".join("%s %s" % block for block in section if block[0] != "protocol") or None,
            "left_out": plugins.left_out(plugins.OWN_FILES, configuration, section, item["value"] or ""),
            "not_installed": [
                {
                    "plugin": name,
                    "place": configuration.place("%s/%s" % (plugins.PLUGINS, name), protocol) or item["place"],
                }
                for name in plugins.without_file(configuration, words(item["value"] or ""))
            ],
        }
        for section, protocol, item in found
    ]


def listeners(configuration: Configuration) -> List[Described]:
    """Return the sockets of replication."""
    found = []
    for name in LISTENERS:
        paths = [path for dummy, path in configuration.listeners() if os.path.basename(path) == name]
        expected = os.path.join(configuration.base_dir(), name)
        path = expected if expected in paths or not paths else paths[0]
        found.append(dict(_on_disk(path), name=name, configured=paths, in_base_dir=path == expected, path=path))
    return found


def _on_disk(path: str) -> Described:
    try:
        status = os.stat(path)
    except OSError:
        return {"exists": False, "mode": None, "owner": None, "group": None}
    return {
        "exists": True,
        "mode": "%04o" % stat.S_IMODE(status.st_mode),
        "owner": user_name(status.st_uid),
        "group": group_name(status.st_gid),
    }


class Owner(NamedTuple):
    """As whom the processes run that change a user's mail.

    :arg gids: of the account and the configuration; the groups that the system gives to the user come in addition
    """

    uid: int
    gids: Tuple[int, ...] = ()


def cannot_write(path: str, owner: Owner) -> bool:
    """Tell whether an owner of mail may not write to a socket or FIFO, by its owner, group and mode."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    if owner.uid in (0, status.st_uid):
        return owner.uid != 0 and not status.st_mode & stat.S_IWUSR
    try:
        user = pwd.getpwuid(owner.uid)
        groups: List[int] = os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        groups = []
    in_group = status.st_gid in groups or status.st_gid in owner.gids
    return not status.st_mode & (stat.S_IWGRP if in_group else stat.S_IWOTH)


def replica(configuration: Configuration, of_users: Collection[str]) -> str:
    """Return where the replicator of this host syncs to.

    :arg of_users: values of mail_replica that the userdb has, for where the configuration has none
    """
    return configuration.value("plugin/mail_replica") or (sorted(of_users) + [""])[0]


def peer(configuration: Configuration, text: str, timeout: float, run_command: RunCommand) -> Described:
    """Return where this host syncs to, and how far a log-in there gets.

    :arg text: the destination
    :arg timeout: seconds for each step
    """
    found = parse_replica(text, int(configuration.value("doveadm_port") or 0))
    result = {"replica": text, "problem": found.problem, "host": found.host, "port": found.port}
    if found.problem:
        return dict(result, addresses=[], is_self=False, stage=None, answer=None)
    addresses = addresses_of(found.host or "")
    tls = {name: configuration.value(name, "doveadm") for name in ("ssl_client_ca_file", "ssl_client_ca_dir")}
    attempt = peer_login.attempt(
        found,
        peer_login.Settings(
            username=configuration.value("doveadm_username") or "doveadm",
            password=configuration.value("doveadm_password"),
            ca_file=tls["ssl_client_ca_file"],
            ca_dir=tls["ssl_client_ca_dir"],
            verify=configuration.value("ssl_client_require_valid_cert", "doveadm") != "no",
            remote_command=configuration.value("dsync_remote_cmd"),
        ),
        timeout,
        run_command,
    )
    return dict(
        result,
        addresses=addresses,
        is_self=any(is_own(address) for address in addresses),
        stage=attempt.stage,
        answer=attempt.answer,
    )


def overrides(accounts: Iterable[Account], configuration: Configuration, limit: int) -> List[Described]:
    """Return the userdb fields that replace settings: which value which users have.

    Where mail is differs from user to user. So that field is returned only where users share a place, and for mbox.
    """
    users: Dict[Tuple[str, str], List[str]] = {}
    for account in accounts:
        for field in account.overrides:
            users.setdefault(field, []).append(account.username)
    return [
        {
            "field": field,
            "value": value,
            "place": _place_of_field(configuration, field),
            "users": excerpt(sorted(users[field, value]), limit),
            "replica": _replica_of_users(configuration, value) if field == "mail_replica" else None,
        }
        for field, value in sorted(users)
        if field not in PLACES or value.startswith("mbox:") or len(users[field, value]) > 1 and ":/" in value
    ]


def _place_of_field(configuration: Configuration, field: str) -> Optional[str]:
    """Return where a userdb of the configuration gives a field to all its users."""
    for found in configuration.assignments:
        if FIELDS_FOR_ALL.match(found.setting):
            if field in [word.partition("=")[0] for word in found.value.split()]:
                return found.place
    return None


def _replica_of_users(configuration: Configuration, value: str) -> Described:
    replica = parse_replica(value, int(configuration.value("doveadm_port") or 0))
    addresses = addresses_of(replica.host) if replica.host else []
    return {
        "problem": replica.problem,
        "port": replica.port,
        "addresses": addresses,
        "is_self": any(is_own(address) for address in addresses),
    }


def queue(client: Any, limit: int, on_hold: bool, sleep: Callable[[float], None] = time.sleep) -> Described:
    """Return the state of the replicator, and its list as ``statuses``.

    A queue that does not move gets a second look.

    :arg client: a ReplicatorClient
    :arg on_hold: whether the configuration keeps syncs from being started
    """
    looks = 0
    while True:
        statuses, slots = client.users(), client.dsyncs()
        running = {slot.username: slot for slot in slots if slot.username}
        asked = {status.username for status in statuses.values() if status.priority != "none"}
        looks += 1
        trying_again = any(statuses[name].failed for name in asked.union(running) if name in statuses)
        if not trying_again or looks == SETTLING_LOOKS:
            break
        # The replicator retries, as after a set-up. Only the outcome counts.
        sleep(SECOND_LOOK)
    standing = asked.difference(running)
    if standing and not running:
        sleep(SECOND_LOOK)
        again, slots = client.users(), client.dsyncs()
        still = {name for name in standing if name in again and again[name].priority != "none"}
        standing = set() if any(slot.username for slot in slots) else still
    elif running:
        standing = set()
    return {
        "overview": client.overview(),
        "summary": summarized(statuses.values(), slots, on_hold),
        "failing": excerpt(sorted(status.username for status in statuses.values() if status.failed), limit),
        "running": [
            {
                "username": name,
                "type": running[name].type,
                "status": running[name].status,
                "seconds": statuses[name].fast_sync.age if name in statuses else None,
            }
            for name in sorted(running)
        ],
        "standing": excerpt(sorted(standing), limit),
        "statuses": statuses,
    }


def recent_errors(base_dir: str, timeout: float, about: Collection[str], since: float, limit: int) -> List[str]:
    """Return the last errors that Dovecot has in memory about users or the replicator, oldest first.

    :arg about: names; an error is about a user whose name it contains
    :arg since: Unix seconds
    """
    texts = [
        text[:LONGEST_ERROR]
        for text in error_log.read(base_dir, timeout, since)
        if text.startswith("replicator") or any(name in text for name in about)
    ]
    return texts[-limit:]
