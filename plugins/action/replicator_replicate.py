# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._waiting_action import WaitingAction


class ActionModule(WaitingAction):
    """Wait for the syncs asked for, and show how far it is."""
