# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules by which `verify` judges a pair, from the observations of its hosts. Pure. PRIVATE to this collection.

Each rule is a function that yields the evidence for its finding, once for each time it is true. The rules stand in the
order in which a person should read their findings: causes before their consequences.
"""

import json
import re
import shlex
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import enumerated
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import parse_version
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.plugins import (
    HOLD_FILE,
    SECRETS_FILE,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.plugins import (
    OWN_FILES as SETTINGS_FILES,
)
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _causes
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._side import (
    ANY_ADDRESS,
    PARAMETERS_FOR_2_4,
    SYNC_COMMANDS,
)

# ``error``: mail is not replicated now. ``warning``: some day it will not be, or somebody could stop it.
ERROR, WARNING = "error", "warning"
# What starts the syncs of a host.
REPLICATOR, TIMER, SERVICE = "replicator", "timer", "service"
SYNCERS = (TIMER, SERVICE)
USERS_FAILING = "users_failing"
# What another sync of those who fail may cure.
CURED_BY_A_SYNC = {USERS_FAILING, "round_failed"}

# ``evidence``, and values that the summary and the cure of the rule name.
Details = Dict[str, Any]
Found = Iterator[Details]
# RETURN of the module node_info.
Observation = Mapping[str, Any]
# ``id``, ``severity``, ``host``, ``summary``, ``evidence`` and ``cure``.
Finding = Dict[str, str]
# What the filter replication_findings documents as ``proof``.
Proof = Mapping[str, Any]


class Host(NamedTuple):
    """A host of a pair.

    :arg name: in the inventory
    :arg seen: its observation
    :arg peer: the other host, whose own peer is None; None where that was not observed
    """

    name: str
    seen: Observation
    peer: Optional["Host"]


class Rule(NamedTuple):
    """What is judged.

    :arg id: a stable name
    :arg severity: ERROR or WARNING
    :arg summary: what is wrong, a sentence; it may name values of the Details, as ``%(host)s``
    :arg cure: the next step, a sentence in the imperative, with such values, too
    :arg look: yields the Details where the rule is true; takes a Host, in PAIR_RULES all Hosts and the Proof
    :arg engines: the rule is for hosts with one of these alone
    """

    id: str
    severity: str
    summary: str
    cure: str
    look: Callable[..., Found]
    engines: Sequence[str] = (REPLICATOR, *SYNCERS)


PLAYBOOK = "ansible-playbook mailops.dovecot_replication."
SETUP = f"`{PLAYBOOK}setup`"
# The files that the role writes, and so corrects.
OWN_FILES = (*SETTINGS_FILES, SECRETS_FILE)
# The first release in which one failing user does not keep others waiting; see the NEWS of Dovecot 2.3.20.
QUEUE_FIXED = (2, 3, 20)
# So many lines of the logs are quoted.
QUOTED = 2
# So many users are in a command that a person is to run.
MOST_AT_ONCE = 20
LISTS_NOBODY = "doveadm user '*' prints nothing"

RULES: List[Rule] = []
PAIR_RULES: List[Rule] = []


def rule(
    name: str,
    severity: str,
    summary: str,
    cure: str,
    rules: Optional[List[Rule]] = None,
    engines: Sequence[str] = (REPLICATOR, *SYNCERS),
) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """Make a function a rule for each host, or one of ``rules``: for the pair as a whole."""

    def add(look: Callable[..., Found]) -> Callable[..., Found]:
        (RULES if rules is None else rules).append(Rule(name, severity, summary, cure, look, engines))
        return look

    return add


def findings(observations: Mapping[str, Observation], proof: Optional[Proof] = None) -> List[Finding]:
    """Return the findings about a pair, errors first.

    :arg observations: results of the module node_info by host of one pair, or of one host alone
    :arg proof: the outcome of the attempt to replicate, see the filter's documentation
    """
    hosts = [Host(name, seen, None) for name, seen in sorted(observations.items())]
    if len(hosts) == 2:
        hosts = [hosts[0]._replace(peer=hosts[1]), hosts[1]._replace(peer=hosts[0])]
    found: List[Finding] = []
    for item in RULES:
        for host in hosts:
            # An invalid configuration keeps the module from observing anything else.
            if item.id == "configuration_invalid" or _applies(item, host):
                found += [_finding(item, host.name, details) for details in item.look(host)]
    for item in PAIR_RULES:
        found += [_finding(item, details["host"], details) for details in item.look(hosts, proof or {})]
    return sorted(found, key=lambda finding: finding["severity"] != ERROR)


def _applies(item: Rule, host: Host) -> bool:
    return host.seen.get("config_problem") is None and engine_of(host.seen) in item.engines


def engine_of(seen: Observation) -> str:
    """Return what starts the syncs of a host that was observed."""
    return str(seen.get("engine", REPLICATOR))


def _finding(item: Rule, host: str, details: Details) -> Finding:
    details = {"host": host, **details}
    return {
        "id": item.id,
        "severity": item.severity,
        "host": host,
        "summary": item.summary % details,
        "evidence": details["evidence"],
        "cure": item.cure % details,
    }


def resync(names: Sequence[str]) -> str:
    """Return the command that syncs users again."""
    return f"{PLAYBOOK}resync -e '{json.dumps({'replication_users': names})}'"


def doubled_mail(doubled: Mapping[str, int], host: str) -> List[str]:
    """Return the lines of a report about messages that are in one folder twice.

    It is no finding, as nobody can tell what dsync has doubled from what a client has copied within a folder.

    :arg doubled: how many such messages users have, by name
    :arg host: where to remove them
    """
    if not doubled:
        return []
    names = sorted(doubled)[:MOST_AT_ONCE]
    command = f"doveadm deduplicate -u {shlex.quote(names[0])} ALL"
    if len(names) > 1:
        users = " ".join(map(shlex.quote, names))
        command = f'for user in {users}; do doveadm deduplicate -u "$user" ALL; done'
    number = sum(doubled.values())
    messages = "1 message is" if number == 1 else f"{number} messages are"
    whose = f" of the first {MOST_AT_ONCE}" if len(doubled) > MOST_AT_ONCE else ""
    return [
        f"{messages} in one folder twice, of {enumerated(sorted(doubled))}. dsync doubles a message now and then when "
        "mail comes in during a sync; a client that copies one within its folder does, too. To keep one of each"
        f"{whose}, run `{command}` on {host}, then `{resync(names)}`."
    ]


def _is_own(place: str) -> bool:
    return any(name in place for name in OWN_FILES)


def _cure_of(host: Host, place: Optional[str]) -> str:
    """Return the cure of a setting by the line that decides it. The role corrects its own lines."""
    if place is None or _is_own(place):
        return f"Run {SETUP}."
    return f"Remove {place}, then run `systemctl reload dovecot` on {host.name}."


def _setting(host: Host, name: str) -> Mapping[str, Any]:
    return next(setting for setting in host.seen["settings"]["in_force"] if setting["setting"] == name)


def _listener(host: Host, name: str) -> Mapping[str, Any]:
    return next(listener for listener in host.seen["listeners"] if listener["name"] == name)


def _accounts(host: Optional[Host]) -> Dict[str, Mapping[str, Any]]:
    """Return the accounts that were looked up, by name of the user."""
    return {account["username"]: account for account in (host.seen.get("accounts", []) if host else [])}


def _is(setting: Mapping[str, Any]) -> str:
    return "%s (%s)" % (
        repr(setting["value"]) if setting["value"] else "empty",
        "set in " + setting["place"] if setting["place"] else "no file sets it",
    )


# The configuration, by itself


@rule(
    "configuration_invalid",
    ERROR,
    "Dovecot cannot read its configuration and will not start again.",
    "Correct the line that doveconf names on %(host)s, then run `systemctl restart dovecot` there.",
)
def _configuration_invalid(host: Host) -> Found:
    if host.seen.get("config_problem"):
        yield {"evidence": host.seen["config_problem"]}


@rule(
    "sync_timeout_set",
    ERROR,
    "With replication_sync_timeout the replicator takes all memory and dies at the first mail.",
    "%(cure)s",
    engines=[REPLICATOR],
)
def _sync_timeout(host: Host) -> Found:
    for item in host.seen["settings"]["forbidden"]:
        yield {
            "evidence": f"{item['setting']} is set in {item['place']}",
            "cure": _cure_of(host, item["place"]),
        }


@rule(
    "plugins_incomplete",
    ERROR,
    "The plugin replication is loaded without notify, so no mail process starts at all.",
    f"Run {SETUP}, which adds it to whatever is set there.",
    engines=[REPLICATOR],
)
def _plugins_incomplete(host: Host) -> Found:
    yield from _lacking(host, lambda plugins: "replication" in plugins and "notify" not in plugins)


@rule(
    "plugins_missing",
    ERROR,
    "Changes of mail do not start a sync, as the plugins notify and replication are not loaded.",
    f"Run {SETUP}, which adds them to whatever is set there.",
    engines=[REPLICATOR],
)
def _plugins_missing(host: Host) -> Found:
    yield from _lacking(host, lambda plugins: "replication" not in plugins)


def _lacking(host: Host, wrong: Callable[[List[str]], bool]) -> Found:
    scopes = [scope for scope in host.seen["settings"]["mail_plugins"] if wrong(scope["value"].split())]
    # Outside of sections it matters to the protocols alone that have no value of their own, which are scopes as well.
    if any(scope["protocol"] or scope["filter"] for scope in scopes):
        parts = [f"{_scope(scope)} {_is(scope)}" for scope in scopes]
        yield {"evidence": "mail_plugins is " + ", ".join(parts)}


def _scope(scope: Mapping[str, Any]) -> str:
    sections = [scope["filter"], scope["protocol"] and "protocol " + scope["protocol"]]
    named = " inside ".join(section for section in reversed(sections) if section)
    return f"inside {named}" if named else "outside of sections"


@rule(
    "plugins_left_out",
    WARNING,
    "Plugins that a file names are not loaded, as the settings of replication repeat what it named before.",
    f"Run {SETUP}.",
    engines=[REPLICATOR],
)
def _plugins_left_out(host: Host) -> Found:
    for scope in host.seen["settings"]["mail_plugins"]:
        if scope["left_out"]:
            yield {"evidence": f"{_scope(scope)} mail_plugins lacks {enumerated(scope['left_out'])}"}


INSTALL = "Install it on %(host)s, or take it out of %(place)s, then run `systemctl restart dovecot` there."


@rule(
    "plugin_not_installed",
    ERROR,
    "doveadm ends at once, as its plugin %(plugin)s is not installed: nothing is synced to this host or from it.",
    INSTALL,
)
def _plugin_not_installed(host: Host) -> Found:
    yield from _not_installed(host, of_doveadm=True)


@rule(
    "plugin_of_protocol_not_installed",
    WARNING,
    "Mail processes end at once, as their plugin %(plugin)s is not installed.",
    INSTALL,
)
def _plugin_of_protocol_not_installed(host: Host) -> Found:
    yield from _not_installed(host, of_doveadm=False)


def _not_installed(host: Host, of_doveadm: bool) -> Found:
    for plugin, scopes, place in _missing_plugins(host):
        # The rule plugin_of_2_3 tells of this one.
        of_2_3 = plugin == "replication" and engine_of(host.seen) in SYNCERS
        if of_doveadm == _doveadm_is_in(scopes) and not of_2_3:
            evidence = f"mail_plugins names it {enumerated([_scope(scope) for scope in scopes])}"
            yield {"evidence": evidence, "plugin": plugin, "place": place or "mail_plugins"}


def _missing_plugins(host: Host) -> List[Tuple[str, List[Mapping[str, Any]], Optional[str]]]:
    """Return each plugin without a file, the scopes that name it, and the place that does so first."""
    scopes = host.seen.get("settings", {}).get("mail_plugins", [])
    pairs = [(item, scope) for scope in scopes for item in scope["not_installed"]]
    places = {item["plugin"]: item["place"] for item, _scope in reversed(pairs)}
    return [(name, [scope for item, scope in pairs if item["plugin"] == name], places[name]) for name in places]


def _doveadm_is_in(scopes: Sequence[Mapping[str, Any]]) -> bool:
    return any(scope["protocol"] == "doveadm" for scope in scopes)


@rule(
    "dsync_parameters",
    ERROR,
    "Each sync fails, as replication_dsync_parameters lacks -d.",
    "%(cure)s Dovecot's default is right: -d -N -l 30 -U.",
    engines=[REPLICATOR],
)
def _dsync_parameters(host: Host) -> Found:
    setting = _setting(host, "replication_dsync_parameters")
    if "-d" not in setting["value"].split():
        yield {
            "evidence": f"replication_dsync_parameters is {_is(setting)}",
            "cure": _cure_of(host, setting["place"]),
        }


@rule(
    "peer_not_told",
    WARNING,
    "The peer gets no notice of syncs and noreplicate is ignored, as replication_dsync_parameters lacks -U.",
    "%(cure)s Dovecot's default is right: -d -N -l 30 -U.",
    engines=[REPLICATOR],
)
def _peer_not_told(host: Host) -> Found:
    setting = _setting(host, "replication_dsync_parameters")
    if "-U" not in setting["value"].split() and not _is_prepared(setting) and not _peer_has_syncer(host):
        yield {
            "evidence": f"replication_dsync_parameters is {_is(setting)}",
            "cure": _cure_of(host, setting["place"]),
        }


def _is_prepared(setting: Mapping[str, Any]) -> bool:
    """Tell whether the role has made the host ready for a peer with Dovecot 2.4."""
    return setting["value"] == PARAMETERS_FOR_2_4 and _is_own(setting["place"] or "")


@rule(
    "prepared_for_2_4",
    WARNING,
    "This host syncs in the way that a peer with Dovecot 2.4 understands, which its peer of today is not told of.",
    "Go on with the upgrade of the pair. To stay on 2.3, take replication_upgrading out of the inventory and run "
    f"{SETUP} for both hosts.",
    engines=[REPLICATOR],
)
def _prepared_for_2_4(host: Host) -> Found:
    setting = _setting(host, "replication_dsync_parameters")
    if _is_prepared(setting) and host.peer and not _peer_has_syncer(host):
        yield {"evidence": f"replication_dsync_parameters is {_is(setting)}"}


def _peer_has_syncer(host: Host) -> bool:
    return host.peer is not None and engine_of(host.peer.seen) in SYNCERS


@rule(
    "parameters_of_2_3",
    ERROR,
    "The peer has Dovecot 2.4, which refuses -U: each sync from this host fails.",
    "Set `replication_upgrading: true`, remove -U from replication_dsync_parameters where that is set, and "
    f"run {SETUP}.",
    engines=[REPLICATOR],
)
def _parameters_of_2_3(host: Host) -> Found:
    setting = _setting(host, "replication_dsync_parameters")
    if "-U" in setting["value"].split() and _peer_has_syncer(host):
        yield {"evidence": f"replication_dsync_parameters is {_is(setting)}"}


# Timer and service, where Dovecot has no replicator


@rule(
    "plugin_of_2_3",
    ERROR,
    "Dovecot 2.4 has no plugin replication: LMTP dies of it at each mail, and no mail comes in.",
    "Remove %(place)s, then run `systemctl restart dovecot` on %(host)s.",
    engines=SYNCERS,
)
def _plugin_of_2_3(host: Host) -> Found:
    for item in host.seen["settings"]["leftovers"]:
        if "plugin" in item["setting"]:
            yield {"evidence": f"{item['setting']} is set in {item['place']}", "place": item["place"]}


@rule(
    "leftovers_of_2_3",
    WARNING,
    "Dovecot 2.4 has no replicator, and its configuration still has settings for one.",
    "Remove %(place)s, then run `systemctl reload dovecot` on %(host)s.",
    engines=SYNCERS,
)
def _leftovers_of_2_3(host: Host) -> Found:
    places = [item for item in host.seen["settings"]["leftovers"] if "plugin" not in item["setting"]]
    if places:
        yield {"evidence": enumerated([item["setting"] for item in places]), "place": places[0]["place"]}


@rule(
    "timer_stopped",
    ERROR,
    "The timer does not run, so no sync of all users is started on this host.",
    "Run `systemctl enable --now dovecot-replication.timer` on %(host)s.",
    engines=[TIMER],
)
def _timer_stopped(host: Host) -> Found:
    if not host.seen["syncer"]["active"]:
        yield {"evidence": "systemd says that dovecot-replication.timer is not active"}


@rule(
    "timer_not_enabled",
    WARNING,
    "After a boot the timer does not start, and then nothing is synced from this host.",
    "Run `systemctl enable dovecot-replication.timer` on %(host)s.",
    engines=[TIMER],
)
def _timer_not_enabled(host: Host) -> Found:
    if host.seen["syncer"]["active"] and not host.seen["syncer"]["enabled"]:
        yield {"evidence": "systemd says that dovecot-replication.timer is not enabled"}


@rule(
    "rounds_overdue",
    ERROR,
    "No round over all users has begun for long, although the timer runs.",
    "`journalctl -u dovecot-replication.service` on %(host)s has the reason. Then run `systemctl start --no-block "
    "dovecot-replication.service` there.",
    engines=[TIMER],
)
def _rounds_overdue(host: Host) -> Found:
    timer = host.seen["syncer"]
    patient = 3 * timer["interval"] + 60
    if timer["active"] and not timer["on_hold"] and not timer["running"] and (timer["round_age"] or 0) > patient:
        yield {"evidence": f"the last one began {timer['round_age']} s ago, and the interval is {timer['interval']} s"}


@rule(
    "service_stopped",
    ERROR,
    "The service that syncs does not run, so no sync is started on this host.",
    "Run `systemctl enable --now dovecot-replication.service` on %(host)s. Where it ends again, `journalctl -u "
    "dovecot-replication.service` there says why.",
    engines=[SERVICE],
)
def _service_stopped(host: Host) -> Found:
    if not host.seen["syncer"]["active"]:
        yield {"evidence": "systemd says that dovecot-replication.service is not active"}


@rule(
    "service_not_enabled",
    WARNING,
    "After a boot the service that syncs does not start, and then nothing is synced from this host.",
    "Run `systemctl enable dovecot-replication.service` on %(host)s.",
    engines=[SERVICE],
)
def _service_not_enabled(host: Host) -> Found:
    if host.seen["syncer"]["active"] and not host.seen["syncer"]["enabled"]:
        yield {"evidence": "systemd says that dovecot-replication.service is not enabled"}


@rule(
    "changes_not_told",
    ERROR,
    "Dovecot does not tell the service of changes, so mail waits for the next sync of everybody.",
    "Run `systemctl restart dovecot` on %(host)s. Where that does not help, %(setup)s corrects the configuration, and "
    "Dovecot's log says what its process `stats` lacks.",
    engines=[SERVICE],
)
def _changes_not_told(host: Host) -> Found:
    if host.seen["syncer"]["deaf"] and host.seen["syncer"]["active"]:
        yield {"evidence": "it has not heard of its own syncs", "setup": SETUP}


@rule(
    "round_failed",
    ERROR,
    "The last round over all users was given up, as it would have failed for each of them.",
    "When no other finding explains it, correct what Dovecot says. The next round tries again.",
    engines=SYNCERS,
)
def _round_failed(host: Host) -> Found:
    if host.seen["syncer"]["round_problem"]:
        yield {"evidence": host.seen["syncer"]["round_problem"]}


@rule(
    "users_never_synced",
    WARNING,
    "Users have never been synced from this host.",
    "When no other finding explains it, run `%(command)s`.",
    engines=[TIMER],
)
def _users_never_synced(host: Host) -> Found:
    summary = host.seen["replicator"].get("summary") or {}
    timer = host.seen["syncer"]
    if summary.get("never_synced") and not timer["running"] and not timer["on_hold"]:
        evidence = f"{summary['never_synced']} of {summary['known_users']}"
        yield {"evidence": evidence, "command": f"{PLAYBOOK}resync"}


@rule(
    "field_of_2_3",
    WARNING,
    "Users have a userdb field for a replicator. Dovecot 2.4 has none, so they are synced as all others are.",
    "Remove %(where)s when both hosts have 2.4. To keep users out of replication, name them in "
    f"replication_excluded_users and run {SETUP}.",
    engines=SYNCERS,
)
def _field_of_2_3(host: Host) -> Found:
    for entry in _fields(host, "noreplicate", "mail_replica"):
        if entry["field"] != "noreplicate" or _is_true(entry["value"]):
            yield _field_found(entry)


# Both engines


@rule(
    "commands_not_allowed",
    ERROR,
    "Syncs are refused, as doveadm_allowed_commands leaves out a command that they use.",
    "%(cure)s Or add sync,dsync-server to the value.",
)
def _commands_not_allowed(host: Host) -> Found:
    setting = _setting(host, "doveadm_allowed_commands")
    allowed = [word.strip() for word in setting["value"].replace(",", " ").split()]
    if allowed and set(SYNC_COMMANDS).difference(allowed):
        yield {
            "evidence": f"doveadm_allowed_commands is {_is(setting)}",
            "cure": _cure_of(host, setting["place"]),
        }


def _held(host: Host) -> bool:
    if engine_of(host.seen) in SYNCERS:
        return bool(host.seen["syncer"]["on_hold"])
    setting = _setting(host, "replication_max_conns")
    return setting["value"] == "0" and HOLD_FILE in (setting["place"] or "")


@rule(
    "on_hold",
    WARNING,
    "Replication from this host is on hold: it starts no sync until it is released.",
    f"When the maintenance is over, run `{PLAYBOOK}drain -e replication_hold=false`.",
)
def _on_hold(host: Host) -> Found:
    if _held(host):
        by_setting = f"replication_max_conns is {_is(_setting(host, 'replication_max_conns'))}"
        yield {"evidence": f"there is a file {HOLD_FILE}" if engine_of(host.seen) in SYNCERS else by_setting}


@rule("no_syncs", ERROR, "No sync is ever started, as replication_max_conns is 0.", "%(cure)s", engines=[REPLICATOR])
def _no_syncs(host: Host) -> Found:
    setting = _setting(host, "replication_max_conns")
    if setting["value"] == "0" and not _held(host):
        yield {
            "evidence": f"replication_max_conns is {_is(setting)}",
            "cure": _cure_of(host, setting["place"]),
        }


@rule(
    "endless_full_syncs",
    ERROR,
    "Full syncs run without a pause, as replication_full_sync_interval is 0.",
    "%(cure)s",
    engines=[REPLICATOR],
)
def _endless_full_syncs(host: Host) -> Found:
    setting = _setting(host, "replication_full_sync_interval")
    if setting["value"].split()[:1] == ["0"]:
        yield {
            "evidence": f"replication_full_sync_interval is {_is(setting)}",
            "cure": _cure_of(host, setting["place"]),
        }


@rule(
    "no_autostart",
    WARNING,
    "After a boot the replicator does not start before the first mail or the first command.",
    "%(cure)s",
    engines=[REPLICATOR],
)
def _no_autostart(host: Host) -> Found:
    setting = _setting(host, "service/replicator/process_min_avail")
    if setting["value"] == "0":
        yield {
            "evidence": f"process_min_avail of service replicator is {_is(setting)}",
            "cure": _cure_of(host, setting["place"]),
        }


@rule(
    "misplaced_setting",
    WARNING,
    "Dovecot ignores this setting inside a plugin section.",
    "Move %(place)s out of the section, then run `systemctl reload dovecot` on %(host)s.",
    engines=[REPLICATOR],
)
def _misplaced(host: Host) -> Found:
    for item in host.seen["settings"]["misplaced"]:
        yield {"evidence": f"{item['setting']} is set in {item['place']}", "place": item["place"]}


@rule(
    "mbox",
    WARNING,
    "Mail is in mbox. Dovecot 2.3 panics when it syncs that, and mail is missing then on the peer.",
    "Convert the mail to another format, such as maildir or sdbox.",
)
def _mbox(host: Host) -> Found:
    for name in host.seen["settings"]["mbox"]:
        yield {"evidence": f"{name} begins with mbox:"}


@rule(
    "other_doveadm_listener",
    WARNING,
    "Dovecot also listens for doveadm on another port, which accepts the password of replication.",
    "Remove %(place)s if nothing needs it, then run `systemctl reload dovecot` on %(host)s.",
)
def _other_doveadm_listener(host: Host) -> Found:
    if host.seen["peer"]["replica"].startswith("tcp"):
        for item in host.seen["settings"]["other_doveadm_listeners"]:
            yield {"evidence": f"port {item['port']} is set in {item['place']}", "place": item["place"]}


@rule(
    "inbox_prefix",
    WARNING,
    "This Dovecot makes the INBOX of each new user on the peer as another mailbox, and the user fails.",
    "Install Dovecot 2.3.20 or later (Debian 12: from bookworm-backports). Until then, run `%(command)s` when new "
    "users have had their first mail.",
)
def _inbox_prefix(host: Host) -> Found:
    version = parse_version(host.seen["dovecot_version"] or "") or ()
    for namespace in host.seen["settings"]["namespaces"]:
        # Seen on 2.3.19.1, whatever the parameters of dsync; not on 2.3.13 and 2.3.21.1.
        if version[:3] == (2, 3, 19) and namespace["inbox"] and namespace["prefix"]:
            evidence = f"Dovecot {host.seen['dovecot_version']}, the INBOX has the prefix {namespace['prefix']}"
            yield {"evidence": evidence, "command": f"{PLAYBOOK}adopt"}


@rule(
    "shared_namespaces",
    WARNING,
    "Shared and public mailboxes are synced for each user who sees them, which duplicates mail.",
    "Name the namespaces to sync in the variable replication_dsync_parameters, such as '-d -n inbox -l 30 -U', "
    f"then run {SETUP}.",
    engines=[REPLICATOR],
)
def _shared_namespaces(host: Host) -> Found:
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
def _shared_quota(host: Host) -> Found:
    for kind in host.seen["settings"]["shared_quota"]:
        yield {"evidence": f"quota is kept in a database by {kind}"}


# The way to the peer


@rule(
    "replica_missing",
    ERROR,
    "This host does not know where to sync to: each user fails.",
    f"Run {SETUP}, which sets mail_replica in a plugin section.",
    engines=[REPLICATOR],
)
def _replica_missing(host: Host) -> Found:
    if not host.seen["peer"]["replica"]:
        setting = _setting(host, "plugin/mail_replica")
        yield {"evidence": f"plugin/mail_replica is {_is(setting)}"}


@rule("replica_malformed", ERROR, "mail_replica names no host to sync to.", "%(cure)s", engines=[REPLICATOR])
def _replica_malformed(host: Host) -> Found:
    peer = host.seen["peer"]
    if peer["replica"] and peer["problem"]:
        setting = _setting(host, "plugin/mail_replica")
        place = setting["place"]
        yield {
            "evidence": f"mail_replica is {_is(setting)}: {peer['problem']}",
            "cure": _cure_of(host, place),
        }


@rule(
    "peer_is_self",
    ERROR,
    "This host syncs to itself: Dovecot reports success and replicates nothing.",
    "%(cure)s",
)
def _peer_is_self(host: Host) -> Found:
    if host.seen["peer"]["is_self"]:
        peer = host.seen["peer"]
        place = _setting(host, "plugin/mail_replica")["place"]
        yield {
            "evidence": f"{peer['host']} is {enumerated(peer['addresses'])}, an address of this host",
            "cure": _cure_of(host, place),
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
        "Run `systemctl start dovecot` on the peer. Where it runs, open its firewall for %(host)s at port %(port)s "
        f"and let it listen there: `{PLAYBOOK}setup` does both.",
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
        "Put the authority of the peer's certificate into replication_tls_ca_file of %(host)s, and check that the "
        f"certificate is valid and for the name %(peer)s. Then run `{PLAYBOOK}setup`.",
    ),
    "greeting": (
        "peer_is_not_doveadm",
        "The peer's port belongs to something else than Dovecot's doveadm listener, or the listener refuses this host.",
        f"Let mail_replica name the port of the doveadm listener, as {SETUP} does.",
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
        f"Correct what ssh complains of. `{PLAYBOOK}setup` exchanges the keys again.",
    ),
}


LISTENER_ADDRESS = "service/doveadm/inet_listener/replication/address"
ADDRESS = re.compile(r"[0-9.]+\Z|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+\Z")


@rule(
    "listens_elsewhere",
    ERROR,
    "The doveadm listener is bound to addresses other than those by which the peer calls this host.",
    f"Set `replication_listen: %(addresses)s` for %(host)s, then run {SETUP}.",
)
def _listens_elsewhere(host: Host) -> Found:
    setting = _setting(host, LISTENER_ADDRESS)
    if not setting["value"]:
        setting = _setting(host, "listen")
    bound = set(setting["value"].replace(",", " ").split())
    caller: Mapping[str, Any] = host.peer.seen.get("peer", {}) if host.peer else {}
    # A name among them could be any address.
    known = bool(bound) and all(map(ADDRESS.match, bound.difference(ANY_ADDRESS)))
    if (
        caller.get("stage") == "connect"
        and known
        and not bound.intersection(ANY_ADDRESS)
        and not bound.intersection(caller["addresses"])
    ):
        yield {
            "evidence": f"{setting['setting']} is {_is(setting)}, and {caller['host']} is "
            f"{enumerated(caller['addresses'])}",
            "addresses": json.dumps(caller["addresses"]),
        }


# Where a line that sets another peer or password may be the reason.
OVERRIDABLE = ("lookup", "connect", "tls_expected", "no_tls", "greeting", "no_password", "password", "ssh")


def _rule_for_stage(stage: str, name: str, summary: str, cure: str) -> None:
    @rule(name, ERROR, summary, "%(cure)s")
    def _look(host: Host) -> Found:
        peer = host.seen["peer"]
        missing = _missing_plugins(host.peer) if host.peer else []
        # A doveadm that ends at once does not greet.
        explained = stage == "greeting" and any(_doveadm_is_in(scopes) for _plugin, scopes, _place in missing)
        if peer["stage"] == stage and not peer["is_self"] and not explained:
            at = peer["host"] + ("" if peer["port"] is None else f" port {peer['port']}")
            evidence = f"logging in at {at}" + (f": {peer['answer']}" if peer["answer"] else "")
            deciding = "doveadm_password" if "password" in stage else "plugin/mail_replica"
            place = _setting(host, deciding)["place"]
            overridden = stage in OVERRIDABLE and place is not None and not _is_own(place)
            named = {"host": host.name, "peer": peer["host"], "port": peer["port"]}
            yield {"evidence": evidence, "cure": _cure_of(host, place) if overridden else cure % named}


for _stage, _texts in STAGES.items():
    _rule_for_stage(_stage, *_texts)

# What is found of a peer that is still to be set up, and what follows from that.
OF_THE_PEER = {name for name, _summary, _cure in STAGES.values()} | CURED_BY_A_SYNC | {"starvation"}


COMES_LATER = Rule(
    "peer_comes_later",
    WARNING,
    "%(other)s is not in this run and not ready, so nothing is replicated yet, and nothing was proved.",
    f"Run `{PLAYBOOK}setup` for both hosts, or with `--limit %(other)s`.",
    lambda host: iter(()),
)


def before_its_turn(found: Sequence[Finding], name: str, other: str) -> List[Finding]:
    """Return the findings about a host that is set up before the other one of its pair.

    :arg found: of that host alone
    :arg name: of that host
    """
    reasons = [finding for finding in found if finding["id"] in OF_THE_PEER]
    if not reasons:
        return list(found)
    evidence = f"{reasons[0]['evidence']}. No sync from {name} has ever succeeded."
    waiting = _finding(COMES_LATER, name, {"other": other, "evidence": evidence})
    return [*(finding for finding in found if finding not in reasons), waiting]


# The sockets


@rule(
    "replicator_socket_missing",
    ERROR,
    "The replicator has no socket for commands, so its state cannot be seen and the peer cannot tell it of syncs.",
    f"Run {SETUP}, which configures the listener with a mode.",
    engines=[REPLICATOR],
)
def _replicator_socket_missing(host: Host) -> Found:
    listener = _listener(host, "replicator-doveadm")
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
    engines=[REPLICATOR],
)
def _replicator_unreachable(host: Host) -> Found:
    listener = _listener(host, "replicator-doveadm")
    if host.seen["replicator"]["problem"] and host.seen["socket_path"] in listener["configured"]:
        yield {"evidence": host.seen["replicator"]["problem"]}


@rule(
    "socket_elsewhere",
    WARNING,
    "Dovecot's own processes do not find this socket, as it is not in base_dir.",
    f"Configure it by its name alone, without a directory, as {SETUP} does.",
    engines=[REPLICATOR],
)
def _socket_elsewhere(host: Host) -> Found:
    base_dir = _setting(host, "base_dir")["value"]
    for listener in host.seen["listeners"]:
        if not listener["in_base_dir"]:
            yield {"evidence": f"{listener['name']} is at {listener['path']}, and base_dir is {base_dir}"}


@rule(
    "notify_shut_out",
    ERROR,
    "Changes of mail do not start a sync, as the mail's owner may not announce them.",
    "Give replication_mail_user the owner's name, or the sockets a group that all owners of mail share "
    f"(replication_notify_socket, replication_notify_fifo), and run `{PLAYBOOK}setup`.",
    engines=[REPLICATOR],
)
def _notify_shut_out(host: Host) -> Found:
    for name in ("replication-notify", "replication-notify-fifo"):
        yield from _shut_out(_listener(host, name))


@rule(
    "replicator_shut_out",
    WARNING,
    "After a sync that the peer has started, this host's replicator is not told of it.",
    "Give replication_mail_user the owner's name, or the socket a group that all owners of mail share "
    f"(replication_doveadm_socket), and run `{PLAYBOOK}setup`.",
    engines=[REPLICATOR],
)
def _replicator_shut_out(host: Host) -> Found:
    yield from _shut_out(_listener(host, "replicator-doveadm"))


def _shut_out(listener: Mapping[str, Any]) -> Found:
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
    engines=[REPLICATOR],
)
def _replicator_open_to_all(host: Host) -> Found:
    listener = _listener(host, "replicator-doveadm")
    if listener["exists"] and int(listener["mode"], 8) & 0o002:
        yield {"evidence": f"{listener['path']} has mode {listener['mode']}"}


# Users


@rule(
    "userdb_cannot_list",
    ERROR,
    "Only mailboxes that change are replicated, as the userdb cannot list its users.",
    "Make the userdb list them: replication_iterate for SQL and LDAP, or another userdb. doveadm user '*' on %(host)s "
    "must print all users.",
)
def _userdb_cannot_list(host: Host) -> Found:
    # Where Dovecot is stopped this says nothing of the userdb.
    userdb = host.seen["userdb"]
    if userdb["required"] and not host.seen["replicator"]["problem"]:
        yield from ({"evidence": text} for text in _not_listing(userdb))


def _not_listing(userdb: Mapping[str, Any]) -> List[str]:
    return [userdb["problem"]] if userdb["problem"] else userdb["passed_over"]


@rule(
    "userdb_empty",
    ERROR,
    "Only mailboxes that change are replicated, as the userdb lists no one.",
    "Make the userdb list its users: replication_iterate for SQL and LDAP. doveadm user '*' on %(host)s must print all "
    "users.",
)
def _userdb_empty(host: Host) -> Found:
    if host.seen["userdb"]["required"] and host.seen["userdb"]["users"] == 0:
        yield {"evidence": LISTS_NOBODY}


@rule(
    "users_not_listed",
    WARNING,
    "The userdb does not list its users, which replication_require_iteration: false accepts. So only those on the "
    "replicator's list are looked at; other users come onto it with their next mail.",
    "To have all users replicated, have doveadm user '*' on %(host)s print them, and remove that variable. To put "
    "a user on the list now, name the user in replication_users of the playbook resync.",
)
def _users_not_listed(host: Host) -> Found:
    userdb = host.seen["userdb"]
    reasons = _not_listing(userdb) or ([] if userdb["users"] else [LISTS_NOBODY])
    if not userdb["required"] and reasons and not host.seen["replicator"]["problem"]:
        known = host.seen["replicator"]["overview"]["known_users"]
        yield {"evidence": f"{'; '.join(reasons)}; on the replicator's list: {known}"}


@rule(
    "accounts_without_mail",
    ERROR,
    "The userdb lists system accounts that have no place for mail, and their syncs fail for ever.",
    f"Set replication_first_valid_uid: 1000 and replication_last_valid_uid: 65533, or what leaves out just these, and "
    f"run {SETUP}. Then run `systemctl restart dovecot` on %(host)s.",
)
def _accounts_without_mail(host: Host) -> Found:
    found = host.seen["userdb"]["without_mail"]
    if found["count"]:
        yield {"evidence": f"doveadm user '*' prints {enumerated(found['first'])}"}


@rule(
    "mail_unreadable",
    ERROR,
    "Dovecot cannot open mailboxes of users, and so not sync them.",
    "Correct what Dovecot says until `%(command)s` on %(host)s prints a number. Then run `%(resync)s`.",
)
def _mail_unreadable(host: Host) -> Found:
    known = host.seen["userdb"]["without_mail"]["first"]
    accounts = {name: account for name, account in _accounts(host).items() if account["read_problem"]}
    names = sorted(set(accounts).difference(known))
    if names:
        yield {
            "evidence": f"{enumerated(names)}; of {names[0]}: {accounts[names[0]]['read_problem']}",
            "command": f"doveadm mailbox status -u {shlex.quote(names[0])} messages INBOX",
            "resync": resync(names),
        }


@rule(
    "listed_not_found",
    WARNING,
    "The userdb lists names that it does not find when asked for them, so they are not replicated.",
    "Correct these rows or leave them out of the list. `doveadm user NAME` on %(host)s must find each name: "
    "auth_username_chars must allow its characters, and auth_username_format must leave it as it is.",
)
def _listed_not_found(host: Host) -> Found:
    names = sorted(name for name, item in _accounts(host).items() if item["listed"] and item["exists"] is False)
    if names:
        said = [error for error in host.seen["errors"] if any(name and name in error for name in names)][-1:]
        yield {"evidence": enumerated(names) + (f"; Dovecot's log says: {said[0]}" if said else "")}


@rule(
    "aliases_listed",
    WARNING,
    "The userdb lists accounts by several names, and their mail is synced for each name.",
    "Leave the aliases out of the list, in SQL out of iterate_query.",
)
def _aliases_listed(host: Host) -> Found:
    found = host.seen["userdb"]["aliases"]
    if found["count"]:
        yield {"evidence": enumerated(found["first"])}


@rule(
    "chrooted",
    ERROR,
    "Mail processes run in a chroot, where they cannot reach replication-notify-fifo: no change starts a sync.",
    "%(cure)s",
    engines=[REPLICATOR],
)
def _chrooted(host: Host) -> Found:
    setting = _setting(host, "mail_chroot")
    if setting["value"]:
        yield {"evidence": f"mail_chroot is {_is(setting)}", "cure": _cure_of(host, setting["place"])}
    users = host.seen["userdb"]["chrooted"]
    if users["count"]:
        yield {
            "evidence": f"it is so for {enumerated(users['first'])}",
            "cure": "In the userdb, give them a home without `/./` and no field chroot, then run "
            f"`systemctl reload dovecot` on {host.name}.",
        }


def _fields(host: Host, *names: str) -> List[Mapping[str, Any]]:
    return [entry for entry in host.seen["fields"] if entry["field"] in names]


def _field_found(entry: Mapping[str, Any], why: str = "") -> Details:
    """Return the Details about a userdb field of users."""
    field, place, users = entry["field"], entry["place"], entry["users"]
    more = f" and {users['count'] - len(users['first'])} more" if users["count"] > len(users["first"]) else ""
    return {
        "evidence": f"{field}={entry['value']} of {enumerated(users['first'])}{more}"
        + (f" (set in {place})" if place else "")
        + (f": {why}" if why else ""),
        "where": f"{field} from {place}" if place else f"the userdb field {field} from the entries of these users",
        "at": place or "the entries of these users",
    }


@rule(
    "user_replica_elsewhere",
    ERROR,
    "A userdb field sends the syncs of users elsewhere than to the peer, and replaces the setting mail_replica.",
    "Remove %(where)s on %(host)s (in a passwd-file and for prefetch it is userdb_mail_replica). Then run "
    "`systemctl reload dovecot` there. Setup cannot do it.",
    engines=[REPLICATOR],
)
def _user_replica_elsewhere(host: Host) -> Found:
    for entry in _fields(host, "mail_replica"):
        why = _astray(entry["replica"], host.seen["peer"])
        if why:
            yield _field_found(entry, why)


def _astray(replica: Mapping[str, Any], peer: Mapping[str, Any]) -> str:
    """Return why the replica of a user is not the peer, empty where it is."""
    if replica["problem"]:
        return str(replica["problem"])
    if replica["is_self"]:
        return f"{enumerated(replica['addresses'])} is an address of this host itself"
    if not replica["addresses"]:
        return "its host cannot be looked up"
    if not peer["addresses"]:
        return ""
    same = set(replica["addresses"]).intersection(peer["addresses"]) and replica["port"] == peer["port"]
    return "" if same else f"the peer is {peer['replica']}"


@rule(
    "user_plugins_missing",
    ERROR,
    "A userdb field replaces mail_plugins for users and leaves out plugins of replication, so changes of their mail "
    "start no sync.",
    "Add notify and replication to the userdb field mail_plugins in %(at)s on %(host)s, or remove the field. Then run "
    "`systemctl reload dovecot` there. Setup cannot do it.",
    engines=[REPLICATOR],
)
def _user_plugins_missing(host: Host) -> Found:
    for entry in _fields(host, "mail_plugins"):
        missing = {"notify", "replication"}.difference(entry["value"].replace(",", " ").split())
        if missing:
            yield _field_found(entry, f"without {' and '.join(sorted(missing))}")


@rule(
    "everyone_left_out",
    ERROR,
    "No user is replicated, as the userdb field noreplicate is set.",
    "Remove %(where)s, on both hosts.",
    engines=[REPLICATOR],
)
def _everyone_left_out(host: Host) -> Found:
    if _lists_no_one(host):
        for entry in _fields(host, "noreplicate"):
            if _is_true(entry["value"]):
                yield _field_found(entry)


@rule(
    "users_left_out",
    WARNING,
    "Users are not replicated, as the userdb field noreplicate is set for them.",
    "Where that is not intended, remove %(where)s, on both hosts.",
    engines=[REPLICATOR],
)
def _users_left_out(host: Host) -> Found:
    if not _lists_no_one(host):
        for entry in _fields(host, "noreplicate"):
            if _is_true(entry["value"]):
                yield _field_found(entry)


def _lists_no_one(host: Host) -> bool:
    return host.seen["replicator"].get("overview", {"known_users": 1})["known_users"] == 0


def _is_true(value: str) -> bool:
    return value[:1] not in ("n", "N", "0", "f", "F")


@rule(
    "mail_location_shared",
    ERROR,
    "Users have their mail in one place by a userdb field, and each of them syncs it.",
    "Give each user a place of its own in the field, or set noreplicate for all of them but one, on both hosts.",
)
def _mail_location_shared(host: Host) -> Found:
    for entry in _fields(host, "mail", "mail_location"):
        if entry["users"]["count"] > 1 and ":/" in entry["value"]:
            yield _field_found(entry)


@rule(
    "user_mail_in_mbox",
    WARNING,
    "Users have their mail in mbox by a userdb field. The syncs of Dovecot 2.3 crash on mbox.",
    "Convert the mail of these users to maildir (`doveadm sync` with the new location), and correct %(at)s.",
)
def _user_mail_in_mbox(host: Host) -> Found:
    for entry in _fields(host, "mail", "mail_location"):
        if entry["value"].startswith("mbox:"):
            yield _field_found(entry)


@rule(
    "user_quota_differs",
    WARNING,
    "Users have another quota on the other host, which gives or refuses them room when it takes over. Syncs check only "
    "quota_max_mail_size.",
    "Give the field the same value on both hosts.",
)
def _user_quota_differs(host: Host) -> Found:
    yield from _differing(host, "quota")


@rule(
    "user_namespaces_differ",
    WARNING,
    "Users have other namespaces on the other host by userdb fields. Their syncs can fail, or miss mailboxes.",
    "Give the field the same value on both hosts.",
)
def _user_namespaces_differ(host: Host) -> Found:
    yield from _differing(host, "namespace/")


def _differing(host: Host, prefix: str) -> Found:
    """Yield each field that users have on both hosts, with another value there; one host tells it for the pair."""
    if host.peer and "fields" in host.peer.seen and host.name < host.peer.name:
        here, there = _values(host, prefix), _values(host.peer, prefix)
        for name, field in sorted(set(here).intersection(there)):
            if here[name, field] != there[name, field]:
                values = f"{here[name, field]} here and {there[name, field]} on {host.peer.name}"
                yield {"evidence": f"{field} of {name} is {values}"}


def _values(host: Host, prefix: str) -> Dict[Tuple[str, str], str]:
    return {
        (name, entry["field"]): entry["value"]
        for entry in host.seen["fields"]
        if entry["field"].startswith(prefix)
        for name in entry["users"]["first"]
    }


@rule(
    "noreplicate_one_sided",
    ERROR,
    "The userdb field noreplicate is set on this host alone: here the users are dropped, and their syncs from the peer "
    "crash.",
    "Set noreplicate for them on both hosts, or on none.",
    engines=[REPLICATOR],
)
def _noreplicate_one_sided(host: Host) -> Found:
    if host.peer:
        names = _where(host, lambda here, there: here["noreplicate"] and there["exists"] and not there["noreplicate"])
        if names:
            yield {"evidence": f"it is set for {enumerated(names)}, and not on {host.peer.name}"}


@rule(
    "account_missing",
    ERROR,
    "Users of the peer have no account on this host, so their mail is on one host only.",
    "Create the accounts on %(host)s, then run `%(command)s`. If they were deleted or renamed there on purpose, do the "
    "same on %(peer)s instead.",
)
def _account_missing(host: Host) -> Found:
    if host.peer:
        names = _where(
            host, lambda here, there: there["exists"] and not there["noreplicate"] and here["exists"] is False
        )
        if names:
            evidence = f"{enumerated(names)} {'is' if len(names) == 1 else 'are'} known on {host.peer.name} only"
            yield {"evidence": evidence, "command": resync(names), "peer": host.peer.name}


def _where(host: Host, condition: Callable[[Any, Any], bool]) -> List[str]:
    """Return the accounts looked up on both hosts for which a condition on (here, there) holds."""
    here, there = _accounts(host), _accounts(host.peer)
    return sorted(name for name in set(here).intersection(there) if condition(here[name], there[name]))


@rule(
    "mailbox_made_twice",
    ERROR,
    "Each host has made mailboxes of these users for itself. The users fail, and nothing is logged.",
    "Run `%(command)s`, which brings the mail of both hosts together and loses none.",
)
def _mailbox_made_twice(host: Host) -> Found:
    # It is a fault of the pair, so one host tells it.
    if not host.peer or host.peer.name < host.name:
        return
    here, there = _accounts(host), _accounts(host.peer)
    failing = _failing(host).union(_failing(host.peer))
    twice = {name: _made_twice(here[name], there[name]) for name in failing.intersection(here).intersection(there)}
    names = sorted(name for name in twice if twice[name])
    if names:
        mine, other = twice[names[0]][0]
        evidence = (
            f"{enumerated(names)}; {mine['name']} of {names[0]} has GUID {mine['guid']} and {mine['messages']} "
            f"messages here, GUID {other['guid']} and {other['messages']} on {host.peer.name}"
        )
        yield {"evidence": evidence, "command": f"{PLAYBOOK}adopt"}


def _made_twice(here: Mapping[str, Any], there: Mapping[str, Any]) -> List[Tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the mailboxes of a user that have one name and two GUIDs, each as on (here, there)."""
    theirs = {mailbox["name"]: mailbox for mailbox in there["mailboxes"]}
    pairs = [(mine, theirs.get(mine["name"], mine)) for mine in here["mailboxes"]]
    return [(mine, other) for mine, other in pairs if mine["guid"] != other["guid"]]


