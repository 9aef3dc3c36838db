# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the results of a check run to a plan as data. Pure. PRIVATE to this collection.

Nothing goes in that differs between two runs on the same state: no time, no duration, no path of a temporary file.
"""

import difflib
import hashlib
import json
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.files import mask_diff

FORMAT = 1
# A result as Ansible gives it; what plan.json has of a change, of a host and as a whole.
Result = Mapping[str, Any]
Change = Dict[str, Any]
Host = Dict[str, Any]
Plan = Dict[str, Any]
CHANGES, NO_CHANGES, INCOMPLETE = "changes", "no changes", "incomplete"

# What kind of change a task makes, by the last part of its action.
KINDS = {
    **dict.fromkeys(("dovecot_config", "replication_configure", "template", "copy", "file"), "files"),
    **dict.fromkeys(("lineinfile", "blockinfile", "replace"), "files"),
    **dict.fromkeys(("package", "apt", "dnf", "dnf5", "yum", "apk"), "packages"),
    **dict.fromkeys(("service", "systemd", "systemd_service", "sysvinit"), "services"),
    "replicator_user": "users",
    "replicator_replicate": "syncs",
}
# What is counted, in this order, and the words for one and for more of it.
COUNTED = {
    "files": ("file", "files"),
    "packages": ("installation", "installations"),
    "users_added": ("user added", "users added"),
    "users_removed": ("user removed", "users removed"),
    "syncs": ("sync", "syncs"),
    "services": ("service", "services"),
    "other": ("other change", "other changes"),
}
# Tasks that only look, or only steer the play: that they change nothing tells nothing.
ONLY_LOOKS = re.compile(
    r"(_info|_facts|_wait)$|^(assert|debug|fail|import_\w+|include_\w+|meta|pause|setup|slurp|stat"
    r"|replication_(pair|plan|result|status|verify)"
    r"|validate_argument_spec|wait_for\w*|add_host|group_by|set_fact|set_stats)$"
)
TEMPORARY = re.compile(r"/ansible-local-|/\.ansible/tmp/|/ansible-tmp-|/ansiballz_")
# Tasks that the play itself leaves out of a check run have a condition that says so.
CHECK_CONDITION = re.compile(r"\b(__replication|ansible)_check_mode\b")
# What modules answer that do nothing in check mode.
CHECK_MESSAGE = re.compile(r"check mode")
HIDDEN = "the output is hidden by no_log"


def short(action: str) -> str:
    """Return the last part of an action's name.

    >>> short("ansible.builtin.service")
    'service'
    """
    return action.rpartition(".")[2]


def looks_only(action: str, changed_when: Optional[Iterable[Any]] = ()) -> bool:
    """Tell whether a task never changes anything, by its action or as it says itself."""
    return bool(ONLY_LOOKS.search(short(action))) or list(changed_when or ()) == [False]


def unified(diff: Any) -> str:
    """Return what Ansible calls a diff, a dict or a list of them, as text, values of secret settings masked."""
    parts = diff if isinstance(diff, list) else [diff] if diff else []
    return "".join(map(_unified_part, parts))


def _unified_part(part: Result) -> str:
    for key in ("dst_binary", "src_binary", "dst_larger", "src_larger"):
        if key in part:
            return "(%s: not shown)\n" % ("binary" if "binary" in key else "too large")
    if "prepared" in part:
        text = mask_diff(_text(part["prepared"]), "")[0]
        return text if text.endswith("\n") or not text else text + "\n"
    before, after = mask_diff(_text(part.get("before")), _text(part.get("after")))
    old, new = _headers(part)
    lines = difflib.unified_diff(_lines(before), _lines(after), old, new)
    return "".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join("%s: %s\n" % (key, json.dumps(value[key], sort_keys=True)) for key in sorted(value))
    return "" if value is None else str(value)


def _lines(text: str) -> List[str]:
    lines = text.splitlines(True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n\\ No newline at end of file\n"
    return lines


def _headers(part: Result) -> Tuple[str, str]:
    """Return the names of both sides. A template's rendered copy on the controller is called by its last part."""
    old, new = (_text(part.get(key)) for key in ("before_header", "after_header"))
    if TEMPORARY.search(new):
        new = old or new.rpartition("/")[2]
    if TEMPORARY.search(old):
        old = new
    return old or new or "before", new or old or "after"


