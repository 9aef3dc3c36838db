# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that set mail_plugins, ours and those of the administrator's. PRIVATE to this collection."""

import os
from typing import Collection, List, Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import Configuration, words
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.source import Assignment, Section

PLUGINS = "mail_plugins"
OUTSIDE: Section = ()
# The files in which the role writes it, by name: as a drop-in, and everywhere else.
DROP_IN, SETTINGS_FILE = OWN_FILES = ("11-replication.conf", "replication.conf.ext")
# Beside these: the secrets, and what the playbook drain writes.
SECRETS_FILE, HOLD_FILE = "replication-secret.conf.ext", "replication-hold.conf.ext"
# What the peer's ssh key may run.
DSYNC_SERVER_FILE = "replication-dsync-server"


def theirs(own_names: Collection[str], configuration: Configuration, section: Section) -> Optional[Assignment]:
    """Return the line of the administrator's that decides on mail_plugins without our files, None without one.

    :arg own_names: of our files, without directories
    :arg section: where; the line outside of sections counts where the section has none
    """
    found = all_theirs(own_names, configuration)
    inside = [one for one in found if one.section == section]
    outside = [one for one in found if one.section == OUTSIDE]
    return ([None, *outside] + inside)[-1]


def all_theirs(own_names: Collection[str], configuration: Configuration) -> List[Assignment]:
    """Return all lines of the administrator's that set mail_plugins."""
    return [
        one
        for one in configuration.source.every
        if one.setting == PLUGINS and os.path.basename(one.file) not in own_names
    ]


def left_out(own_names: Collection[str], configuration: Configuration, section: Section, value: str) -> List[str]:
    """Return the plugins of a file of the administrator's that are not in the value in force, sorted."""
    deciding = theirs(own_names, configuration, section)
    if deciding is None or not deciding.value.startswith("<"):
        return []
    return sorted(set(words(deciding.value)).difference(words(value)))