def _failing(host: Host) -> Set[str]:
    return set(host.seen.get("replicator", {}).get("failing", {"first": []})["first"])


@rule(USERS_FAILING, ERROR, "The syncs of users fail.", "%(cure)s")
def _users_failing(host: Host) -> Found:
    failing = host.seen["replicator"].get("failing", {"count": 0, "first": []})
    lines = {name: _logged(host, name) for name in failing["first"]}
    causes = {name: _causes.cause_of(lines[name]) for name in lines}
    # Of those beyond the first ones only the number is known.
    more = failing["count"] - len(lines)
    for known in dict.fromkeys(causes.values()):
        names = [name for name in causes if causes[name] == known]
        evidence = f"{len(names) + more} of {host.seen['replicator']['overview']['known_users']}: {enumerated(names)}"
        more = 0
        words = {"command": resync(names)}
        if known:
            cause, words["host"] = known
            evidence += f"; {cause.reason % words}"
            cure = cause.cure % words
        else:
            cure = "When no other finding explains it, look into the logs of both hosts. Then run `%(command)s`."
            cure %= words
        quotes = [f"{where}: {text}" for name in names for where, text in lines[name]][-QUOTED:]
        logged = f"Dovecot's last errors, {' | '.join(quotes)}" if quotes else f"no error of them in {_logs(host)}"
        yield {"evidence": f"{evidence}; {logged}", "cure": cure}