def changes_of(task: str, action: str, result: Result, done: bool = False) -> List[Change]:
    """Return the changes of one result, of a loop one for each item that changes.

    :arg done: the task has been carried out, although this is a check run
    """
    if "results" in result and isinstance(result["results"], list):
        items = [item for item in result["results"] if isinstance(item, Mapping) and item.get("changed")]
        return [_change(task, action, item, done) for item in items] or [_change(task, action, result, done)]
    return [_change(task, action, result, done)]


def _change(task: str, action: str, result: Result, done: bool) -> Change:
    kind = KINDS.get(short(action), "other")
    change: Change = {"task": task, "action": action, "kind": kind}
    if "_ansible_item_label" in result and "censored" not in result:
        change["item"] = _label(result["_ansible_item_label"])
    delegated = (result.get("_ansible_delegated_vars") or {}).get("ansible_delegated_host")
    if delegated:
        change["delegated_to"] = delegated
    if done:
        change["done"] = True
    if "censored" in result:
        change["note"] = HIDDEN
        return change
    if kind == "users":
        change.update(added=sorted(result.get("added", [])), removed=sorted(result.get("removed", [])))
    elif kind == "syncs":
        change["requested"] = sorted(result.get("requested", []))
    else:
        if kind == "files" and isinstance(result.get("files"), list):
            change["files"] = [{"path": item["path"], "action": item["action"]} for item in result["files"]]
        if kind == "services" and result.get("name"):
            change["service"] = _label(result["name"])
        text = unified(result.get("diff"))
        if text:
            change["diff"] = text
    return change


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def is_left_out(result: Result) -> bool:
    """Tell whether a task was skipped as the play leaves it out of a check run."""
    return any(CHECK_CONDITION.search(str(part.get("false_condition", ""))) for part in _parts(result))


def not_previewed_of(task: str, result: Result) -> List[Dict[str, str]]:
    """Return what a check run cannot tell of a task, as a list of dicts of task and reason."""
    reasons: List[str] = []
    for part in _parts(result):
        reason = _reason(part)
        if reason and reason not in reasons:
            reasons.append(reason)
    return [{"task": task, "why": reason} for reason in reasons]


def _parts(result: Result) -> List[Result]:
    items = result.get("results")
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) and items else [result]


def _reason(result: Result) -> Optional[str]:
    if result.get("not_previewed"):
        return str(result["not_previewed"])
    # Else a condition was false, or a loop had no items.
    message = str(result.get("msg", ""))
    return message if "skip_reason" not in result and CHECK_MESSAGE.search(message) else None


def problem_of(task: str, result: Result) -> Dict[str, str]:
    """Return why a task failed, as a dict of task and message; of a loop the messages of the items that failed."""
    messages: List[str] = []
    for part in _parts(result):
        message = str(part.get("censored") or part.get("msg") or "")
        if (part.get("failed") or part is result) and message and message not in messages:
            messages.append(message)
    return {"task": task, "message": " ".join(messages or [str(result.get("msg", "no message"))])}


# What is known of a host. ``left_out`` are tasks that only a real run has.
LISTS = ("changes", "not_previewed", "left_out", "in_order", "failed", "unreachable")


def empty_host(pair: Optional[str] = None) -> Host:
    """Return what is known of a host before its first result."""
    return {"pair": pair, **{key: [] for key in LISTS}}


