# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collector of the role monitoring knows of a host. PRIVATE to this collection."""

import os
import time
from typing import Any, Dict, List, Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring import ring
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.settings import (
    PAST,
    below,
    read_settings,
)

SECONDS = 30 * 86400
# A picture has as many.
POINTS = 120


def settings() -> Dict[str, Any]:
    """Return the settings of the collector, empty where there is none."""
    try:
        return read_settings()
    except (OSError, ValueError):
        return {}


def metrics_dir() -> Optional[str]:
    """Return where verify writes metrics, None where the role monitoring has set up nothing of the kind."""
    directory = settings().get("textfile_dir")
    return directory if directory and os.path.isdir(directory) else None


def remembered() -> List[Dict[str, Any]]:
    """Return the last 30 days as the module node_info does, empty without a collector."""
    known = settings()
    if "state_dir" not in known:
        return []
    snapshots = ring.recall(below(known, PAST), int(time.time()), SECONDS)
    return [
        {
            "time": one.time,
            "queued": one.queued if one.up else None,
            "failing": one.failing if one.up else None,
            "oldest_full_sync_age": one.time - one.oldest_full_sync if one.oldest_full_sync else None,
        }
        for one in ring.thinned(snapshots, POINTS)
    ]
