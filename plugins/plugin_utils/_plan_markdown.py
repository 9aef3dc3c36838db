# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as Markdown that fits into a comment on a pull request. Pure. PRIVATE to this collection.

Names and messages stand in code or are escaped: an address is no mention of somebody, and a mailbox of a strange name
no markup.
"""

import html
import re
from typing import Any, Dict

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._plan_file import (
    CHANGES,
    INCOMPLETE,
    Change,
    Host,
    Plan,
    counts_of,
    in_words,
)

# A comment on GitHub holds 65,536 characters. Bytes are counted, so that it holds whatever a character is.
LIMIT = 65000
# What is longer is cut, each with a note: names in a list, lines of one diff, rows of the table, lines of a message.
# Where that does not do, hosts are shown without diffs and lists.
NAMES, LINES, ROWS, MESSAGE_LINES = 50, 150, 100, 20
# Room for the notes at the end.
RESERVE = 600

COLUMNS = [
    ("Files", "files"),
    ("Packages", "packages"),
    ("Users added", "users_added"),
    ("Users removed", "users_removed"),
    ("Syncs", "syncs"),
    ("Services", "services"),
    ("Other", "other"),
]
RESULTS = {CHANGES: "would change", INCOMPLETE: "**not known in full**"}


def markdown(plan: Plan, limit: int = LIMIT) -> str:
    """Return the plan as Markdown of at most so many bytes."""
    head = _head(plan)
    tail = _tail(plan)
    room = limit - _size(head) - _size(tail) - RESERVE
    sections: Dict[str, str] = {}
    full = 0
    interesting = [name for name in plan["hosts"] if _is_interesting(plan["hosts"][name])]
    # What went wrong comes first where there is no room for all; on the page the order is that of the plan.
    for name in sorted(interesting, key=lambda name: plan["hosts"][name]["result"] != INCOMPLETE):
        whole, brief = (_host(name, plan["hosts"][name], short) for short in (False, True))
        section = whole if _size(whole) <= room else brief
        if _size(section) <= room:
            room -= _size(section)
            sections[name] = section
            full += section is whole
    text = head + "".join(sections[name] for name in plan["hosts"] if name in sections)
    if full < len(interesting):
        text += "\n> **Too long for a comment:** %d of %d hosts are shown without details, %d not at all; %s\n" % (
            len(sections) - full,
            len(interesting),
            len(interesting) - len(sections),
            "`plan.json` has everything.",
        )
    return text + tail


def _size(text: str) -> int:
    return len(text.encode("utf-8"))


def _is_interesting(host: Host) -> bool:
    return bool(host["changes"] or host["failed"] or host["unreachable"] or host["not_previewed"])


def code(text: Any) -> str:
    """Return text as inline code, whatever is in it, also within a table."""
    text = " ".join(str(text).split()).replace("|", "\\|")
    fence = "`" * (1 + max([0] + [len(run) for run in re.findall("`+", text)]))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return fence + pad + text + pad + fence


def block(text: str, language: str = "") -> str:
    """Return text as a block of code, whatever is in it."""
    fence = "`" * max([3] + [1 + len(run) for run in re.findall("`+", text)])
    return "%s%s\n%s%s%s\n" % (fence, language, text, "" if text.endswith("\n") else "\n", fence)


def fold(summary: str, content: str) -> str:
    """Return content that is shown when its summary is clicked."""
    return "<details><summary>%s</summary>\n\n%s\n</details>\n\n" % (summary, content)


def _escaped(text: Any) -> str:
    return "<code>%s</code>" % html.escape(" ".join(str(text).split()), quote=False)


def _head(plan: Plan) -> str:
    lines = ["## Replication plan: `%s`\n\n**%s**\n" % (plan["of"], html.escape(plan["message"], quote=False))]
    shown = [column for column in COLUMNS if plan["counts"][column[1]]]
    if plan["hosts"]:
        titles = ["Host", "Pair", "Result"] + [title for title, key in shown] + ["Not previewed"]
        lines.append("\n| %s |\n|%s\n" % (" | ".join(titles), "---|" * len(titles)))
        names = sorted(plan["hosts"], key=lambda name: not _is_interesting(plan["hosts"][name]))[:ROWS]
        for name in [name for name in plan["hosts"] if name in names]:
            host = plan["hosts"][name]
            cells = [code(name), code(host["pair"]) if host["pair"] else "", RESULTS.get(host["result"], "in order")]
            cells += [str(host["counts"][key] or "") for title, key in shown]
            lines.append("| %s |\n" % " | ".join([*cells, str(len(host["not_previewed"]) or "")]))
        if len(plan["hosts"]) > ROWS:
            lines.append("\n> %d more hosts are in `plan.json`.\n" % (len(plan["hosts"]) - ROWS))
    return "".join(lines)


def _tail(plan: Plan) -> str:
    version = "%(name)s %(version)s" % plan["collection"]
    return "\n<sub>%s, plan <code>%s</code></sub>\n" % (version, plan["digest"])


def _host(name: str, host: Host, brief: bool) -> str:
    parts = ["\n### %s\n\n" % code(name)]
    for key, text in (("unreachable", "Could not be reached"), ("failed", "Could not be planned")):
        for problem in host[key]:
            message = block(_cut(problem["message"] + "\n", MESSAGE_LINES, "lines"))
            parts.append("**%s**, at %s:\n\n%s\n" % (text, code(problem["task"]), message))
    for change in host["changes"]:
        parts.append(_change(change, brief))
    for item in host["not_previewed"]:
        parts.append("- **Not previewed**: %s: %s\n\n" % (code(item["task"]), code(item["why"])))
    for key, text in (("left_out", "Only done for real"), ("in_order", "In order")):
        if host[key] and not brief:
            tasks = "".join("- %s\n" % code(task) for task in host[key])
            parts.append(fold("%s: %d" % (text, len(host[key])), tasks))
    return "".join(parts)


def _change(change: Change, brief: bool) -> str:
    details = [in_words(counts_of([change])) if change["kind"] in ("files", "users", "syncs") else ""]
    details += [_escaped(change[key]) for key in ("service", "item") if key in change]
    if "delegated_to" in change:
        details.append("on %s" % _escaped(change["delegated_to"]))
    if "done" in change:
        details.append("already done, as this task runs in check mode too")
    details.append(change.get("note", ""))
    told = ", ".join(filter(None, details))
    title = _escaped(change["task"]) + (": " + told if told else "")
    content = ""
    if change.get("diff"):
        content += block(_cut(change["diff"], LINES, "lines"), "diff")
    for key, sign in (("removed", "- "), ("added", "+ "), ("requested", "")):
        if change.get(key):
            text = "".join(sign + " ".join(name.split("\n")) + "\n" for name in change[key])
            content += block(_cut(text, NAMES, "names"), "diff" if sign else "")
    return fold(title, content) if content and not brief else "- %s\n\n" % title


def _cut(text: str, limit: int, what: str) -> str:
    lines = text.splitlines(True)
    if len(lines) <= limit:
        return text
    return "".join(lines[:limit]) + "... and %d more %s, see plan.json\n" % (len(lines) - limit, what)
