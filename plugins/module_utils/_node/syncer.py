# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells of the timer or service that starts its syncs, without a replicator. PRIVATE to this collection."""

import time
from typing import Any, Dict

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.observation import Described, excerpt
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import (
    SERVICE,
    SERVICE_ENGINE,
    TIMER,
)

ENABLED, ACTIVE = "UnitFileState", "ActiveState"


def observe(session: Session, limit: int) -> Described:
    """Return ``syncer`` as RETURN of the module node_info describes it."""
    client = session.connections.syncer
    is_service = client.settings.engine == SERVICE_ENGINE
    facts = client.facts()
    began = int(facts.get("round_began", 0))
    state = systemd_state(session, SERVICE if is_service else TIMER)
    return {
        "destination": client.settings.destination,
        "interval": client.settings.sweep_interval if is_service else client.settings.interval,
        "width": client.settings.width,
        "reading": client.settings.reading,
        "active": state.get(ACTIVE) == "active",
        "enabled": state.get(ENABLED) == "enabled",
        "on_hold": client.on_hold(),
        "running": client.is_running(),
        "round_age": max(0, int(time.time()) - began) if began else None,
        "round_problem": facts.get("round_problem") or None,
        "listing_problem": facts.get("listing_problem") or None,
        "deaf": bool(facts.get("deaf")),
        "missing": excerpt(client.missing(), limit),
        "problems": [
            {"username": entry.name, "status": entry.status, "problem": entry.problem}
            for entry in client.failing()[:limit]
        ],
    }


def systemd_state(session: Session, unit: str) -> Dict[str, Any]:
    """Return what systemd says of a unit, empty where it says nothing."""
    command = ["systemctl", "show", "--property", "%s,%s" % (ENABLED, ACTIVE), unit]
    rc, out, dummy = session.module.run_command(command)
    return dict(line.partition("=")[::2] for line in out.splitlines()) if rc == 0 else {}
