# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells of the timer that starts its syncs, where Dovecot has no replicator. PRIVATE to this collection."""

import time
from typing import Any, Dict

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.observation import Described, excerpt
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._timer.settings import TIMER

ENABLED, ACTIVE = "UnitFileState", "ActiveState"


def observe(session: Session, limit: int) -> Described:
    """Return ``timer`` as RETURN of the module node_info describes it."""
    client = session.connections.timer
    facts = client.facts()
    began = int(facts.get("round_began", 0))
    state = systemd_state(session)
    return {
        "destination": client.settings.destination,
        "interval": client.settings.interval,
        "width": client.settings.width,
        "reading": client.settings.reading,
        "active": state.get(ACTIVE) == "active",
        "enabled": state.get(ENABLED) == "enabled",
        "on_hold": client.on_hold(),
        "running": client.is_running(),
        "round_age": max(0, int(time.time()) - began) if began else None,
        "round_problem": facts.get("round_problem") or None,
        "listing_problem": facts.get("listing_problem") or None,
        "missing": excerpt(client.missing(), limit),
        "problems": [
            {"username": entry.name, "status": entry.status, "problem": entry.problem}
            for entry in client.failing()[:limit]
        ],
    }


def systemd_state(session: Session) -> Dict[str, Any]:
    """Return what systemd says of the timer, empty where it says nothing."""
    command = ["systemctl", "show", "--property", "%s,%s" % (ENABLED, ACTIVE), TIMER]
    rc, out, dummy = session.module.run_command(command)
    return dict(line.partition("=")[::2] for line in out.splitlines()) if rc == 0 else {}