def _logged(host: Host, name: str) -> List[Tuple[str, str]]:
    """Return what both hosts have logged of a user of late, pairs of host and text; the peer's come first."""
    of_user = re.compile(r"(?<![\w.@+-])%s(?![\w@-])" % re.escape(name))
    sides = [side for side in (host.peer, host) if side]
    logged = [
        (host.peer.name if host.peer and side is host and "remote(" in text else side.name, text)
        for side in sides
        for text in [error for error in side.seen.get("errors", []) if of_user.search(error)][-QUOTED:]
    ]
    problems = (host.seen.get("syncer") or {}).get("problems", [])
    return logged + [(host.name, item["problem"]) for item in problems if item["username"] == name]


def _logs(host: Host) -> str:
    """Return the logs that were read, for a sentence."""
    if host.peer:
        return f"the logs of {host.name} and {host.peer.name}"
    return f"the log of {host.name}; that of its peer was not read"


@rule(
    "starvation",
    WARNING,
    "Before Dovecot 2.3.20 one failing user keeps others from their first and their daily syncs.",
    f"Cure the failing users; meanwhile `{PLAYBOOK}resync` syncs all users. Dovecot 2.3.20 fixes it (Debian 12: "
    "bookworm-backports).",
    engines=[REPLICATOR],
)
def _starvation(host: Host) -> Found:
    failing = host.seen["replicator"].get("failing", {"count": 0})
    if failing["count"] and (parse_version(host.seen["dovecot_version"] or "") or QUEUE_FIXED) < QUEUE_FIXED:
        waiting = host.seen["replicator"]["overview"]["queued_full_resync"]
        yield {
            "evidence": f"Dovecot {host.seen['dovecot_version']}, {failing['count']} failing, {waiting} waiting behind"
        }


