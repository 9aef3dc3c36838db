# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a playbook hands over as ``replication_result``, and the report that it shows. Pure. PRIVATE to this collection.

docs/results.md describes the keys. A list of users in a result has at most ``MOST_NAMES`` names.
"""

import json
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import enumerated
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import parse_version
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _upgrade
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._diagnosis import doubled_mail
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._side import is_2_4

MOST_NAMES = 20
# How many hosts the message names, how many failing users, and how much of what a host says.
MOST_HOSTS, MOST_EXAMPLES, LONGEST_MESSAGE = 3, 3, 500
NO_RESULT = "No result: it could not be reached, or the run was broken off. See the output."
NEEDS_SSH = " This playbook does not go by replication_api_url, it needs ssh."
# Those that go by replication_api_url.
OVER_THE_API = ("status", "resync")
VERIFY = "`ansible-playbook mailops.dovecot_replication.verify`"
NAMES_CAUSES = VERIFY + ", which names causes and cures."
PROVES = VERIFY + ", which proves that mail arrives."
MAIL_DIFFERS_NOW = "Next: send clients and new mail to one host only, as the two differ from now on."


class Facts(NamedTuple):
    """What the tasks of a play have left of one host: results of modules, empty for a task that has not run."""

    host: Mapping[str, Any]
    config: Mapping[str, Any]
    seen: Mapping[str, Any]
    # Of the whole pair; None before anything was looked at.
    findings: Optional[Sequence[Mapping[str, Any]]]
    compared: int
    hold: Mapping[str, Any]
    queue: Mapping[str, Any]
    status: Mapping[str, Any]
    resync: Mapping[str, Any]
    # The record of plugin_utils/_adoption.py.
    adoption: Mapping[str, Any]
    # Of node_info with ``gather: [upgrade]``.
    upgrade: Mapping[str, Any]
    # What the collector of the role monitoring answers.
    watched: Mapping[str, Any]
    # What needs a person, empty where nothing does.
    failure: str


def facts_of(variables: Mapping[str, Any]) -> Facts:
    """Return what the variables of a host say; all names of variables that the results are made of are here."""
    outcome = variables.get("__replication_outcome") or {}
    decision = variables.get("__replication_decision") or {}
    return Facts(
        host=decision.get("observed") or {},
        config=variables.get("__replication_config") or {},
        seen=variables.get("__replication_seen") or {},
        findings=variables.get("replication_findings"),
        compared=(variables.get("__replication_conclusion") or {}).get("compared") or 0,
        hold=variables.get("__replication_hold_config") or {},
        queue=variables.get("__replication_queue") or {},
        status=variables.get("__replication_status") or {},
        resync=variables.get("__replication_resync") or {},
        adoption=variables.get("__replication_adoption") or {},
        watched=_answered(variables.get("__monitoring_answer") or {}),
        upgrade=(variables.get("__replication_upgrade") or {}).get("upgrade") or {},
        failure=str(outcome.get("msg", "")) if outcome.get("failed") else "",
    )


def _answered(command: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        found = json.loads(command.get("stdout") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class Run(NamedTuple):
    """A play, as far as its result depends on it.

    :arg facts: of all hosts that it was to run on, by inventory name and in its order
    :arg active: the hosts that have neither failed nor become unreachable
    :arg pairs: the hosts of the pair of each host
    :arg absent: ``setup`` was to take replication away
    :arg hold: ``drain`` was to hold, not to release
    :arg api: replication_api_url is set
    """

    playbook: str
    check_mode: bool
    facts: Mapping[str, Facts]
    active: Sequence[str] = ()
    pairs: Mapping[str, Sequence[str]] = {}
    absent: bool = False
    hold: bool = True
    api: bool = False


Hosts = Dict[str, Dict[str, Any]]


def begun(run: Run) -> Dict[str, Any]:
    """Return what is handed over before anything is done, for when no host can be reached."""
    return _result(run, {name: _no_result(run) for name in run.facts})


def ended(run: Run) -> Dict[str, Any]:
    """Return what is handed over at the end."""
    return _result(run, hosts_of(run))


def report(run: Run) -> List[str]:
    """Return what is shown at the end as lines, none for a playbook that reports by itself."""
    return PLAYBOOKS[run.playbook].report(run)


def failure(failed: Mapping[str, Any]) -> str:
    """Return why a task has failed.

    :arg failed: its result; of a loop only the items tell why
    """
    items = failed.get("results")
    parts = [item for item in items if item.get("failed")] if items else [failed]
    messages = [str(part["msg"]) for part in parts if part.get("msg")]
    return " ".join(dict.fromkeys(messages)) or "Stopped, as another host failed."


def hosts_of(run: Run) -> Hosts:
    """Return the result of each host."""
    return {name: _host(run, name) for name in run.facts}


def _host(run: Run, name: str) -> Dict[str, Any]:
    facts = run.facts[name]
    if not facts.failure and name not in run.active:
        return _no_result(run)
    known = PLAYBOOKS[run.playbook].known(run, name)
    return {**known, "ok": not facts.failure, "message": facts.failure}


def _no_result(run: Run) -> Dict[str, Any]:
    needs_ssh = run.api and run.playbook not in OVER_THE_API
    return {"ok": False, "message": NO_RESULT + (NEEDS_SSH if needs_ssh else "")}


def _result(run: Run, hosts: Hosts) -> Dict[str, Any]:
    return {
        "playbook": run.playbook,
        "check_mode": run.check_mode,
        "ok": all(host["ok"] for host in hosts.values()),
        "message": message(run, hosts),
        "hosts": hosts,
    }


def message(run: Run, hosts: Hosts) -> str:
    """Return in one line what was done, or who needs a person and why."""
    needy = [name for name, host in hosts.items() if not host["ok"]]
    if needy:
        verb = "needs" if len(needy) == 1 else "need"
        parts = ["%d of %s %s a person." % (len(needy), _counted(len(hosts), "host"), verb)]
        parts += ["%s: %s" % (name, _short(hosts[name]["message"])) for name in needy[:MOST_HOSTS]]
        if run.playbook in ("status", "resync", "drain", "adopt"):
            parts.append("Next: %s" % NAMES_CAUSES)
        text = " ".join(parts)
    else:
        text = PLAYBOOKS[run.playbook].good(run, hosts)
    return ("In check mode: " if run.check_mode else "") + text


def _short(text: str) -> str:
    """Return a text as one line of at most LONGEST_MESSAGE characters, cut between words."""
    text = " ".join(text.split())
    if len(text) <= LONGEST_MESSAGE:
        return text
    return text[: LONGEST_MESSAGE - 3].rsplit(" ", 1)[0] + "..."


def _counted(number: int, noun: str) -> str:
    return "%d %s%s" % (number, noun, "" if number == 1 else "s")


def _changed(config: Mapping[str, Any]) -> Dict[str, Any]:
    return {
        "changed": config.get("changed"),
        "changed_files": [entry["path"] for entry in config.get("files") or []],
    }


def _verified(run: Run, name: str) -> Dict[str, Any]:
    findings = run.facts[name].findings
    pair = [run.facts[member] for member in run.pairs.get(name, [name]) if member in run.facts]
    return {
        "findings": None if findings is None else [dict(entry) for entry in findings if entry["host"] == name],
        "compared_users": max([facts.compared for facts in pair] or [0]),
    }


def verdict(hosts: Hosts) -> str:
    """Return what a proof has shown on hosts of which none needs a person."""
    found = [finding["severity"] for host in hosts.values() for finding in host["findings"] or []]
    compared = [host["compared_users"] for host in hosts.values()]
    if min(compared):
        proof = "Users of each pair have the same mail on both hosts."
    else:
        proof = "Not every pair was proved." if max(compared) else "No proof was tried."
    return "%s %s" % (errors_and_warnings(found), proof)


def errors_and_warnings(severities: Sequence[str]) -> str:
    """Return how many of each severity there are, a sentence.

    >>> errors_and_warnings(["error", "error"])
    '2 errors, no warnings.'
    """
    counts = [(severities.count(kind), kind) for kind in ("error", "warning")]
    text = ", ".join(_counted(number, kind) if number else "no %ss" % kind for number, kind in counts)
    return text[0].upper() + text[1:] + "."


def _no_report(run: Run) -> List[str]:
    return []


# setup


def _setup(run: Run, name: str) -> Dict[str, Any]:
    facts = run.facts[name]
    return {
        "dovecot_version": facts.host.get("dovecot_version"),
        **_changed(facts.config),
        **_verified(run, name),
    }


def _setup_good(run: Run, hosts: Hosts) -> str:
    changed = sum(bool(host["changed"]) for host in hosts.values())
    text = "%s, of which %d %s changed." % (
        _counted(len(hosts), "host"),
        changed,
        "would be" if run.check_mode else "were",
    )
    if any(host["findings"] is not None for host in hosts.values()):
        return "%s %s" % (text, verdict(hosts))
    return "%s %s" % (text, "They no longer replicate, and the mail stays." if run.absent else "Next: %s" % PROVES)


# verify


def _verify(run: Run, name: str) -> Dict[str, Any]:
    seen = run.facts[name].seen
    replicator = seen.get("replicator") or {}
    return {
        "dovecot_version": seen.get("dovecot_version"),
        "pair": list(run.pairs.get(name, [name])),
        "known_users": (replicator.get("overview") or {}).get("known_users"),
        "failing": (replicator.get("failing") or {}).get("count"),
        "failing_users": list((replicator.get("failing") or {}).get("first") or [])[:MOST_NAMES],
        "summary": replicator.get("summary"),
        **_verified(run, name),
    }


def _verify_good(run: Run, hosts: Hosts) -> str:
    return verdict(hosts)


# status


def _overview(facts: Facts) -> Mapping[str, Any]:
    return facts.status.get("overview") or {}


def _summary(facts: Facts) -> Mapping[str, Any]:
    return facts.status.get("summary") or {}


def failing_message(status: Mapping[str, Any], fail_on: str) -> str:
    """Return why the users whose syncs fail make a host need a person, empty where they do not.

    :arg status: what replicator_info answers, with the rows of failing users
    """
    number = status["summary"]["failing"]
    if not number or fail_on == "nothing":
        return ""
    names = ", ".join(user["username"] for user in status["users"][:MOST_EXAMPLES])
    return "The syncs of %d of %d users fail, such as %s." % (number, status["summary"]["known_users"], names)


def _status(run: Run, name: str) -> Dict[str, Any]:
    facts = run.facts[name]
    return {
        "dovecot_version": facts.status.get("dovecot_version"),
        "overview": dict(_overview(facts)) or None,
        "summary": dict(_summary(facts)) or None,
        "running": _summary(facts).get("running"),
        "failing": _summary(facts).get("failing"),
        "failing_users": [user["username"] for user in facts.status.get("users") or []][:MOST_NAMES],
    }


def _status_good(run: Run, hosts: Hosts) -> str:
    return "%s with %s, of which %d fail. Next: %s" % (
        _counted(len(hosts), "host"),
        _counted(sum(host["summary"]["known_users"] for host in hosts.values()), "user"),
        sum(host["failing"] for host in hosts.values()),
        PROVES,
    )


ON_HOLD = "%s is on hold: it starts no sync, and changes wait in the queue."
HOST_ROW = "%-28s %8s %8s %8s %8s  %s"
USER_ROW = "%-28s %-36s %-14s %-14s %s"


def _status_report(run: Run) -> List[str]:
    lines = [HOST_ROW % ("HOST", "USERS", "QUEUED", "RUNNING", "FAILED", "DOVECOT")]
    lines += [_host_row(name, facts) for name, facts in run.facts.items()]
    users = [_user_row(name, user) for name, facts in run.facts.items() for user in _shown_users(facts)]
    if users:
        lines += [USER_ROW % ("USER", "ON", "LAST SYNC", "LAST SUCCESS", "STATE"), *users]
    lines += [ON_HOLD % name for name, facts in run.facts.items() if _summary(facts).get("on_hold")]
    fine = all(_summary(facts).get("failing") == 0 for facts in run.facts.values())
    return [*lines, "Nothing fails. %s proves that mail arrives." % VERIFY if fine else "Next: %s" % NAMES_CAUSES]


def _host_row(name: str, facts: Facts) -> str:
    summary = _summary(facts)
    if not summary:
        return HOST_ROW % (name, "-", "-", "-", "-", "no answer")
    # New users, and those whose regular full sync is due, wait as well.
    queued = summary["queued"] + _overview(facts)["queued_full_resync"]
    version = facts.status.get("dovecot_version") or "?"
    return HOST_ROW % (name, summary["known_users"], queued, summary["running"], summary["failing"], version)


def _shown_users(facts: Facts) -> List[Mapping[str, Any]]:
    asked = [user for user in facts.status.get("asked_users") or [] if not user["failed"]]
    return [*(facts.status.get("users") or []), *asked]


def _user_row(host: str, user: Mapping[str, Any]) -> str:
    ages = ago(user["fast_sync_age"]), ago(user["successful_sync_age"])
    return USER_ROW % (user["username"], host, *ages, _state(user))


def _state(user: Mapping[str, Any]) -> str:
    if user["failed"]:
        return "failed"
    if user["running"]:
        return "running"
    return "idle" if user["priority"] == "none" else "queued %s" % user["priority"]


def ago(seconds: Optional[int]) -> str:
    """Return how long ago something was, in the largest unit that gives at least two.

    >>> ago(7200)
    '2 h ago'
    """
    return "never" if seconds is None else "%s ago" % age(seconds)


def age(seconds: int) -> str:
    """Return an age in the largest unit that gives at least two.

    >>> age(7200)
    '2 h'
    """
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return "%d %s" % (seconds // size, unit)
    return "%d s" % seconds


# resync


def _resync(run: Run, name: str) -> Dict[str, Any]:
    answer = run.facts[name].resync
    ends = {end: list(answer.get("%s_users" % end) or []) for end in ("synced", "failed", "dropped", "pending")}
    return {
        "requested": len(answer.get("requested") or []),
        **{end: len(names) for end, names in ends.items()},
        **{"%s_users" % end: names[:MOST_NAMES] for end, names in ends.items() if end != "synced"},
        "elapsed": answer.get("elapsed"),
    }


def _resync_good(run: Run, hosts: Hosts) -> str:
    requested = sum(host["requested"] for host in hosts.values())
    done = "would be asked for" if run.check_mode else "have succeeded"
    return "%d syncs %s on %s. Next: %s." % (requested, done, _counted(len(hosts), "host"), VERIFY)


def _resync_report(run: Run) -> List[str]:
    lines = ["%s: %s" % (name, _resync_line(run, facts.resync)) for name, facts in run.facts.items()]
    fine = all("msg" not in facts.resync for facts in run.facts.values())
    return [*lines, "Next: %s" % (VERIFY + "." if fine else NAMES_CAUSES)]


def _resync_line(run: Run, answer: Mapping[str, Any]) -> str:
    if "msg" in answer:
        return str(answer["msg"])
    if "requested" not in answer:
        return "no answer."
    requested = len(answer["requested"])
    # The playbook does not ask for users of a certain age, so those that were skipped are gone.
    gone = _gone([user["username"] for user in answer.get("skipped_users") or []])
    if run.check_mode:
        return "would have %d users synced.%s" % (requested, gone)
    synced = len(answer.get("synced_users") or [])
    return "%d of %d users synced in %.0f s.%s" % (synced, requested, answer.get("elapsed") or 0, gone)


def _gone(names: List[str]) -> str:
    if not names:
        return ""
    were = ("is", "was") if len(names) == 1 else ("are", "were")
    return " %s %s not in the userdb any more, deleted or renamed, and %s left out." % (enumerated(names), *were)


# drain


def _drain(run: Run, name: str) -> Dict[str, Any]:
    facts = run.facts[name]
    overview = facts.queue.get("overview") or {}
    return {
        "hold": run.hold,
        "changed": facts.hold.get("changed"),
        "known_users": overview.get("known_users"),
        "queued_users": _queued(overview) if overview else None,
    }


def _queued(overview: Mapping[str, Any]) -> int:
    return sum(overview["queued_" + kind] for kind in ("sync", "high", "low"))


def _drain_next(run: Run) -> str:
    release = "the maintenance, then `ansible-playbook mailops.dovecot_replication.drain -e replication_hold=false`."
    return "Next: %s" % (release if run.hold else VERIFY + ".")


def _drain_good(run: Run, hosts: Hosts) -> str:
    when = "would be" if run.check_mode else "now"
    what = "on hold" if run.hold else "released"
    return "%s %s %s. %s" % (_counted(len(hosts), "host"), when, what, _drain_next(run))


def _drain_report(run: Run) -> List[str]:
    return [*("%s: %s" % (name, _drain_line(run, name)) for name in run.facts), _drain_next(run)]


def _drain_line(run: Run, name: str) -> str:
    facts = run.facts[name]
    overview = facts.queue.get("overview")
    if facts.failure or name not in run.active or not overview:
        return "not %s. %s" % ("on hold" if run.hold else "released", facts.failure or NO_RESULT)
    if run.check_mode and facts.hold.get("changed"):
        what = "put on hold" if run.hold else "released"
        return "would be %s; %d of %d users are queued." % (what, _queued(overview), overview["known_users"])
    if run.hold:
        waiting = _queued(overview), overview["known_users"]
        return "on hold; %d of %d users have changes that wait for the release." % waiting
    return "released; all %d users are synced." % overview["known_users"]


# decommission


def _decommission(run: Run, name: str) -> Dict[str, Any]:
    return _changed(run.facts[name].config)


def _is_taken_down(run: Run) -> str:
    return "%s taken down" % ("would be" if run.check_mode else "is")


def _decommission_good(run: Run, hosts: Hosts) -> str:
    where = _counted(len(hosts), "host")
    return "Replication %s on %s, and the mail stays. %s" % (_is_taken_down(run), where, MAIL_DIFFERS_NOW)


def _decommission_report(run: Run) -> List[str]:
    done = [name for name in run.facts if name in run.active]
    lines = ["%s: replication %s, and the mail stays." % (name, _is_taken_down(run)) for name in done]
    lines += [
        "%s: nothing was finished here. %s" % (name, facts.failure or NO_RESULT)
        for name, facts in run.facts.items()
        if name not in done
    ]
    return [*lines, *([MAIL_DIFFERS_NOW] if done else [])]


# adopt


def _adopt(run: Run, name: str) -> Dict[str, Any]:
    own = run.facts[name].adoption
    leading = _leading(run, name)
    left = list(leading.get("again") or [])
    return {
        "users": own.get("users"),
        "adopted_users": len(own.get("adopted_users") or []),
        "adopted_mailboxes": own.get("mailboxes"),
        "synced": (leading.get("requested") or 0) - len(left),
        "left": len(left),
        "left_users": left[:MOST_NAMES],
        "messages_before": (leading.get("before") or {}).get(name),
        "messages_after": None if run.check_mode or not leading else leading.get("after"),
        "doubled_users": sorted(leading.get("doubled") or {})[:MOST_NAMES],
        "one_sided_users": list(own.get("one_sided") or [])[:MOST_NAMES],
    }


def _leading(run: Run, name: str) -> Mapping[str, Any]:
    """Return what the host knows that has synced and compared for the pair."""
    own = run.facts[name].adoption
    return run.facts[own["leader"]].adoption if own.get("leader") in run.facts else {}


def _adopt_good(run: Run, hosts: Hosts) -> str:
    mailboxes = sum(host["adopted_mailboxes"] for host in hosts.values())
    if not any(host["synced"] for host in hosts.values()):
        return "Nothing to do: users have the same mailboxes on both hosts. Next: %s" % PROVES
    return "%s %s adopted, and %s %s. Next: %s" % (
        _counted(mailboxes, "mailbox") if mailboxes == 1 else "%d mailboxes" % mailboxes,
        _would(run, mailboxes),
        _counted(sum(facts.adoption["requested"] for facts in _leaders(run)), "user"),
        "would be synced" if run.check_mode else "have the same mail on both hosts",
        PROVES,
    )


def _would(run: Run, number: int) -> str:
    return "would be" if run.check_mode else "was" if number == 1 else "were"


def _leaders(run: Run) -> List[Facts]:
    return [facts for name, facts in run.facts.items() if facts.adoption.get("leader") == name]


def _adopt_report(run: Run) -> List[str]:
    lines = []
    for name, facts in run.facts.items():
        own = facts.adoption
        if not own:
            lines.append("%s: nothing was done here. %s" % (name, facts.failure or NO_RESULT))
            continue
        lines.append(
            "%s: %d mailboxes of %s %s adopted."
            % (name, own["mailboxes"], _counted(len(own["adopted_users"]), "user"), _would(run, own["mailboxes"]))
        )
        if own["one_sided"]:
            lines.append(
                "%s: %s no account on the other host, and stay as they are: %s."
                % (name, "%s have" % _counted(len(own["one_sided"]), "user"), enumerated(own["one_sided"]))
            )
        if own["leader"] == name:
            lines += _adopted_pair(run, own)
    needy = [facts.failure for facts in run.facts.values() if facts.failure]
    return [*lines, *needy, "Next: %s" % (NAMES_CAUSES if needy else PROVES)]


def _adopted_pair(run: Run, own: Mapping[str, Any]) -> List[str]:
    pair = " and ".join(own["hosts"])
    counts = "%s of %d" % (own["requested"], own["users"])
    if not own["requested"]:
        return ["%s: all %d users have the same mailboxes." % (pair, own["users"])]
    before = ", ".join("%d on %s" % (own["before"][host], host) for host in own["hosts"])
    if run.check_mode:
        return ["%s: %s users would be synced. Their messages: %s." % (pair, counts, before)]
    doubled = doubled_mail(own["doubled"], own["leader"])
    if own["again"]:
        return ["%s: %s users differed, and %d still do." % (pair, counts, len(own["again"])), *doubled]
    return [
        "%s: %s users differed, and have the same mail now. Messages before: %s; now: %d on each."
        % (pair, counts, before, own["after"]),
        *doubled,
    ]


# upgrade_prepare


def _is_2_4(facts: Facts) -> bool:
    return is_2_4(parse_version(facts.host.get("dovecot_version") or ""))


def _lines(facts: Facts) -> List[_upgrade.Line]:
    return [] if _is_2_4(facts) or not facts.upgrade else _upgrade.to_convert(facts.upgrade)


def _upgrade_prepare(run: Run, name: str) -> Dict[str, Any]:
    facts = run.facts[name]
    lines = _lines(facts)
    return {
        "dovecot_version": facts.host.get("dovecot_version"),
        **_changed(facts.config),
        **_verified(run, name),
        "users": facts.upgrade.get("users"),
        "synced": len(facts.resync.get("synced_users") or []),
        "to_convert": [line._asdict() for line in lines],
        "effects": _upgrade.summary_of(lines),
    }


def _left(run: Run) -> List[str]:
    return [name for name, facts in run.facts.items() if facts.host and not _is_2_4(facts)]


def _upgrade_next(run: Run) -> str:
    left = _left(run)
    if not left:
        return "Every host has Dovecot 2.4. Next: remove replication_upgrading from the inventory, then %s" % PROVES
    drain = "`ansible-playbook mailops.dovecot_replication.drain -e replication_hosts=%s`" % left[0]
    return (
        "Next, for %s: keep `replication_upgrading: true` in the inventory, send clients and new mail to the other "
        "host, run %s, upgrade Dovecot, convert what is listed, then run "
        "`ansible-playbook mailops.dovecot_replication.setup` for both hosts, drain with replication_hold=false, and "
        "this again." % (left[0], drain)
    )


def _upgrade_prepare_good(run: Run, hosts: Hosts) -> str:
    count = sum(len(host["to_convert"]) for host in hosts.values())
    return "%s to convert on %s. %s" % (
        _counted(count, "line"),
        _counted(len(_left(run)), "host"),
        _upgrade_next(run),
    )


def _upgrade_prepare_report(run: Run) -> List[str]:
    lines = []
    for name, facts in run.facts.items():
        version = (facts.host.get("dovecot_version") or "?").split()[0]
        if facts.failure or not facts.upgrade:
            lines.append("%s: not ready. %s" % (name, facts.failure or NO_RESULT))
            continue
        found = _lines(facts)
        to_convert = "Dovecot %s, %s to convert" % (version, _counted(len(found), "line"))
        state = "has Dovecot %s already" % version if _is_2_4(facts) else to_convert
        lines.append("%s: %s; %s." % (name, state, _counted(facts.upgrade["users"], "user")))
        lines += _upgrade.lines_of(found)
        if found:
            main = facts.upgrade["main_file"]
            first = "dovecot_config_version = 2.4.1, then dovecot_storage_version = 2.4.1"
            lines.append("  And %s must begin with %s." % (main, first))
    needy = any(facts.failure or not facts.upgrade for facts in run.facts.values())
    return [*lines, "Next: mend what is named, then run this again." if needy else _upgrade_next(run)]


# monitor


def _monitor(run: Run, name: str) -> Dict[str, Any]:
    watched = run.facts[name].watched
    return {"state": watched.get("state"), "problem": watched.get("problem")}


def _monitor_good(run: Run, hosts: Hosts) -> str:
    where = _counted(len(hosts), "host")
    if run.absent:
        return "%s %s watched." % (where, "would no longer be" if run.check_mode else "no longer")
    return "%s %s watched. Next: what to do with metrics, checks and mails is in docs/howto/monitor.md." % (
        where,
        "would be" if run.check_mode else "now",
    )


def _monitor_report(run: Run) -> List[str]:
    return ["%s: %s" % (name, _monitor_line(run, name)) for name in run.facts]


def _monitor_line(run: Run, name: str) -> str:
    facts = run.facts[name]
    if facts.failure or name not in run.active:
        return facts.failure or NO_RESULT
    if run.absent:
        return "%s watched." % ("would no longer be" if run.check_mode else "no longer")
    if run.check_mode:
        return "would be watched."
    return "watched; the first look says %s." % (facts.watched.get("state") or "nothing")


class Playbook(NamedTuple):
    """What a playbook knows of a host, its message when no host needs a person, and what it shows."""

    known: Callable[[Run, str], Dict[str, Any]]
    good: Callable[[Run, Hosts], str]
    report: Callable[[Run], List[str]]


PLAYBOOKS = {
    "setup": Playbook(_setup, _setup_good, _no_report),
    "verify": Playbook(_verify, _verify_good, _no_report),
    "status": Playbook(_status, _status_good, _status_report),
    "resync": Playbook(_resync, _resync_good, _resync_report),
    "drain": Playbook(_drain, _drain_good, _drain_report),
    "decommission": Playbook(_decommission, _decommission_good, _decommission_report),
    "adopt": Playbook(_adopt, _adopt_good, _adopt_report),
    "monitor": Playbook(_monitor, _monitor_good, _monitor_report),
    "upgrade_prepare": Playbook(_upgrade_prepare, _upgrade_prepare_good, _upgrade_prepare_report),
}


# plan and apply


def planned(plan: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what `plan` hands over."""
    return {
        "playbook": "plan",
        "ok": plan["result"] != "incomplete",
        "message": plan["message"],
        "result": plan["result"],
        "changes": plan["counts"]["changes"],
        "hosts": {name: _planned_host(host) for name, host in plan["hosts"].items()},
    }


