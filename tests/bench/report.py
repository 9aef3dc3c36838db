# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of the benchmarks has measured, as docs/benchmarks.md and docs/benchmarks.svg."""

import os
import platform
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import matplotlib
import measure
from ansible.release import __version__ as core

DOCS = Path(__file__).resolve().parents[2] / "docs"
COLUMNS = {
    "first": "all new",
    "first by mask": "all new, by mask",
    "first by file": "all new, from a file",
    "second": "nothing to do",
    "file": "nothing to do, from a file",
    "mask": "nothing to do, by mask",
    "one": "one new",
    "check": "check mode, all new",
    "bare": "bare client, all new",
    "ping": "ping",
}
FLEET = "pairs forks pipelining".split()
for run in measure.FLEET_RUNS:
    FLEET += [f"{run}, s", "processor, ms a host"]
HABITS = "new users|one task|`command` in a loop|module that forks `doveadm`|loop / task|forking / task".split("|")


class Aim(NamedTuple):
    text: str
    limit: str
    measured: str
    met: bool


def aims(bench):
    """Return what was aimed at, and how near the run came."""
    ping, large_ping = bench.median("ping"), bench.median("ping beside 100000")
    loop = bench.median("loop") / measure.LOOPED * 1000
    payload = bench.figures["payload replicator_user"] / bench.figures["payload command"]
    peak = max(number for what, number in bench.figures.items() if what.startswith("peak"))
    bare = bench.median("bare/100000")
    rows = [
        ("1,000 users by name, nothing to do, against a ping", 1.5, bench.median("1000 by name") / ping),
        ("1,000 users by mask, nothing to do, against a ping", 1.5, bench.median("1000 by mask") / ping),
        ("100,000 users by mask, nothing to do, against a ping", 4, bench.median("100000 by mask") / large_ping),
        ("100,000 users from a file, nothing to do, against a ping", 5, bench.median("file/100000") / large_ping),
        ("100,000 new users by mask, against the bare client", 1.2, bench.median("first by mask/100000") / bare),
        ("100,000 new users from a file, against the bare client", 1.3, bench.median("first by file/100000") / bare),
        ("payload against that of `ansible.builtin.command`", 1.25, payload),
        ("peak memory of the module with 100,000 users, MB", 150, peak),
    ]
    ahead = loop / bench.median("first/1000")
    return [
        *[Aim(text, f"at most {limit:g}", f"{ratio:.2f}", ratio <= limit) for text, limit, ratio in rows],
        Aim("ahead of the command loop with 1,000 new users", "at least 300 times", f"{ahead:.0f}", ahead >= 300),
    ]


def cell(samples):
    return f"{statistics.median(samples):.2f} ({min(samples):.2f}-{max(samples):.2f})"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def starting_with(values, prefix):
    """Return what is named so in a dict, without the prefix in its names."""
    return {what[len(prefix) :]: value for what, value in values.items() if what.startswith(prefix)}


def by_habit(bench):
    item = bench.median("loop") / measure.LOOPED
    fork = bench.median("forking") / measure.FORKED
    for size in measure.SIZES[1:]:
        ours = bench.median(f"first/{size}")
        ratios = [f"{other * size / ours:,.0f}" for other in (item, fork)]
        yield [f"{size:,}", f"{ours:.2f}", f"{item * size:,.0f} *", f"{fork * size:,.0f} *", *ratios]


def by_fleet(bench):
    for fleet in bench.fleets:
        row = [fleet.pairs, fleet.forks, "yes" if fleet.pipelining else "no"]
        for name in measure.FLEET_RUNS:
            seconds = bench.median(f"fleet: {name} {fleet}")
            used = bench.figures[f"fleet: {name} {fleet}: processor"] / fleet.pairs / 2
            row += [f"{seconds:.1f}", f"{used * 1000:.0f}"]
        yield row


