# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events for Event-Driven Ansible: when there is one, what is in it, and that the source lives on."""

import asyncio
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.transitions import (
    SCHEMA,
    Transitions,
    state_of,
)

ROOT = Path(__file__).resolve().parents[2]
# Where it is when the collection is installed: the source finds the others from there.
INSTALLED = ROOT / ".venv" / "collections" / "ansible_collections" / "mailops" / "dovecot_replication"
SOURCE = INSTALLED / "extensions" / "eda" / "plugins" / "event_source" / "replication.py"
HOUR = 3600


@pytest.mark.parametrize(
    "failing, queued, running, state",
    [(0, 0, 0, "ok"), (0, 5, 1, "ok"), (0, 5, 0, "standing"), (1, 0, 0, "failing"), (1, 5, 0, "failing")],
)
def test_states(failing, queued, running, state):
    assert state_of({"failing": failing, "queued": queued, "running": running}) == state


def told(states, settle=3, remind=6 * HOUR, pause=60):
    """What is told of states that are seen one after the other, with the number of the look."""
    transitions = Transitions(settle, remind)
    seen = [(number, transitions.see(state, number * pause)) for number, state in enumerate(states)]
    return [(number, event["before"], event["state"], event["reminder"]) for number, event in seen if event]


def test_what_has_settled_is_told_once():
    assert told(["ok"] * 9) == []
    assert told(["failing"] * 9) == [(2, None, "failing", False)]
    assert told(["ok"] * 3 + ["failing"] * 9 + ["ok"] * 9) == [
        (5, "ok", "failing", False),
        (14, "failing", "ok", False),
    ]
    # A failure that is gone at the next look, and one that comes and goes.
    assert told(["ok"] * 3 + ["failing"] * 2 + ["ok"] * 5) == []
    assert told(["failing", "ok"] * 20) == []
    assert told(["unreachable"] * 3 + ["failing"] * 3) == [
        (2, None, "unreachable", False),
        (5, "unreachable", "failing", False),
    ]


def test_a_reminder():
    assert told(["failing"] * 30, remind=10 * 60) == [
        (2, None, "failing", False),
        (12, "failing", "failing", True),
        (22, "failing", "failing", True),
    ]
    assert told(["failing"] * 3 + ["ok"] * 300, remind=60) == [
        (2, None, "failing", False),
        (5, "failing", "ok", False),
    ]


def test_the_source_finds_the_rest_of_the_collection():
    """ansible-rulebook knows nothing of collections when it loads a source by its path."""
    load = f"import runpy; runpy.run_path({str(SOURCE)!r})"
    subprocess.run([sys.executable, "-I", "-c", load], check=True)


def events(count, **args):
    """The first events of the source, loaded as ansible-rulebook loads it."""
    main = runpy.run_path(str(SOURCE))["main"]

    async def gather():
        queue = asyncio.Queue()
        task = asyncio.ensure_future(main(queue, args))
        found = []
        try:
            while len(found) < count:
                getting = asyncio.ensure_future(queue.get())
                await asyncio.wait({task, getting}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    # It never ends but by an error.
                    task.result()
                found.append(getting.result())
        finally:
            task.cancel()
        return found

    return asyncio.run(gather())


def test_the_source_tells_of_a_host_that_is_not_there_and_lives_on():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound and not listening: nobody answers there.
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        hosts = [{"name": "mx1", "url": url, "pair": "a_group"}]
        first, second = events(2, hosts=hosts, api_key="x", delay=0.2, settle=2, remind=0.3)
    event = first["replication"]
    assert (event["host"], event["state"], event["pair"], event["reminder"]) == ("mx1", "unreachable", "a_group", False)
    assert url in event["message"] and "x" not in event["message"].split() and second["replication"]["reminder"]
    for key, kind in SCHEMA.items():
        assert isinstance(event[key], kind), key
    assert set(event) == {*SCHEMA, "pair"}


@pytest.mark.parametrize("hosts", [[], ["mx1"], [{"name": "mx1"}]])
def test_hosts_that_are_none(hosts):
    with pytest.raises(ValueError, match="give api_key"):
        events(1, hosts=hosts, api_key="x")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "extensions" / "eda" / "rulebooks").glob("*.yml")), ids=lambda p: p.stem
)
def test_rulebooks_run_playbooks_that_there_are(path):
    """What heals does nothing but syncs, and is throttled; nothing else changes a host."""
    (ruleset,) = yaml.safe_load(path.read_text())
    found = []
    for rule in ruleset["rules"]:
        for action in rule.get("actions") or [rule["action"]]:
            if "run_playbook" in action:
                found.append(action["run_playbook"]["name"].rpartition(".")[2])
                assert (ROOT / "playbooks" / f"{found[-1]}.yml").exists()
                assert found[-1] == "verify" or "once_within" in rule["throttle"]
    assert found == {"heal": ["resync"], "alertmanager": ["verify", "verify"]}.get(path.stem, ["verify"])