def counts_of(changes: Iterable[Change]) -> Dict[str, int]:
    """Return how many of each there are in a list of changes."""
    counts = dict.fromkeys(COUNTED, 0)
    for change in changes:
        kind = change["kind"]
        if kind == "users":
            counts["users_added"] += len(change.get("added", []))
            counts["users_removed"] += len(change.get("removed", []))
        elif kind == "syncs":
            counts["syncs"] += len(change.get("requested", []))
        elif kind == "files":
            # Without a file only a reload is missing, which the handler that does it counts.
            counts["files"] += len(change["files"]) if "files" in change else 1
        else:
            counts[kind] += 1
    return counts


def in_words(counts: Mapping[str, int]) -> str:
    """Return counts as words, without what there is none of.

    >>> in_words({"files": 2, "syncs": 1})
    '2 files, 1 sync'
    """
    told = ["%d %s" % (counts[key], COUNTED[key][counts[key] != 1]) for key in COUNTED if counts.get(key)]
    return ", ".join(told)


def verdict(host: Host) -> str:
    """Return what the plan of one host comes to."""
    if host["failed"] or host["unreachable"]:
        return INCOMPLETE
    return CHANGES if host["changes"] else NO_CHANGES


def build(of: str, collection: Mapping[str, str], hosts: Mapping[str, Host]) -> Plan:
    """Return the plan.

    :arg of: what it is a plan of: the name of the playbook
    :arg collection: name and version of the collection
    :arg hosts: dict of host to what ``empty_host`` begins
    """
    told = {}
    for name in sorted(hosts, key=lambda name: (hosts[name]["pair"] or "", name)):
        host = hosts[name]
        told[name] = {
            "pair": host["pair"],
            "result": verdict(host),
            "message": host_message(host),
            "counts": counts_of(host["changes"]),
            **{key: host[key] for key in LISTS},
        }
    results = [host["result"] for host in told.values()]
    totals = {key: sum(host["counts"][key] for host in told.values()) for key in COUNTED}
    plan = {
        "format": FORMAT,
        "of": of,
        "collection": collection,
        "result": INCOMPLETE if INCOMPLETE in results or not results else CHANGES if CHANGES in results else NO_CHANGES,
        "message": "",
        "counts": {
            "hosts": len(told),
            "hosts_changing": sum(bool(host["changes"]) for host in told.values()),
            "hosts_failed": sum(bool(host["failed"]) for host in told.values()),
            "hosts_unreachable": sum(bool(host["unreachable"]) for host in told.values()),
            "not_previewed": sum(len(host["not_previewed"]) for host in told.values()),
            "changes": sum(len(host["changes"]) for host in told.values()),
            **totals,
        },
        "hosts": told,
    }
    plan["message"] = message(plan)
    plan["digest"] = digest(plan)
    return plan


def message(plan: Plan) -> str:
    """Return the plan in one sentence."""
    counts = plan["counts"]
    if not counts["hosts"]:
        return "There is no host to plan for."
    parts = []
    if counts["hosts_changing"]:
        parts.append("%s would change (%s)" % (_of_hosts(counts["hosts_changing"], counts), in_words(counts)))
    else:
        parts.append("nothing would change" if plan["result"] == NO_CHANGES else "no change is known")
    if counts["hosts_failed"]:
        parts.append("%s could not be planned" % _of_hosts(counts["hosts_failed"], counts))
    if counts["hosts_unreachable"]:
        parts.append("%s could not be reached" % _of_hosts(counts["hosts_unreachable"], counts))
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def host_message(host: Host) -> str:
    """Return the plan of one host in a few words."""
    for key, text in (("unreachable", "could not be reached"), ("failed", "could not be planned")):
        for problem in host[key]:
            return "%s, at %s: %s" % (text, problem["task"], problem["message"])
    counts = in_words(counts_of(host["changes"]))
    parts = ["would change: %s" % counts if host["changes"] else "in order"]
    if host["not_previewed"]:
        parts.append("%d not previewed" % len(host["not_previewed"]))
    return ", ".join(parts)


def _of_hosts(number: int, counts: Mapping[str, int]) -> str:
    return "%d of %d host%s" % (number, counts["hosts"], "" if counts["hosts"] == 1 else "s")