@rule(
    "queue_standing",
    ERROR,
    "The queue does not move: users are queued and no sync runs.",
    "Run `systemctl restart dovecot` on %(host)s; the queue is kept.",
    engines=[REPLICATOR],
)
def _queue_standing(host: Host) -> Found:
    standing = host.seen["replicator"].get("standing", {"count": 0})
    if standing["count"] and _setting(host, "replication_max_conns")["value"] != "0":
        yield {"evidence": f"{standing['count']} queued, none running: {enumerated(standing['first'])}"}


@rule(
    "syncs_stuck",
    ERROR,
    "Syncs wait for a peer that does not answer, and others wait for their slots.",
    "Restart Dovecot on the peer; then, on %(host)s, `systemctl reload dovecot` ends them at once.",
    engines=[REPLICATOR],
)
def _syncs_stuck(host: Host) -> Found:
    running = host.seen["replicator"].get("running", [])
    if running and host.seen["peer"]["stage"] == "silent":
        parts = [f"{slot['username']} for {slot['seconds']} s ({slot['status']})" for slot in running]
        yield {"evidence": ", ".join(parts)}


@rule(
    "mail_unlisted",
    WARNING,
    "Users with mail are not on the replicator's list, so their mail is not replicated before it changes.",
    "Run `%(command)s`.",
)
def _mail_unlisted(host: Host) -> Found:
    unlisted = host.seen["replicator"].get("unlisted", {"first": []})
    missing = _known_missing(host)
    accounts = _accounts(host)
    # A timer that is on hold from its start on has listed nobody yet.
    waiting = engine_of(host.seen) in SYNCERS and _held(host)
    names = [
        name
        for name in ([] if waiting else unlisted["first"])
        if name not in missing and not accounts[name]["noreplicate"] and _messages(accounts[name])
    ]
    if names:
        yield {"evidence": f"{enumerated(names)}; {unlisted['count']} unlisted in all", "command": resync(names)}


