# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict, Optional

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._deciding_action import (
    DecidingAction,
    observed_of,
)

OPTIONS = {
    "observed": {"type": "dict"},
    "compare_with": {"type": "str", "default": ""},
    "peer_host_keys": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(DecidingAction):
    """Look at a host and decide what the role does to it."""

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        dummy, options = self.validate_argument_spec(argument_spec=OPTIONS)
        peer = observed_of(options["compare_with"], task_vars)
        decision = self.decision(task_vars, options["observed"] or {}, peer, options["peer_host_keys"])
        return {**result, "changed": False, **decision}
