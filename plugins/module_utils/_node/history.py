# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collector of the role monitoring remembers of a host. PRIVATE to this collection."""

import json
import os
import time
from typing import Any, Dict, List

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring import ring

# What the role has told the collector.
SETTINGS = "/etc/dovecot-replication-monitoring.json"
SECONDS = 30 * 86400
# A picture has as many.
POINTS = 120


def settings() -> Dict[str, Any]:
    """Return the settings of the collector, empty where there is none."""
    try:
        with open(SETTINGS) as stream:
            return dict(json.load(stream))
    except (IOError, OSError, ValueError):
        return {}


def remembered() -> List[Dict[str, Any]]:
    """Return the last 30 days as the module node_info does, empty without a collector."""
    known = settings()
    if "state_dir" not in known:
        return []
    snapshots = ring.recall(os.path.join(known["state_dir"], "history"), int(time.time()), SECONDS)
    return [
        {
            "time": one.time,
            "queued": one.queued if one.up else None,
            "failing": one.failing if one.up else None,
            "oldest_full_sync_age": one.time - one.oldest_full_sync if one.oldest_full_sync else None,
        }
        for one in ring.thinned(snapshots, POINTS)
    ]