def page(bench):
    """Return docs/benchmarks.md."""
    sizes = [[f"{size:,}", *[cell(bench.samples[f"{what}/{size}"]) for what in COLUMNS]] for size in measure.SIZES]
    infos = [
        [what, cell(samples), f"{bench.figures['result info: ' + what] / 1000:,.1f}"]
        for what, samples in starting_with(bench.samples, "info: ").items()
    ]
    results = [
        [f"{size:,}", *[f"{bench.figures[f'result {what}/{size}'] / 1000:,.1f}" for what in ("first", "second", "one")]]
        for size in measure.SIZES
    ]
    roles = [
        [what, cell(samples), bench.figures[f"role: {what}: tasks"]]
        for what, samples in starting_with(bench.samples, "role: ").items()
    ]
    waits = [
        [what, f"{seconds[0]:.1f}", f"{measure.SYNCED / seconds[0]:,.0f}" if what != "for nothing" else ""]
        for what, seconds in starting_with(bench.samples, "wait: ").items()
    ]
    peaks = [[what, f"{number:.0f}"] for what, number in starting_with(bench.figures, "peak MB, ").items()]
    payloads = [[what, f"{number:,}"] for what, number in starting_with(bench.figures, "payload ").items()]
    bystanders = [
        [what, *[f"{row[name]:.1f}" for name in ("task", "median", "longest", "deliveries")]]
        for what, row in bench.bystanders.items()
    ]
    beside = (
        f"{measure.engines.USERS:,} users with Maildir; mail by LMTP on one host, until its file is on the other one. "
        "The first is\nDovecot's replicator, the other the [service for Dovecot 2.4](service.md) with its width of 4."
    )
    return f"""<!--
SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
SPDX-License-Identifier: GPL-3.0-or-later
-->

# Benchmarks

Written by `make bench`: one run of {time.monotonic() - bench.began:.0f} s with {bench.rounds} rounds on
{os.cpu_count()} cores that the controller and the hosts share. Dovecot {measure.DOVECOT} in a container, reached over
ssh on loopback with pipelining; ansible-core {core} on Python {platform.python_version()}.
Figures are seconds of a task as the controller sees it, the median with the least and the most in brackets, unless
something else is said. Where only commands are measured the replicator starts no sync.

## What was aimed at

{table(["aim", "limit", "measured", ""], [[*aim[:3], "met" if aim.met else "**missed**"] for aim in aims(bench)])}
What is behind the figures that were missed, and what to do about them, is in [scale.md](scale.md).

## `replicator_user`, by the number of users

{table(["users", *COLUMNS.values()], sizes)}
Users are given by name in a variable, except where "by mask" or "from a file" (`users_file`) is said.
The bare client ([source](../tests/bench/bare_client.py)) makes the round trips of "all new" and nothing else, started
by `ansible.builtin.command`.

![Seconds of a task by the number of users](benchmarks.svg)

## Beside what people do today

{table(HABITS, by_habit(bench))}
\\* extrapolated: the loop from {measure.LOOPED} items, the forking module from {measure.FORKED:,} users.

## Reading {measure.LARGEST:,} users

{table(["what is asked for", "seconds", "result, kB"], infos)}
## Results of `replicator_user`, kB

{table(["users", "all new", "nothing to do", "one new"], results)}
## Memory of the module with {measure.LARGEST:,} users

{table(["run", "peak, MB"], peaks)}
## What is sent to the host

{table(["module", "bytes"], payloads)}
## How others fare meanwhile

On the host, for {measure.WATCHED_SECONDS} s: one asks the replicator for its overview every two milliseconds, one
delivers mail with `dovecot-lda` without a pause. Both take processors, and so does what is done meanwhile; the program
that only computes shows how much of the difference that is.

{
        table(
            [
                "meanwhile",
                "it took, s",
                "overview: median, ms",
                "overview: longest, ms",
                "deliveries a second",
            ],
            bystanders,
        )
    }
## Waiting for {measure.SYNCED:,} users

A pair that replicates, empty mailboxes, `replication_max_conns` at its default of 10.

{table(["what is waited for", "seconds", "users a second"], waits)}
## Replicator and service

{beside}

{table(["what", *bench.engines, "ratio"], measure.engines.rows(bench.engines))}
## The role

A pair on which Dovecot is installed, `replication_verify: false`; seconds of the whole `ansible-playbook`, tasks of a
host that were not skipped.

{table(["run", "seconds", "tasks"], roles)}
## A fleet

Pairs in one play: `status`, a `setup` that changes nothing, and a play with a ping and nothing else, which is what
Ansible costs by itself. Seconds of the whole `ansible-playbook`, once each. All pairs are names of the same two hosts,
and these share the processors with the controller, so real fleets are faster. What their controller has to do is in
"processor, ms a host": the time its processors work for a host, ssh included.

{table(FLEET, by_fleet(bench))}"""


def plot(bench, path):
    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    sizes = measure.SIZES
    for what, label in COLUMNS.items():
        axes.plot(sizes, [bench.median(f"{what}/{size}") for size in sizes], marker="o", label=label)
    item = bench.median("loop") / measure.LOOPED
    axes.plot(sizes, [item * size for size in sizes], linestyle="--", label="command in a loop (extrapolated)")
    axes.set(xscale="log", yscale="log", xlabel="users", ylabel="seconds of the task")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def write(bench):
    """Write the page and its plot."""
    (DOCS / "benchmarks.md").write_text(page(bench).rstrip() + "\n")
    plot(bench, DOCS / "benchmarks.svg")