def _messages(account: Mapping[str, Any]) -> int:
    return sum(mailbox["messages"] for mailbox in account["mailboxes"])


def _known_missing(host: Host) -> Set[str]:
    """Return the names that have a finding of their own as they are not the same at the peer."""
    there = _accounts(host.peer)
    return {name for name, account in there.items() if account["exists"] is False or account["noreplicate"]}


@rule(
    "unknown_users_listed",
    WARNING,
    "The replicator lists users that the userdb does not have, and tries to sync them for ever. They were deleted or "
    "renamed.",
    "Run `%(command)s` on %(host)s. Their mail stays where it is; a renamed user is listed by the new name.",
    engines=[REPLICATOR],
)
def _unknown_users_listed(host: Host) -> Found:
    yield from _to_remove(host, "unknown_users", "the userdb does not have %s")


@rule(
    "duplicate_spellings_listed",
    WARNING,
    "Mailboxes are on the replicator's list in two spellings, and are synced twice.",
    "Run `%(command)s` on %(host)s.",
    engines=[REPLICATOR],
)
def _duplicate_spellings_listed(host: Host) -> Found:
    yield from _to_remove(host, "duplicate_spellings", "%s differ from another entry in case only")


def _to_remove(host: Host, kind: str, text: str) -> Found:
    found = host.seen["replicator"].get(kind, {"count": 0})
    if found["count"]:
        commands = [f"doveadm replicator remove -- {shlex.quote(name)}" for name in found["first"]]
        yield {"evidence": text % enumerated(found["first"]), "command": "; ".join(commands)}