def _planned_host(host: Mapping[str, Any]) -> Dict[str, Any]:
    return {
        "ok": host["result"] != "incomplete",
        "result": host["result"],
        "changes": len(host["changes"]),
        "counts": host["counts"],
        "message": host["message"],
    }


def refused(reason: str) -> Dict[str, Any]:
    """Return what `apply` hands over when it refuses a plan."""
    return {"playbook": "apply", "ok": False, "message": reason, "hosts": {}}


def plan_report(plan: Mapping[str, Any], files: Sequence[str]) -> List[str]:
    """Return what `plan` shows.

    :arg files: paths of plan.md and plan.json
    """
    markdown, data = files
    lines = [plan["message"]]
    lines += ["%s: %s" % (name, host["message"]) for name, host in plan["hosts"].items()]
    lines.append("Written to %s." % " and ".join(files))
    if plan["result"] == "incomplete":
        lines.append("Next: repair what is named, and plan again. An incomplete plan cannot be applied.")
    elif plan["result"] == "changes":
        of = "" if plan["of"] == "setup" else " -e replication_plan_of=%s" % plan["of"]
        apply = "`ansible-playbook mailops.dovecot_replication.apply -e replication_plan_file=%s%s`" % (data, of)
        lines.append("Next: have %s reviewed, then %s." % (markdown.rpartition("/")[2], apply))
    else:
        lines.append("Nothing needs to be done.")
    return lines
