# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be seen on one host of whether its replication works. PRIVATE to this collection.

Nothing here judges: what an observation means is decided on the controller, which has those of both hosts. All values
can be written as JSON, and lists are limited in length.
"""

import grp
import os
import pwd
import re
import stat
import time

from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _config_source, _peer
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config_check import ALWAYS_ENABLED
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._hosts import addresses_of, is_own
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._line_socket import LineSocket
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._protocol import decode_line
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replica import parse_replica

# Settings that are told with their place.
SETTINGS = (
    "base_dir",
    "doveadm_allowed_commands",
    "dsync_alt_char",
    "first_valid_uid",
    "last_valid_uid",
    "plugin/mail_replica",
    "replication_dsync_parameters",
    "replication_full_sync_interval",
    "replication_max_conns",
    "service/replicator/process_min_avail",
)
# Protocols in which mail changes, besides what is outside of all sections.
CHANGING_MAIL = ("doveadm", "imap", "lda", "lmtp", "pop3")
# Those that Dovecot reads outside of plugin sections only.
NOT_IN_PLUGIN = (
    "replication_dsync_parameters",
    "replication_full_sync_interval",
    "replication_max_conns",
    "doveadm_password",
    "doveadm_port",
)
FORBIDDEN = ("replication_sync_timeout",)
LISTENERS = ("replicator-doveadm", "replication-notify", "replication-notify-fifo")
# Of the services that have them, the one other listener that means something to Dovecot.
INTERNAL_LISTENER = "replicator"
ERRORS_SOCKET = "log-errors"
# After so many seconds a queue that stands still is seen as such.
SECOND_LOOK = 1.0
# So often it is looked whether those who failed have been tried again.
SETTLING_LOOKS = 5
# What is left of an error that goes over many lines.
LONGEST_ERROR = 400


class Configuration:
    """What one run of doveconf says is in force, and which line of the files says so."""

    def __init__(self, text):
        self._in_force = _config_source.parse(text)
        # The first line is ``# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf``.
        self._written = _config_source.read_assignments(text.partition("\n")[0].rpartition(": ")[2])

    def value(self, setting, protocol=None):
        found = _config_source.last(self._in_force, setting, protocol)
        return found.value.strip() if found else ""

    def place(self, setting, protocol=None):
        """Return the file and line that decide a setting, None for Dovecot's default."""
        found = _config_source.last(self._written, setting, protocol)
        return found.place if found else None

    def described(self, setting, protocol=None):
        return {"value": self.value(setting, protocol), "place": self.place(setting, protocol)}

    def enabled_protocols(self):
        return set(self.value("protocols").split()).union(ALWAYS_ENABLED)

    def written(self, wanted):
        """Return the assignments of the files for which ``wanted`` is true, a list of dicts."""
        return [{"setting": found.setting, "place": found.place} for found in self._written if wanted(found)]

    def listeners(self):
        """Return service and path of each UNIX socket and FIFO, pairs."""
        return _config_source.listeners(self._in_force, self.value("base_dir"))

    def named(self, pattern):
        """Return what is in force with a name that matches: pairs of match and value."""
        pairs = [(re.match(pattern, found.setting), found.value.strip()) for found in self._in_force]
        return [(match, value) for match, value in pairs if match]


