# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the collector finds its settings, and what it writes below their ``state_dir``. PRIVATE to this collection."""

import json
import os
from typing import Any, Dict, Mapping

# The role monitoring writes it.
CONFIG = "/etc/dovecot-replication-monitoring.json"
# The last Reading, all of the last 30 days, the conditions that a mail has told, and that mail.
LAST, PAST, TOLD, MAIL = "last.json", "history", "told", "mail"


def read_settings(path: str = CONFIG) -> Dict[str, Any]:
    """Return the settings; raise OSError or ValueError where there are none."""
    with open(path) as stream:
        return dict(json.load(stream))


def below(settings: Mapping[str, Any], name: str) -> str:
    """Return the path of what the collector writes; raise KeyError where the settings name no directory."""
    return os.path.join(settings["state_dir"], name)