# Both hosts together


def _both(hosts: Sequence[Host]) -> bool:
    return len(hosts) == 2 and all(host.seen.get("config_problem") is None for host in hosts)


@rule(
    "same_hostname",
    ERROR,
    "Both hosts call themselves the same, and damage each other's mailboxes.",
    "Give %(host)s a name of its own with `hostnamectl set-hostname`, then run `systemctl restart dovecot` there.",
    PAIR_RULES,
)
def _same_hostname(hosts: Sequence[Host], proof: Proof) -> Found:
    if len(hosts) == 2 and hosts[0].seen["hostname"] == hosts[1].seen["hostname"]:
        yield {"host": hosts[1].name, "evidence": f"both are {hosts[1].seen['hostname']}"}


@rule(
    "storage_differs",
    WARNING,
    "The hosts keep mail in different formats. That replicates, but a host cannot take the files of the other one.",
    "While you convert the mail host by host this is as it should be. Else give both hosts one format.",
    PAIR_RULES,
)
def _storage_differs(hosts: Sequence[Host], proof: Proof) -> Found:
    if _both(hosts):
        formats = [host.seen["settings"].get("storage", "") for host in hosts]
        if all(formats) and formats[0] != formats[1]:
            parts = [f"{kind} on {host.name}" for host, kind in zip(hosts, formats)]
            yield {"host": hosts[1].name, "evidence": f"mail is {' and '.join(parts)}"}


