# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A page about pairs, for people who do not read the output of playbooks. Pure. PRIVATE to this collection.

One file of HTML without anything from elsewhere. Job servers forbid inline style and script, so it is complete without
either: each state is a word, and colour only repeats it.
"""

import html
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._result import MOST_NAMES, age

NO_MAIL_SENT = "Whether a new mail arrives: this look sent none. The playbook verify sends one."
HIDDEN = "Names of users are left out, and so are evidence and fix. The playbook verify shows them."
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #59636e; --line: #d1d9e0; --bad: #b3131f;
  --warn: #7a4d00; --good: #116329; --back: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --soft: #9da7b1; --line: #3d444d;
  --bad: #ff8a84; --warn: #e3b341; --good: #56d364; --back: #161b22; } }
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 70rem; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
p.note, footer, caption { color: var(--soft); } a { color: inherit; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
caption { text-align: left; padding: .25rem 0; } th, td { text-align: left; padding: .35rem .75rem .35rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; } td.number, th.number { text-align: right; }
.bad, .warn { font-weight: 600; } .bad { color: var(--bad); } .warn { color: var(--warn); }
.good { color: var(--good); }
.finding { border-left: .25rem solid var(--line); padding: .1rem 0 .1rem .9rem; margin: 1rem 0; }
.finding.error { border-color: var(--bad); } .finding.warning { border-color: var(--warn); }
dl { margin: .3rem 0; } dt { color: var(--soft); } dd { margin: 0 0 .4rem 0; overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; } svg { max-width: 100%; }
figcaption { color: var(--soft); font-size: .9rem; }
code { background: var(--back); padding: .1em .3em; overflow-wrap: anywhere; }
@media print { body { max-width: none; } h2 { break-after: avoid; } .finding { break-inside: avoid; } }
"""


# What node_info returns as history.
History = Sequence[Mapping[str, Any]]
# So many pairs, the worst ones, have pictures.
MOST_PICTURES = 20
# What is drawn of a history: key, title, and how a number is written.
DRAWN: Tuple[Tuple[str, str, Callable[[int], str]], ...] = (
    ("queued", "Queued users", lambda number: f"{number:,}"),
    ("failing", "Failing users", lambda number: f"{number:,}"),
    ("oldest_full_sync_age", "Age of the oldest full sync", age),
)
WIDTH, HEIGHT = 320, 48


