# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Events about the replication of Dovecot hosts, over doveadm's HTTP API."""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

# ansible-rulebook loads this file by its path, so nothing of the collection can be imported before this.
# The path is that of the collection as it is installed, which may be a link.
sys.path.insert(0, str(Path(os.path.abspath(__file__)).parents[7]))

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (  # noqa: E402
    DovecotError,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.transitions import (  # noqa: E402
    UNREACHABLE,
    Transitions,
    state_of,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.http_client import (  # noqa: E402
    HttpApi,
    HttpClient,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.summary import (  # noqa: E402
    summarized,
)

DOCUMENTATION = r"""
short_description: Events about the replication of Dovecot hosts
description:
  - Asks doveadm's HTTP API of each host, and sends an event when the state of one has changed and settled.
  - An event has the key C(replication), with C(host), C(state), C(before), C(reminder), C(since), C(known_users),
    C(failing), C(queued), C(running), C(message) and what the host is given with, such as C(pair).
  - The states are V(ok); V(failing), the last sync of users has failed; V(standing), users are queued and no sync is
    running, as on a host on hold; V(unreachable), the API does not answer.
  - A host that is V(ok) at the start makes no event. Any other state is told at the start, when it changes, and every
    O(remind) seconds.
options:
  hosts:
    description: A list of dictionaries with C(name) and C(url). Other keys come with the events.
    type: list
    elements: dict
    required: true
  api_key:
    description: The value of C(doveadm_api_key) on the hosts.
    type: str
    required: true
  ca_path:
    description: File or directory of the authorities that have signed the hosts' certificates.
    type: str
  delay:
    description: Seconds between two looks.
    type: float
    default: 60
  settle:
    description: How many looks in a row must see a state before it is told.
    type: int
    default: 3
  remind:
    description: Seconds after which a state other than V(ok) is told again.
    type: float
    default: 21600
  timeout:
    description: Longest silence of a host that is accepted, in seconds.
    type: float
    default: 10
"""

EXAMPLES = r"""
- mailops.dovecot_replication.replication:
    hosts:
      - name: mx1.example.org
        url: https://mx1.example.org:8443
        pair: dovecot_replication
    api_key: "{{ api_key }}"
"""

NUMBERS = ("known_users", "failing", "queued", "running")
FEWEST_SECONDS = 0.2


def look(host: dict[str, Any], args: dict[str, Any]) -> tuple[str, dict[str, Any], str]:
    """Ask one host; return its state, its numbers and why it has not answered."""
    try:
        api = HttpApi(host["url"], args["api_key"], float(args.get("timeout", 10)), args.get("ca_path") or None)
        client = HttpClient(api, None)
        try:
            summary = summarized(client.users().values(), client.dsyncs())
        finally:
            client.close()
    except DovecotError as error:
        return UNREACHABLE, dict.fromkeys(NUMBERS), str(error)
    return state_of(summary), {name: summary[name] for name in NUMBERS}, ""


async def watch(queue: asyncio.Queue[Any], host: dict[str, Any], args: dict[str, Any]) -> None:
    """Put an event about a host into the queue whenever there is one; this never ends."""
    transitions = Transitions(int(args.get("settle", 3)), float(args.get("remind", 21600)))
    while True:
        try:
            state, numbers, message = await asyncio.to_thread(look, host, args)
        except Exception as error:
            # Whatever it is, the other hosts are still to be watched.
            state, numbers, message = UNREACHABLE, dict.fromkeys(NUMBERS), f"{type(error).__name__}: {error}"
        told = transitions.see(state, time.time())
        if told:
            about = {key: value for key, value in host.items() if key not in ("name", "url")}
            event = {**about, "host": host["name"], **told, **numbers, "message": message}
            await queue.put({"replication": event})
        await asyncio.sleep(max(FEWEST_SECONDS, float(args.get("delay", 60))))


async def main(queue: asyncio.Queue[Any], args: dict[str, Any]) -> None:
    """Watch all hosts at once."""
    hosts = args.get("hosts") or []
    unfit = [host for host in hosts if not isinstance(host, dict) or not host.get("name") or not host.get("url")]
    if not hosts or unfit or not args.get("api_key"):
        raise ValueError(f"give api_key, and hosts as a list of dictionaries with name and url; not {unfit!r}")
    await asyncio.gather(*(watch(queue, host, args) for host in hosts))