def as_json(plan: Plan) -> str:
    """Return the text of plan.json."""
    return json.dumps(plan, indent=2, ensure_ascii=False) + "\n"


def digest(plan: Plan) -> str:
    """Return what tells one plan from another."""
    content = {key: plan[key] for key in plan if key != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def reviewed_plan(text: str) -> Plan:
    """Return the plan in the text of a plan.json; raise ValueError where it is none, or not as it was written."""
    try:
        plan = json.loads(text)
    except ValueError as error:
        raise ValueError("it is not JSON (%s)" % error) from None
    if not isinstance(plan, dict) or "digest" not in plan or not isinstance(plan.get("hosts"), dict):
        raise ValueError("it is not a plan of this collection")
    if plan.get("format") != FORMAT:
        raise ValueError("its format is %s, and this version knows %d" % (plan.get("format"), FORMAT))
    if plan["digest"] != digest(plan):
        raise ValueError("it was edited: its digest does not fit what is in it")
    return plan


def refusal(reviewed: Plan, now: Plan) -> List[str]:
    """Return why the reviewed plan must not be applied, a list of lines, empty when it still holds."""
    if reviewed["digest"] == now["digest"] and reviewed["result"] != INCOMPLETE:
        return []
    lines = []
    if reviewed["result"] == INCOMPLETE:
        lines.append("The reviewed plan is incomplete: %s" % reviewed["message"])
    if now["result"] == INCOMPLETE:
        lines.append("The plan as it is now is incomplete: %s" % now["message"])
    for key, what in (("of", "playbook"), ("collection", "collection")):
        if reviewed[key] != now[key]:
            values = what, _told(reviewed[key]), _told(now[key])
            lines.append("It is a plan of another %s: %s, and this is %s." % values)
    for one, other, text in ((reviewed, now, "no longer in the play"), (now, reviewed, "not in the reviewed plan")):
        missing = sorted(set(one["hosts"]).difference(other["hosts"]))
        if missing:
            lines.append("Hosts %s: %s." % (text, ", ".join(missing)))
    changed = difference(reviewed, now)
    if changed and not lines:
        lines.append("What would be done now is not what was reviewed.")
    return lines + changed


def _told(value: Any) -> str:
    return "%(name)s %(version)s" % value if isinstance(value, Mapping) else str(value)


def difference(reviewed: Plan, now: Plan) -> List[str]:
    """Return how the plans of the hosts that are in both differ, as the lines of a unified diff."""
    lines: List[str] = []
    for name in reviewed["hosts"]:
        if name in now["hosts"] and reviewed["hosts"][name] != now["hosts"][name]:
            old, new = (list(_host_lines(plan["hosts"][name])) for plan in (reviewed, now))
            lines.extend(
                difflib.unified_diff(old, new, "%s, as reviewed" % name, "%s, as it is now" % name, n=1, lineterm="")
            )
    return lines


def _host_lines(host: Host) -> Iterator[str]:
    yield "pair: %s" % host["pair"]
    for change in host["changes"]:
        yield "would change: %s" % change["task"]
        for key in ("item", "delegated_to", "service", "note", "done"):
            if key in change:
                yield "  %s: %s" % (key, change[key])
        for item in change.get("files", []):
            yield "  %(action)s: %(path)s" % item
        for key, sign in (("removed", "-"), ("added", "+"), ("requested", "sync")):
            for user in change.get(key, []):
                yield "  %s %s" % (sign, user)
        for line in change.get("diff", "").splitlines():
            yield "  | " + line
    for item in host["not_previewed"]:
        yield "not previewed: %s: %s" % (item["task"], item["why"])
    for key in ("left_out", "in_order"):
        for task in host[key]:
            yield "%s: %s" % (key.replace("_", " "), task)
    for key in ("failed", "unreachable"):
        for problem in host[key]:
            yield "%s: %s: %s" % (key, problem["task"], problem["message"])