@rule(
    "alt_char_differs",
    WARNING,
    "Names of mailboxes come out differently on the two hosts.",
    "%(cure)s Or set it to the same on the other host.",
    PAIR_RULES,
)
def _alt_char_differs(hosts: Sequence[Host], proof: Proof) -> Found:
    if _both(hosts):
        settings = [_setting(host, "dsync_alt_char") for host in hosts]
        if settings[0]["value"] != settings[1]["value"]:
            parts = [f"{_is(setting)} on {host.name}" for host, setting in zip(hosts, settings)]
            # Where both are set the second one is named.
            host, setting = [pair for pair in zip(hosts, settings) if pair[1]["place"]][-1]
            cure = _cure_of(host, setting["place"])
            yield {"host": host.name, "evidence": "dsync_alt_char is " + ", ".join(parts), "cure": cure}


@rule(
    "namespaces_differ",
    ERROR,
    "A namespace of one host is missing on the other, and syncs of users with mail in it fail.",
    "Configure the same namespaces with the same prefixes on both hosts, then run `systemctl reload dovecot` there.",
    PAIR_RULES,
)
def _namespaces_differ(hosts: Sequence[Host], proof: Proof) -> Found:
    if _both(hosts):
        prefixes = [_prefixes(host) for host in hosts]
        for host, here, there in zip(hosts, prefixes, prefixes[::-1]):
            missing = sorted(set(there) - set(here))
            if missing:
                names = ", ".join(repr(there[prefix]) for prefix in missing)
                yield {"host": host.name, "evidence": f"no private namespace here has the prefix {names}"}


