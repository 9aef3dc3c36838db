# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that set mail_plugins, ours and those of the administrator's. PRIVATE to this collection."""

import os
import re
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
# As Dovecot takes the name of a plugin from that of its file, such as lib15_notify_plugin.so.
PLUGIN_FILE = re.compile(r"(?:lib)?(?:[0-9]*_)?(.+?)(?:_plugin)?\.so")


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


def in_force(configuration: Configuration, protocol: Optional[str] = None) -> List[str]:
    """Return the plugins that processes of a protocol load. Dovecot 2.4 has ``mail_plugins/notify = yes`` as well."""
    named = dict.fromkeys(match.group(1) for match, dummy in configuration.named(PLUGINS + r"/(\S+)\Z"))
    listed = [name for name in named if configuration.value("%s/%s" % (PLUGINS, name), protocol) == "yes"]
    return [*words(configuration.value(PLUGINS, protocol)), *listed]


def without_file(configuration: Configuration, names: Collection[str]) -> List[str]:
    """Return the plugins that are not installed, sorted. A process that is to load one ends at once.

    Dovecot looks for them in ``mail_plugin_dir``; where that cannot be read, nothing is missing.
    """
    try:
        files = os.listdir(configuration.value("mail_plugin_dir"))
    except (IOError, OSError):
        return []
    found = [PLUGIN_FILE.match(name) for name in files]
    return sorted(set(names).difference(match.group(1) for match in found if match))
