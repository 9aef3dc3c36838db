# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells of its configuration before Dovecot 2.4 comes. PRIVATE to this collection.

Values stay on the host, as secrets are among them.
"""

import hashlib
import os
import re

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import reading
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.plugins import (
    HOLD_FILE,
    OWN_FILES,
    PLUGINS,
    SECRETS_FILE,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.observation import Described
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session

# The role's own, which it writes anew.
OF_THE_ROLE = OWN_FILES + (SECRETS_FILE, HOLD_FILE)
# Such as %u and %Ld, but not %{user} and %%.
OLD_VARIABLE = re.compile(r"(?<!%)(?:%%)*%[-0-9.]*[A-Z]{0,2}[a-z](?![{a-z])")
NEED_TITLES = ("dict", "inet_listener", "namespace", "passdb", "userdb")


def observe(session: Session) -> Described:
    """Return ``upgrade`` as RETURN of the module node_info describes it."""
    configuration = reading.read(session.doveconf)
    assignments = [found for found in configuration.source.every if not _is_own(found.file)]
    blocks = [block for block in configuration.source.blocks if not _is_own(block.file)]
    names = sorted(session.userdb.names())
    return {
        "settings": [
            {
                "setting": found.setting,
                "protocol": found.protocol,
                "place": found.place,
                "old_variables": bool(OLD_VARIABLE.search(found.value)),
                "plugins": reading.words(found.value) if found.setting == PLUGINS else [],
            }
            for found in assignments
        ],
        "untitled": [
            {"setting": block.kind, "place": "%s line %d" % (block.file, block.first)}
            for block in blocks
            if block.kind in NEED_TITLES and not block.title
        ],
        "plugin_sections": ["%s line %d" % (block.file, block.first) for block in blocks if block.name == "plugin"],
        "main_file": configuration.source.files[0] if configuration.source.files else None,
        "users": len(names),
        "users_digest": hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest(),
    }


def _is_own(path: str) -> bool:
    return os.path.basename(path) in OF_THE_ROLE