def settings(configuration):
    """Return what the configuration says that matters to replication, a dict."""
    enabled = configuration.enabled_protocols()
    plugins = {"": configuration.described("mail_plugins")}
    for protocol in CHANGING_MAIL:
        if protocol in enabled:
            plugins[protocol] = configuration.described("mail_plugins", protocol)
    values = {name: configuration.described(name) for name in SETTINGS}
    # A secret, of which only the place is told.
    values["doveadm_password"] = dict(configuration.described("doveadm_password"), value=None)
    return {
        "values": values,
        "mail_plugins": plugins,
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


def listeners(configuration):
    """Return the sockets of replication: a dict of their names to a dict, see the module's documentation."""
    found = {}
    for name in LISTENERS:
        paths = [path for dummy, path in configuration.listeners() if os.path.basename(path) == name]
        expected = os.path.join(configuration.value("base_dir"), name)
        path = expected if expected in paths or not paths else paths[0]
        found[name] = dict(_on_disk(path), configured=paths, path=path)
    return found


def _on_disk(path):
    try:
        status = os.stat(path)
    except OSError:
        return {"exists": False, "mode": None, "owner": None, "group": None}
    return {
        "exists": True,
        "mode": "%04o" % stat.S_IMODE(status.st_mode),
        "owner": _named(pwd.getpwuid, status.st_uid),
        "group": _named(grp.getgrgid, status.st_gid),
    }


def _named(look_up, number):
    try:
        return look_up(number)[0]
    except KeyError:
        return str(number)


def cannot_write(path, uid):
    """Tell whether a user may not write to a socket or FIFO, by its owner, groups and mode."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    if uid in (0, status.st_uid):
        return uid != 0 and not status.st_mode & stat.S_IWUSR
    try:
        user = pwd.getpwuid(uid)
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        groups = []
    return not status.st_mode & (stat.S_IWGRP if status.st_gid in groups else stat.S_IWOTH)


def peer(configuration, of_users, timeout, run_command):
    """Return where this host syncs to, and how far logging in there comes, a dict.

    :arg of_users: values of mail_replica that the userdb has, which come before that of the configuration
    """
    text = sorted(of_users)[0] if of_users else configuration.value("plugin/mail_replica")
    replica = parse_replica(text, int(configuration.value("doveadm_port") or 0))
    result = {"replica": text, "problem": replica.problem, "host": replica.host, "port": replica.port}
    if replica.problem:
        return dict(result, addresses=[], is_self=False, stage=None, answer=None)
    addresses = addresses_of(replica.host)
    tls = {name: configuration.value(name, "doveadm") for name in ("ssl_client_ca_file", "ssl_client_ca_dir")}
    attempt = _peer.attempt(
        replica,
        _peer.Settings(
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


def queue(client, limit, sleep=time.sleep):
    """Return what the replicator has to do and does, a dict. A queue that does not move is looked at twice."""
    looks = 0
    while True:
        statuses, slots = client.users(), client.dsyncs()
        running = {slot.username: slot for slot in slots if slot.username}
        asked = {status.username for status in statuses.values() if status.priority != "none"}
        looks += 1
        trying_again = any(statuses[name].failed for name in asked.union(running) if name in statuses)
        if not trying_again or looks == SETTLING_LOOKS:
            break
        # As after a set-up. Only the outcome counts.
        sleep(SECOND_LOOK)
    standing = asked.difference(running)
    if standing and not running:
        sleep(SECOND_LOOK)
        again, slots = client.users(), client.dsyncs()
        still = {name for name in standing if name in again and again[name].priority != "none"}
        standing = set() if any(slot.username for slot in slots) else still
    elif running:
        standing = set()
    failing = sorted((status for status in statuses.values() if status.failed), key=lambda status: status.username)
    return {
        "overview": client.overview(),
        "failing": _first(
            limit, [{"username": status.username, "success_age": status.successful_sync.age} for status in failing]
        ),
        "running": [
            {
                "username": name,
                "type": running[name].type,
                "status": running[name].status,
                "seconds": statuses[name].fast_sync.age if name in statuses else None,
            }
            for name in sorted(running)
        ],
        "standing": _first(limit, sorted(standing)),
        "statuses": statuses,
    }


def _first(limit, items):
    return {"count": len(items), "first": items[:limit]}


def sample(names, size):
    """Return so many of the names, evenly spread."""
    names = sorted(names)
    size = min(size, len(names))
    return [names[index * len(names) // size] for index in range(size)]


def recent_errors(base_dir, timeout, about, since, limit):
    """Return the last errors that Dovecot has in memory about users, or about the replicator: a list of texts.

    :arg about: names; a text is about one that it contains
    :arg since: Unix seconds
    """
    try:
        connection = LineSocket(os.path.join(base_dir, ERRORS_SOCKET), timeout, {})
    except DovecotError:
        return []
    texts = []
    try:
        while True:
            line = connection.read_line()
            if line is None:
                break
            # Type, time, prefix, text; src/log/log-error-buffer.c.
            fields = decode_line(line)
            if len(fields) == 4 and float(fields[1] or 0) >= since:
                text = fields[2].rstrip(": ") + ": " + fields[3]
                if text.startswith("replicator") or any(name in text for name in about):
                    texts.append(text[:LONGEST_ERROR])
    except (DovecotError, ValueError):
        pass
    finally:
        connection.close()
    return texts[-limit:]