def _prefixes(host: Host) -> Dict[str, str]:
    """Return the prefixes of the private namespaces by what they are in any separator, as dsync translates those."""
    return {
        re.sub(r"[./^\\]", "/", namespace["prefix"]): namespace["prefix"]
        for namespace in host.seen["settings"]["namespaces"]
        if namespace["type"] == "private"
    }


# The proof


@rule(
    "probe_not_saved",
    ERROR,
    "The probe could not be saved in its mailbox.",
    "Correct what Dovecot complains of. replication_probe_user must be a mailbox that both hosts have.",
    PAIR_RULES,
)
def _probe_not_saved(hosts: Sequence[Host], proof: Proof) -> Found:
    for way in proof.get("probes", []):
        if not way["sent"]:
            yield {"host": way["from"], "evidence": way["message"]}


@rule(
    "probe_not_announced",
    ERROR,
    "A mail arrived on the other host only after an explicit sync: changes of mail do not start one.",
    "When no other finding explains it, run `systemctl restart dovecot` on %(host)s.",
    PAIR_RULES,
)
def _probe_not_announced(hosts: Sequence[Host], proof: Proof) -> Found:
    # A timer is told of no change.
    announcing = {host.name for host in hosts if engine_of(host.seen) != TIMER}
    for way in proof.get("probes", []):
        if way["sent"] and way["arrived"] and not way["announced"] and way["from"] in announcing:
            yield {"host": way["from"], "evidence": f"the probe reached {way['to']} only by an explicit sync"}


@rule(
    "probe_lost",
    ERROR,
    "A mail does not arrive on the other host.",
    "When no other finding explains it, run `doveadm -v sync -u %(user)s -d -N` on %(host)s, which tells the reason.",
    PAIR_RULES,
)
def _probe_lost(hosts: Sequence[Host], proof: Proof) -> Found:
    for way in proof.get("probes", []):
        if way["sent"] and not way["arrived"]:
            evidence = f"the probe did not reach {way['to']}" + (f": {way['message']}" if way["message"] else "")
            yield {"host": way["from"], "evidence": evidence, "user": proof["probe_user"]}


@rule(
    "sync_failed",
    ERROR,
    "Requested syncs have failed.",
    "When no other finding explains it, the reason is in the log of %(host)s.",
    PAIR_RULES,
)
def _sync_failed(hosts: Sequence[Host], proof: Proof) -> Found:
    for host, message in sorted(proof.get("syncs", {}).items()):
        if message:
            yield {"host": host, "evidence": message}


@rule(
    "mail_not_compared",
    ERROR,
    "The mail of users cannot be read, so nobody knows whether it is the same on both hosts.",
    "Correct what Dovecot says on %(host)s, then run verify again.",
    PAIR_RULES,
)
def _mail_not_compared(hosts: Sequence[Host], proof: Proof) -> Found:
    for host, problems in sorted(proof.get("unreadable", {}).items()):
        first = sorted(problems)[0]
        yield {"host": host, "evidence": f"{enumerated(sorted(problems))}; of {first}: {problems[first]}"}


@rule(
    "mail_differs",
    ERROR,
    "The two hosts do not have the same mail, although their syncs have succeeded.",
    "Run `%(command)s`: a full sync compares everything.",
    PAIR_RULES,
)
def _mail_differs(hosts: Sequence[Host], proof: Proof) -> Found:
    names = proof.get("differing", [])
    if names:
        command = f"{PLAYBOOK}resync -e '{json.dumps({'replication_users': names, 'replication_full': True})}'"
        evidence = f"the fingerprints differ for {enumerated(names)} of {proof['compared']} users compared"
        yield {"host": hosts[0].name, "evidence": evidence, "command": command}