class Pair(NamedTuple):
    """The hosts of a pair with their results, and what follows for the whole."""

    hosts: Dict[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        return " and ".join(self.hosts)

    @property
    def anchor(self) -> str:
        return "-".join(["pair", *self.hosts]).replace(".", "-")

    @property
    def findings(self) -> List[Mapping[str, Any]]:
        return [finding for host in self.hosts.values() for finding in host.get("findings") or []]

    def count(self, severity: str) -> int:
        return sum(finding["severity"] == severity for finding in self.findings)

    @property
    def unseen(self) -> List[str]:
        """The hosts about which nothing was concluded: not reached, or their tasks have failed."""
        return [name for name, host in self.hosts.items() if host.get("findings") is None]

    @property
    def needs_a_person(self) -> bool:
        return bool(self.count("error") or self.unseen)

    @property
    def state(self) -> Tuple[str, str]:
        """A word for the state, and the class of its colour."""
        if self.count("error"):
            return "needs a person", "bad"
        if self.unseen:
            return "not known", "bad"
        return ("in order, with warnings", "warn") if self.count("warning") else ("in order", "good")

    def total(self, key: str) -> Optional[int]:
        """A number of the summary for both hosts, None where it is not known of one of them."""
        numbers: List[Optional[int]] = [(host.get("summary") or {}).get(key) for host in self.hosts.values()]
        return None if None in numbers else sum(number or 0 for number in numbers)


def page(
    result: Mapping[str, Any], when: str, names: bool = True, histories: Optional[Mapping[str, History]] = None
) -> str:
    """Return the page of a ``replication_result`` of the playbook ``verify``.

    :arg when: the time of the look, in UTC
    :arg names: whether names of users may be in it
    :arg histories: what hosts remember, as node_info returns it
    """
    pairs = sorted(pairs_of(result["hosts"]), key=badness)
    title = verdict(pairs)
    parts = [
        f"<h1>{_text(title)}</h1>",
        f"<p>Dovecot replication, as seen on {_text(when)}.</p>",
        *_overview(pairs),
        *(
            part
            for number, pair in enumerate(pairs)
            for part in (*_pair(pair, names), *(_pictures(pair, histories or {}) if number < MOST_PICTURES else ()))
        ),
        *_not_looked_at(result, pairs, names),
        "<footer><p>Errors come first in each list; fix the first one, then look again. Ages are those of the time "
        "above.</p></footer>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)} - Dovecot replication</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def pairs_of(hosts: Mapping[str, Mapping[str, Any]]) -> List[Pair]:
    """Return the hosts in pairs; one of which nothing is known belongs to the pair that names it."""
    members: Dict[str, Tuple[str, ...]] = {}
    for name, host in hosts.items():
        for member in host.get("pair") or [name]:
            if member in hosts and (member not in members or len(members[member]) == 1):
                members[member] = tuple(one for one in host.get("pair") or [name] if one in hosts)
    return [Pair({name: hosts[name] for name in pair}) for pair in dict.fromkeys(members.values())]


def badness(pair: Pair) -> Tuple[int, int, int, str]:
    """Return what sorts pairs, the worst one first."""
    return (-pair.count("error") - len(pair.unseen), -pair.count("warning"), -(pair.total("failing") or 0), pair.name)


def verdict(pairs: Sequence[Pair]) -> str:
    """Return in words how it is.

    >>> verdict([])
    'No pair was looked at'
    """
    needy = sum(pair.needs_a_person for pair in pairs)
    if not pairs:
        return "No pair was looked at"
    if len(pairs) == 1:
        return "The pair needs a person" if needy else "The pair is in order"
    if needy:
        return f"{needy} of {len(pairs)} pairs {'needs' if needy == 1 else 'need'} a person"
    return f"All {len(pairs)} pairs are in order"


def _overview(pairs: Sequence[Pair]) -> Iterable[str]:
    if len(pairs) < 2:
        return
    head = ["pair", "state", "errors", "warnings", "users", "failing", "queued"]
    rows = []
    for pair in pairs:
        word, colour = pair.state
        numbers = [pair.count("error"), pair.count("warning"), *map(pair.total, ("known_users", "failing", "queued"))]
        link = f'<a href="#{_text(pair.anchor)}">{_text(pair.name)}</a>'
        rows.append([link, f'<span class="{colour}">{word}</span>', *map(_number, numbers)])
    yield _table("The pairs, the worst one first. Users are counted on both hosts.", head, rows, 2)


def _pair(pair: Pair, names: bool) -> Iterable[str]:
    word, colour = pair.state
    yield f'<h2 id="{_text(pair.anchor)}">{_text(pair.name)}: <span class="{colour}">{word}</span></h2>'
    for finding in sorted(pair.findings, key=lambda finding: str(finding["severity"]) != "error"):
        yield from _finding(finding, names)
    if not pair.findings and not pair.unseen:
        yield "<p>Nothing is wrong.</p>"
    head = ["host", "Dovecot", "users", "failing", "queued", "running", "never synced", "oldest full sync", "syncs"]
    rows = [_host_row(name, host) for name, host in pair.hosts.items()]
    yield _table(f"The hosts {pair.name}. An age is that of the start of a sync.", head, rows, 2, numbers=5)
    for name, host in pair.hosts.items():
        yield from _failing(name, host, names)


def _finding(finding: Mapping[str, Any], names: bool) -> Iterable[str]:
    kind = "error" if finding["severity"] == "error" else "warning"
    yield f'<section class="finding {kind}">'
    yield f"<h3>{kind.capitalize()} on {_text(finding['host'])}: {_text(finding['summary'])}</h3>"
    if names:
        yield f"<dl><dt>Evidence</dt><dd>{_text(finding['evidence'])}</dd>"
        yield f"<dt>Fix</dt><dd>{_with_code(finding['cure'])}</dd></dl>"
    yield f"<p>Name of the finding: <code>{_text(finding['id'])}</code></p>"
    yield "</section>"


def _host_row(name: str, host: Mapping[str, Any]) -> List[str]:
    summary = host.get("summary")
    if not summary:
        return [_text(name), "not known", *["-"] * 7]
    counts = [_number(summary[key]) for key in ("known_users", "failing", "queued", "running", "never_synced")]
    oldest = summary["oldest_full_sync_age"]
    hold = {True: "on hold", False: "allowed", None: "-"}[summary["on_hold"]]
    return [
        _text(name),
        _text(str(host.get("dovecot_version") or "unknown").partition(" ")[0]),
        *counts,
        "-" if oldest is None else age(oldest),
        hold,
    ]


def _failing(name: str, host: Mapping[str, Any], names: bool) -> Iterable[str]:
    users = host.get("failing_users") or []
    if users and names:
        number = (host.get("summary") or {}).get("failing") or len(users)
        yield f"<h3>Users whose syncs from {_text(name)} fail: {number}</h3>"
        yield "<ul>" + "".join(f"<li>{_text(user)}</li>" for user in users[:MOST_NAMES]) + "</ul>"
        if number > MOST_NAMES:
            yield f"<p>{number - MOST_NAMES} more are not named here.</p>"


def _pictures(pair: Pair, histories: Mapping[str, History]) -> Iterable[str]:
    for name in pair.hosts:
        history = histories.get(name) or []
        if len(history) > 1:
            span = age(int(history[-1]["time"]) - int(history[0]["time"]))
            yield f"<h3>{_text(name)} over the last {span}</h3>"
            yield '<div class="pictures">'
            for key, title, written in DRAWN:
                yield from _picture(title, [moment[key] for moment in history], written)
            yield "</div>"


def _picture(title: str, values: Sequence[Optional[int]], written: Callable[[int], str]) -> Iterable[str]:
    """Draw numbers over time; the sentence says what the picture shows. Where nothing is known the line has a gap."""
    known = [value for value in values if value is not None]
    if not known:
        return
    most = max(known)
    now = "not known now" if values[-1] is None else f"{written(values[-1])} now"
    told = f"{title}: {now}, at most {written(most)}"
    yield f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT + 2}" width="{WIDTH}" height="{HEIGHT + 2}" role="img" '
    yield f'aria-label="{_text(told)}"><g fill="none" stroke="currentColor" stroke-width="1.5">'
    line: List[str] = []
    for number, value in enumerate([*values, None]):
        if value is not None:
            x = number * WIDTH / max(1, len(values) - 1)
            line.append(f"{x:.0f},{HEIGHT + 1 - value * HEIGHT / max(1, most):.0f}")
        elif line:
            yield f'<polyline points="{" ".join(line if len(line) > 1 else line * 2)}"/>'
            line = []
    yield f"</g></svg><figcaption>{_text(told)}</figcaption></figure>"


def _not_looked_at(result: Mapping[str, Any], pairs: Sequence[Pair], names: bool) -> Iterable[str]:
    notes = [
        f"{name}: {pair.hosts[name].get('message') if names else 'there is no result of it.'}"
        for pair in pairs
        for name in pair.unseen
    ]
    notes += [f"The peer of {pair.name}: it was not in this run." for pair in pairs if len(pair.hosts) == 1]
    notes += [NO_MAIL_SENT] if result.get("check_mode") else []
    notes += [] if names else [HIDDEN]
    if notes:
        yield "<h2>What was not looked at</h2>"
        yield "<ul>" + "".join(f"<li>{_text(note)}</li>" for note in notes) + "</ul>"


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], texts: int, numbers: int = 99) -> str:
    """Return a table whose first columns are texts, and whose next ones are numbers."""

    def kind(column: int) -> str:
        return ' class="number"' if texts <= column < texts + numbers else ""

    lines = [f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(caption)}">', "<table>"]
    lines.append(f"<caption>{_text(caption)}</caption>")
    cells = "".join(f'<th scope="col"{kind(column)}>{_text(text)}</th>' for column, text in enumerate(head))
    lines.append(f"<thead><tr>{cells}</tr></thead>\n<tbody>")
    for row in rows:
        rest = "".join(f"<td{kind(column)}>{text}</td>" for column, text in enumerate(row) if column)
        lines.append(f'<tr><th scope="row">{row[0]}</th>{rest}</tr>')
    return "\n".join([*lines, "</tbody>", "</table>", "</div>"])


def _number(number: Optional[int]) -> str:
    return "-" if number is None else f"{number:,}"


def _with_code(text: str) -> str:
    """Return a sentence in which what stands between backticks is a command."""
    parts = str(text).split("`")
    return "".join(f"<code>{_text(part)}</code>" if number % 2 else _text(part) for number, part in enumerate(parts))


def _text(text: Any) -> str:
    return html.escape(str(text), quote=True)
