# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a pair, from what was observed on its hosts. Pure. PRIVATE to this collection.

Each rule is a function that yields the evidence for its finding, once for each time it is true. The rules stand in the
order in which a person should read their findings: causes before what follows from them.
"""

import json
import shlex
from collections import namedtuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveconf import parse_version
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._names import enumerated

# ``error``: mail is not replicated now. ``warning``: some day it will not be, or somebody could see to that.
ERROR, WARNING = "error", "warning"

Rule = namedtuple("Rule", "id severity summary cure look")
# A host of a pair: its name, its observation, and the Host that is its peer, None where that was not observed.
Host = namedtuple("Host", "name seen peer")

PLAYBOOK = "ansible-playbook mailops.dovecot_replication."
SETUP = f"`{PLAYBOOK}setup`"
# The files that the role writes; what is wrong there it mends.
OWN_FILES = ("11-replication.conf", "replication-secret.conf.ext")
# The file with which the playbook ``drain`` keeps syncs from being started.
HOLD_FILE = "12-replication-hold.conf"
# Before it one failing user keeps others waiting; see the NEWS of Dovecot 2.3.20.
QUEUE_MENDED = (2, 3, 20)
NEEDED_COMMANDS = ("sync", "dsync-server")

RULES = []
PAIR_RULES = []


def rule(name, severity, summary, cure, rules=None):
    """Make a function a rule for each host: from a Host it yields dicts of ``evidence`` and what the cure names."""

    def add(look):
        (RULES if rules is None else rules).append(Rule(name, severity, summary, cure, look))
        return look

    return add


def findings(observations, proof=None):
    """Return what is wrong, a list of dicts of ``id``, ``severity``, ``host``, ``summary``, ``evidence`` and ``cure``.

    :arg observations: results of the module replication_info, a dict by host of one pair
    :arg proof: what came of the attempt to replicate, see the filter's documentation
    """
    hosts = [Host(name, seen, None) for name, seen in sorted(observations.items())]
    if len(hosts) == 2:
        hosts = [hosts[0]._replace(peer=hosts[1]), hosts[1]._replace(peer=hosts[0])]
    found = []
    for item in RULES:
        for host in hosts:
            # Of a host whose configuration cannot be read nothing else was observed.
            if item.id == "configuration_invalid" or host.seen.get("config_problem") is None:
                found += [_finding(item, host.name, details) for details in item.look(host)]
    for item in PAIR_RULES:
        found += [_finding(item, details["host"], details) for details in item.look(hosts, proof or {})]
    return sorted(found, key=lambda finding: finding["severity"] != ERROR)


def _finding(item, host, details):
    details = {"host": host, **details}
    return {
        "id": item.id,
        "severity": item.severity,
        "host": host,
        "summary": item.summary % details,
        "evidence": details["evidence"],
        "cure": item.cure % details,
    }


def resync(names):
    """Return the command that has users synced again."""
    return f"{PLAYBOOK}resync -e '{json.dumps({'replication_users': names})}'"


def _is_own(place):
    return any(name in place for name in OWN_FILES)


def _mend(host, place):
    """Return how to get rid of what a line says: the role does it where the line is its own, or is missing."""
    if place is None or _is_own(place):
        return f"Run {SETUP}."
    return f"Remove {place}, then run `systemctl reload dovecot` on {host.name}."


def _setting(host, name):
    return host.seen["settings"]["values"][name]


def _is(setting):
    return "%s (%s)" % (
        repr(setting["value"]) if setting["value"] else "empty",
        "set in " + setting["place"] if setting["place"] else "no file sets it",
    )


# The configuration, by itself


@rule(
    "configuration_invalid",
    ERROR,
    "Dovecot cannot read its configuration and will not start again.",
    "Mend what doveconf names on %(host)s, then run `systemctl restart dovecot` there.",
)
def _configuration_invalid(host):
    if host.seen.get("config_problem"):
        yield {"evidence": host.seen["config_problem"]}


@rule(
    "sync_timeout_set",
    ERROR,
    "With replication_sync_timeout the replicator takes all memory and dies at the first mail.",
    "%(mend)s",
)
def _sync_timeout(host):
    for item in host.seen["settings"]["forbidden"]:
        yield {
            "evidence": f"{item['setting']} is set in {item['place']}",
            "mend": _mend(host, item["place"]),
        }


@rule(
    "plugins_incomplete",
    ERROR,
    "The plugin replication is loaded without notify, so no mail process starts at all.",
    "%(mend)s",
)
def _plugins_incomplete(host):
    yield from _lacking(host, lambda plugins: "replication" in plugins and "notify" not in plugins)


@rule(
    "plugins_missing",
    ERROR,
    "Changes of mail do not start a sync, as the plugins notify and replication are not loaded.",
    "%(mend)s Or begin the value there with $mail_plugins.",
)
def _plugins_missing(host):
    yield from _lacking(host, lambda plugins: "replication" not in plugins)


def _lacking(host, wrong):
    scopes = [
        (scope, setting)
        for scope, setting in sorted(host.seen["settings"]["mail_plugins"].items())
        if wrong(setting["value"].split())
    ]
    if scopes:
        parts = [
            f"{'inside protocol ' + scope if scope else 'outside of sections'} {_is(value)}" for scope, value in scopes
        ]
        place = next((setting["place"] for dummy, setting in scopes if setting["place"]), None)
        yield {"evidence": "mail_plugins is " + ", ".join(parts), "mend": _mend(host, place)}


@rule(
    "dsync_parameters",
    ERROR,
    "Each sync fails, as replication_dsync_parameters lacks -d.",
    "%(mend)s Dovecot's default is right: -d -N -l 30 -U.",
)
def _dsync_parameters(host):
    setting = _setting(host, "replication_dsync_parameters")
    if "-d" not in setting["value"].split():
        yield {
            "evidence": f"replication_dsync_parameters is {_is(setting)}",
            "mend": _mend(host, setting["place"]),
        }


@rule(
    "peer_not_told",
    WARNING,
    "The peer is not told of syncs and noreplicate is ignored, as replication_dsync_parameters lacks -U.",
    "%(mend)s Dovecot's default is right: -d -N -l 30 -U.",
)
def _peer_not_told(host):
    setting = _setting(host, "replication_dsync_parameters")
    if "-U" not in setting["value"].split():
        yield {
            "evidence": f"replication_dsync_parameters is {_is(setting)}",
            "mend": _mend(host, setting["place"]),
        }


@rule(
    "commands_not_allowed",
    ERROR,
    "Syncs are refused, as doveadm_allowed_commands leaves out a command that they use.",
    "%(mend)s Or add sync,dsync-server to the value.",
)
def _commands_not_allowed(host):
    setting = _setting(host, "doveadm_allowed_commands")
    allowed = [word.strip() for word in setting["value"].replace(",", " ").split()]
    if allowed and set(NEEDED_COMMANDS).difference(allowed):
        yield {
            "evidence": f"doveadm_allowed_commands is {_is(setting)}",
            "mend": _mend(host, setting["place"]),
        }


def _held(host):
    setting = _setting(host, "replication_max_conns")
    return setting["value"] == "0" and HOLD_FILE in (setting["place"] or "")


@rule(
    "on_hold",
    WARNING,
    "Replication from this host is on hold: it starts no sync until it is released.",
    f"When the maintenance is over, run `{PLAYBOOK}drain -e replication_hold=false`.",
)
def _on_hold(host):
    if _held(host):
        yield {"evidence": f"replication_max_conns is {_is(_setting(host, 'replication_max_conns'))}"}


@rule("no_syncs", ERROR, "No sync is ever started, as replication_max_conns is 0.", "%(mend)s")
def _no_syncs(host):
    setting = _setting(host, "replication_max_conns")
    if setting["value"] == "0" and not _held(host):
        yield {
            "evidence": f"replication_max_conns is {_is(setting)}",
            "mend": _mend(host, setting["place"]),
        }


@rule(
    "endless_full_syncs",
    ERROR,
    "Full syncs run without a pause, as replication_full_sync_interval is 0.",
    "%(mend)s",
)
def _endless_full_syncs(host):
    setting = _setting(host, "replication_full_sync_interval")
    if setting["value"].split()[:1] == ["0"]:
        yield {
            "evidence": f"replication_full_sync_interval is {_is(setting)}",
            "mend": _mend(host, setting["place"]),
        }


@rule(
    "no_autostart",
    WARNING,
    "After a boot the replicator does not start before the first mail comes or somebody asks for it.",
    "%(mend)s",
)
def _no_autostart(host):
    setting = _setting(host, "service/replicator/process_min_avail")
    if setting["value"] == "0":
        yield {
            "evidence": f"process_min_avail of service replicator is {_is(setting)}",
            "mend": _mend(host, setting["place"]),
        }


@rule(
    "misplaced_setting",
    WARNING,
    "Inside plugin sections Dovecot does not read this setting.",
    "Move %(place)s out of the section, then run `systemctl reload dovecot` on %(host)s.",
)
def _misplaced(host):
    for item in host.seen["settings"]["misplaced"]:
        yield {"evidence": f"{item['setting']} is set in {item['place']}", "place": item["place"]}


@rule(
    "shared_namespaces",
    WARNING,
    "Shared and public mailboxes are synced for each user who sees them, which duplicates mail.",
    "Name the namespaces to sync in the variable replication_dsync_parameters, such as '-d -n inbox -l 30 -U', "
    f"then run {SETUP}.",
)
def _shared_namespaces(host):
    kinds = host.seen["settings"]["shared_namespaces"]
    parameters = _setting(host, "replication_dsync_parameters")["value"].split()
    if kinds and "-N" in parameters and not any(word.startswith("-x") for word in parameters):
        yield {"evidence": f"there are namespaces of type {' and '.join(kinds)}"}


@rule(
    "shared_quota",
    WARNING,
    "A quota that both hosts keep in one database counts each mail twice.",
    "Keep the quota on each host (quota = count), or in a database of each host's own.",
)
def _shared_quota(host):
    for kind in host.seen["settings"]["shared_quota"]:
        yield {"evidence": f"quota is kept in a database by {kind}"}


# The way to the peer


@rule(
    "replica_missing",
    ERROR,
    "This host does not know where to sync to: each user fails.",
    f"Run {SETUP}, which sets mail_replica in a plugin section.",
)
def _replica_missing(host):
    if not host.seen["peer"]["replica"]:
        setting = _setting(host, "plugin/mail_replica")
        yield {"evidence": f"plugin/mail_replica is {_is(setting)}"}


@rule("replica_malformed", ERROR, "mail_replica names no place that can be synced to.", "%(mend)s")
def _replica_malformed(host):
    peer = host.seen["peer"]
    if peer["replica"] and peer["problem"]:
        setting = _setting(host, "plugin/mail_replica")
        place = setting["place"]
        yield {
            "evidence": f"mail_replica is {_is(setting)}: {peer['problem']}",
            "mend": _mend(host, place),
        }


@rule(
    "peer_is_self",
    ERROR,
    "This host syncs to itself: Dovecot reports success and replicates nothing.",
    "%(mend)s",
)
def _peer_is_self(host):
    if host.seen["peer"]["is_self"]:
        peer = host.seen["peer"]
        place = _setting(host, "plugin/mail_replica")["place"]
        yield {
            "evidence": f"{peer['host']} is {enumerated(peer['addresses'])}, an address of this host",
            "mend": _mend(host, place),
        }


# stage of the attempt to log in: id, what is wrong, cure
STAGES = {
    "lookup": (
        "peer_unknown",
        "The name of the peer cannot be looked up, so no sync can start.",
        "Add %(peer)s to the DNS, or to /etc/hosts on %(host)s, or correct mail_replica.",
    ),
    "connect": (
        "peer_unreachable",
        "The peer cannot be reached, so no sync can start.",
        "Run `systemctl start dovecot` on the peer. Where it runs, let its firewall accept %(host)s at port %(port)s "
        f"and have it listen there: `{PLAYBOOK}setup` does both.",
    ),
    "silent": (
        "peer_silent",
        "The peer lets this host connect and does not answer: each sync waits, and takes a slot from others.",
        "Run `systemctl restart dovecot` on the peer.",
    ),
    "tls_expected": (
        "peer_expects_tls",
        "The peer's listener expects TLS and this host does not speak it, so no sync can start.",
        f"Use one replication_scheme on both hosts: run `{PLAYBOOK}setup` on both.",
    ),
    "no_tls": (
        "peer_without_tls",
        "This host speaks TLS and the peer's listener does not, so no sync can start.",
        f"Use one replication_scheme on both hosts: run `{PLAYBOOK}setup` on both.",
    ),
    "certificate": (
        "certificate_refused",
        "This host does not accept the certificate of the peer, so no sync can start.",
        "Name in replication_tls_ca_file of %(host)s what has signed the peer's certificate, which must be valid and "
        f"for the name %(peer)s; then `{PLAYBOOK}setup`.",
    ),
    "greeting": (
        "peer_is_not_doveadm",
        "What answers at the peer's port is not Dovecot's doveadm listener, or it refuses this host.",
        f"See that mail_replica names the port of the doveadm listener, as after {SETUP}.",
    ),
    "no_password": (
        "password_missing",
        "This host has no doveadm_password, so no sync can start.",
        f"Give both hosts the same replication_secret and run `{PLAYBOOK}setup`.",
    ),
    "password": (
        "password_refused",
        "The peer refuses the doveadm_password of this host, so no sync can start.",
        f"Give both hosts the same replication_secret and run `{PLAYBOOK}setup` on both.",
    ),
    "ssh": (
        "ssh_refused",
        "The command that connects to the peer fails, so no sync can start.",
        f"Mend what ssh says; `{PLAYBOOK}setup` exchanges the keys again.",
    ),
}


# Where a line that sets another peer or password may be the reason.
OVERRIDABLE = ("lookup", "connect", "tls_expected", "no_tls", "greeting", "no_password", "password", "ssh")


def _rule_for_stage(stage, name, summary, cure):
    @rule(name, ERROR, summary, "%(cure)s")
    def _look(host):
        peer = host.seen["peer"]
        if peer["stage"] == stage and not peer["is_self"]:
            at = peer["host"] + ("" if peer["port"] is None else f" port {peer['port']}")
            evidence = f"logging in at {at}" + (f": {peer['answer']}" if peer["answer"] else "")
            deciding = "doveadm_password" if "password" in stage else "plugin/mail_replica"
            place = _setting(host, deciding)["place"]
            overridden = stage in OVERRIDABLE and place is not None and not _is_own(place)
            named = {"host": host.name, "peer": peer["host"], "port": peer["port"]}
            yield {"evidence": evidence, "cure": _mend(host, place) if overridden else cure % named}


for _stage, _texts in STAGES.items():
    _rule_for_stage(_stage, *_texts)


# The sockets


@rule(
    "replicator_socket_missing",
    ERROR,
    "The replicator has no socket for commands, so its state cannot be seen and the peer cannot tell it of syncs.",
    f"Run {SETUP}, which configures the listener with a mode.",
)
def _replicator_socket_missing(host):
    listener = host.seen["listeners"]["replicator-doveadm"]
    if not listener["configured"]:
        others = host.seen["settings"]["unknown_listeners"]
        evidence = "no listener replicator-doveadm is configured" + (
            f", but there is {enumerated(others)}, which means nothing to Dovecot" if others else ""
        )
        if listener["exists"]:
            evidence += f"; the file {listener['path']} was left behind"
        yield {"evidence": evidence}


@rule(
    "replicator_unreachable",
    ERROR,
    "The replicator does not answer.",
    "Run `systemctl restart dovecot` on %(host)s.",
)
def _replicator_unreachable(host):
    listener = host.seen["listeners"]["replicator-doveadm"]
    if host.seen["replicator"]["problem"] and host.seen["socket_path"] in listener["configured"]:
        yield {"evidence": host.seen["replicator"]["problem"]}


@rule(
    "socket_elsewhere",
    WARNING,
    "Dovecot's own processes do not find this socket, as it is not in base_dir.",
    f"Configure it by its name alone, without a directory, as {SETUP} does.",
)
def _socket_elsewhere(host):
    base_dir = _setting(host, "base_dir")["value"]
    for name, listener in host.seen["listeners"].items():
        if listener["configured"] and f"{base_dir}/{name}" not in listener["configured"]:
            yield {"evidence": f"{name} is at {listener['path']}, and base_dir is {base_dir}"}


@rule(
    "notify_shut_out",
    ERROR,
    "Changes of mail do not start a sync, as the mail's owner may not announce them.",
    "Give replication_mail_user the owner's name, or the sockets a group that all owners of mail share "
    f"(replication_notify_socket, replication_notify_fifo), and run `{PLAYBOOK}setup`.",
)
def _notify_shut_out(host):
    for name in ("replication-notify", "replication-notify-fifo"):
        yield from _shut_out(host.seen["listeners"][name])


@rule(
    "replicator_shut_out",
    WARNING,
    "After a sync that the peer has started, this host's replicator is not told of it.",
    "Give replication_mail_user the owner's name, or the socket a group that all owners of mail share "
    f"(replication_doveadm_socket), and run `{PLAYBOOK}setup`.",
)
def _replicator_shut_out(host):
    yield from _shut_out(host.seen["listeners"]["replicator-doveadm"])


def _shut_out(listener):
    if listener["exists"] and listener["shut_out"]:
        yield {
            "evidence": "%s, which may not write to %s (mode %s, owner %s, group %s)"
            % (
                "mail belongs to " + enumerated(listener["shut_out"]),
                listener["path"],
                listener["mode"],
                listener["owner"],
                listener["group"],
            )
        }


@rule(
    "replicator_open_to_all",
    WARNING,
    "Every user of the system can stop the replication of any mailbox.",
    f"Set the mode 0600 or 0660 in replication_doveadm_socket where that is set, and run {SETUP}.",
)
def _replicator_open_to_all(host):
    listener = host.seen["listeners"]["replicator-doveadm"]
    if listener["exists"] and int(listener["mode"], 8) & 0o002:
        yield {"evidence": f"{listener['path']} has mode {listener['mode']}"}


# Users


@rule(
    "userdb_cannot_list",
    ERROR,
    "Only mailboxes that change are replicated, as the userdb cannot list its users.",
    "Let it list them: replication_iterate for SQL and LDAP, or a userdb that can; doveadm user '*' on %(host)s "
    "must print all users.",
)
def _userdb_cannot_list(host):
    # Where Dovecot is stopped this says nothing of the userdb.
    if host.seen["userdb"]["problem"] and not host.seen["replicator"]["problem"]:
        yield {"evidence": host.seen["userdb"]["problem"]}


@rule(
    "userdb_empty",
    ERROR,
    "Only mailboxes that change are replicated, as the userdb lists no one.",
    "Let it list its users: replication_iterate for SQL and LDAP; doveadm user '*' on %(host)s must print all users.",
)
def _userdb_empty(host):
    if host.seen["userdb"]["users"] == 0:
        yield {"evidence": "doveadm user '*' prints nothing"}


@rule(
    "noreplicate_one_sided",
    ERROR,
    "The userdb field noreplicate is set on this host alone: here the users are dropped, and their syncs from the peer "
    "crash.",
    "Set noreplicate for them on both hosts, or on none.",
)
def _noreplicate_one_sided(host):
    if host.peer:
        names = _where(host, lambda here, there: here["noreplicate"] and there["exists"] and not there["noreplicate"])
        if names:
            yield {"evidence": f"it is set for {enumerated(names)}, and not on {host.peer.name}"}


@rule(
    "account_missing",
    ERROR,
    "Users of the peer have no account on this host, so their mail is on one host only.",
    "Create the accounts on %(host)s, then run `%(command)s`.",
)
def _account_missing(host):
    if host.peer:
        names = _where(
            host, lambda here, there: there["exists"] and not there["noreplicate"] and here["exists"] is False
        )
        if names:
            evidence = f"{enumerated(names)} {'is' if len(names) == 1 else 'are'} known on {host.peer.name} only"
            yield {"evidence": evidence, "command": resync(names)}


def _where(host, condition):
    """Return the accounts looked up on both hosts for which a condition on (here, there) holds."""
    here, there = host.seen.get("accounts", {}), host.peer.seen.get("accounts", {})
    return sorted(name for name in set(here).intersection(there) if condition(here[name], there[name]))


@rule(
    "mailbox_made_twice",
    ERROR,
    "Each host has made this mailbox for itself, before its first sync. That user fails, and nothing is logged.",
    "Run `%(command)s` on %(host)s: the two become one mailbox, with all mail of both. Then run `%(then)s`.",
)
def _mailbox_made_twice(host):
    here, there = ((each.seen.get("accounts", {}) if each else {}) for each in (host, host.peer))
    failing = _failing(host).union(_failing(host.peer) if host.peer else [])
    for name in sorted(failing.intersection(here).intersection(there)):
        theirs = there[name]["mailboxes"]
        for mailbox, mine in sorted(here[name]["mailboxes"].items()):
            other = theirs.get(mailbox, mine)
            # The one with less in it is changed, as its clients have to fetch it anew.
            less = (mine["messages"], host.name) < (other["messages"], host.peer.name)
            if mine["guid"] != other["guid"] and less:
                command = "doveadm -o mail_plugins= mailbox update -u %s --mailbox-guid %s %s" % (
                    shlex.quote(name),
                    other["guid"],
                    shlex.quote(mailbox),
                )
                yield {
                    "evidence": f"{mailbox} of {name} has GUID {mine['guid']} and {mine['messages']} messages here, "
                    f"GUID {other['guid']} and {other['messages']} on {host.peer.name}",
                    "command": command,
                    "then": resync([name]),
                }


def _failing(host):
    return {user["username"] for user in host.seen.get("replicator", {}).get("failing", {"first": []})["first"]}


@rule(
    "users_failing",
    ERROR,
    "The syncs of users fail.",
    "When no other finding explains it, the reason is in the log of %(host)s. Then run `%(command)s`.",
)
def _users_failing(host):
    failing = host.seen["replicator"].get("failing", {"count": 0})
    if failing["count"]:
        names = [user["username"] for user in failing["first"]]
        reasons = [error for error in host.seen["errors"] if any(name in error for name in names)][-2:]
        evidence = f"{failing['count']} of {host.seen['replicator']['overview']['known_users']}: {enumerated(names)}"
        evidence += f"; Dovecot's last words: {' | '.join(reasons)}" if reasons else "; nothing of it is in the log"
        yield {"evidence": evidence, "command": resync(names)}


@rule(
    "starvation",
    WARNING,
    "Before Dovecot 2.3.20 one failing user keeps others from their first and their daily syncs.",
    f"Cure the failing users; meanwhile `{PLAYBOOK}resync` has all users synced. Dovecot 2.3.20 mends it (Debian 12: "
    "bookworm-backports).",
)
def _starvation(host):
    failing = host.seen["replicator"].get("failing", {"count": 0})
    if failing["count"] and (parse_version(host.seen["dovecot_version"] or "") or QUEUE_MENDED) < QUEUE_MENDED:
        waiting = host.seen["replicator"]["overview"]["queued_full_resync"]
        yield {
            "evidence": f"Dovecot {host.seen['dovecot_version']}, {failing['count']} failing, {waiting} waiting behind"
        }


@rule(
    "queue_standing",
    ERROR,
    "The queue does not move: users are queued and no sync runs.",
    "Run `systemctl restart dovecot` on %(host)s; the queue is kept.",
)
def _queue_standing(host):
    standing = host.seen["replicator"].get("standing", {"count": 0})
    if standing["count"] and _setting(host, "replication_max_conns")["value"] != "0":
        yield {"evidence": f"{standing['count']} queued, none running: {enumerated(standing['first'])}"}


@rule(
    "syncs_stuck",
    ERROR,
    "Syncs wait for a peer that does not answer, and others wait for their slots.",
    "Restart Dovecot on the peer; then, on %(host)s, `systemctl reload dovecot` ends them at once.",
)
def _syncs_stuck(host):
    running = host.seen["replicator"].get("running", [])
    if running and host.seen["peer"]["stage"] == "silent":
        parts = [f"{slot['username']} for {slot['seconds']} s ({slot['status']})" for slot in running]
        yield {"evidence": ", ".join(parts)}


@rule(
    "mail_unlisted",
    WARNING,
    "Users with mail are not on the replicator's list, so what they have is not replicated before it changes.",
    "Run `%(command)s`.",
)
def _mail_unlisted(host):
    unlisted = host.seen["replicator"].get("unlisted", {"first": []})
    missing = _known_missing(host)
    names = [
        name
        for name in unlisted["first"]
        if name not in missing and not host.seen["accounts"][name]["noreplicate"] and _messages(host, name)
    ]
    if names:
        yield {"evidence": f"{enumerated(names)}; {unlisted['count']} unlisted in all", "command": resync(names)}


def _messages(host, name):
    return sum(mailbox["messages"] for mailbox in host.seen["accounts"][name]["mailboxes"].values())


def _known_missing(host):
    """Return the names that have a finding of their own as they are not the same at the peer."""
    if not host.peer:
        return set()
    there = host.peer.seen.get("accounts", {})
    return {name for name, account in there.items() if account["exists"] is False or account["noreplicate"]}


@rule(
    "strangers_listed",
    WARNING,
    "The replicator has names on its list that the userdb does not have, and tries them for ever.",
    "Run `%(command)s` on %(host)s.",
)
def _strangers_listed(host):
    yield from _to_remove(host, "strangers", "the userdb does not have %s")


@rule(
    "double_entries",
    WARNING,
    "Mailboxes are on the replicator's list in two spellings, and are synced twice.",
    "Run `%(command)s` on %(host)s.",
)
def _double_entries(host):
    yield from _to_remove(host, "doubles", "%s differ from another entry in case only")


def _to_remove(host, kind, text):
    found = host.seen["replicator"].get(kind, {"count": 0})
    if found["count"]:
        commands = [f"doveadm replicator remove -- {shlex.quote(name)}" for name in found["first"]]
        yield {"evidence": text % enumerated(found["first"]), "command": "; ".join(commands)}


# Both hosts together


def _both(hosts):
    return len(hosts) == 2 and all(host.seen.get("config_problem") is None for host in hosts)


@rule(
    "same_hostname",
    ERROR,
    "Both hosts call themselves the same, and damage each other's mailboxes.",
    "Give %(host)s a name of its own with `hostnamectl set-hostname`, then run `systemctl restart dovecot` there.",
    PAIR_RULES,
)
def _same_hostname(hosts, proof):
    if len(hosts) == 2 and hosts[0].seen["hostname"] == hosts[1].seen["hostname"]:
        yield {"host": hosts[1].name, "evidence": f"both are {hosts[1].seen['hostname']}"}


@rule(
    "alt_char_differs",
    WARNING,
    "Names of mailboxes come out differently on the two hosts.",
    "%(mend)s Or set it to the same on the other host.",
    PAIR_RULES,
)
def _alt_char_differs(hosts, proof):
    if _both(hosts):
        settings = [_setting(host, "dsync_alt_char") for host in hosts]
        if settings[0]["value"] != settings[1]["value"]:
            parts = [f"{_is(setting)} on {host.name}" for host, setting in zip(hosts, settings)]
            # Where both are set the second one is named.
            host, setting = [pair for pair in zip(hosts, settings) if pair[1]["place"]][-1]
            mend = _mend(host, setting["place"])
            yield {"host": host.name, "evidence": "dsync_alt_char is " + ", ".join(parts), "mend": mend}


# The proof


@rule(
    "probe_not_saved",
    ERROR,
    "The probe could not be put into its mailbox.",
    "Mend what Dovecot says; replication_probe_user must be a mailbox that both hosts have.",
    PAIR_RULES,
)
def _probe_not_saved(hosts, proof):
    for way in proof.get("probes", []):
        if not way["sent"]:
            yield {"host": way["from"], "evidence": way["message"]}


@rule(
    "probe_not_announced",
    ERROR,
    "A mail arrived on the other host only when its sync was asked for: changes of mail do not start one.",
    "When no other finding explains it, run `systemctl restart dovecot` on %(host)s.",
    PAIR_RULES,
)
def _probe_not_announced(hosts, proof):
    for way in proof.get("probes", []):
        if way["sent"] and way["arrived"] and not way["announced"]:
            yield {"host": way["from"], "evidence": f"the probe came to {way['to']} by an explicit sync alone"}


@rule(
    "probe_lost",
    ERROR,
    "A mail does not arrive on the other host.",
    "When no other finding explains it, run `doveadm -v sync -u %(user)s -d -N` on %(host)s, and mend what it says.",
    PAIR_RULES,
)
def _probe_lost(hosts, proof):
    for way in proof.get("probes", []):
        if way["sent"] and not way["arrived"]:
            evidence = f"the probe did not come to {way['to']}" + (f": {way['message']}" if way["message"] else "")
            yield {"host": way["from"], "evidence": evidence, "user": proof["probe_user"]}


@rule(
    "sync_failed",
    ERROR,
    "Syncs that were asked for have not ended well.",
    "When no other finding explains it, the reason is in the log of %(host)s.",
    PAIR_RULES,
)
def _sync_failed(hosts, proof):
    for host, message in sorted(proof.get("syncs", {}).items()):
        if message:
            yield {"host": host, "evidence": message}


@rule(
    "mail_differs",
    ERROR,
    "The two hosts do not have the same mail, although syncs have ended well.",
    "Run `%(command)s`: a full sync compares everything.",
    PAIR_RULES,
)
def _mail_differs(hosts, proof):
    names = proof.get("differing", [])
    if names:
        command = f"{PLAYBOOK}resync -e '{json.dumps({'replication_users': names, 'replication_full': True})}'"
        evidence = f"the fingerprints differ for {enumerated(names)} of {proof['compared']} users compared"
        yield {"host": hosts[0].name, "evidence": evidence, "command": command}
