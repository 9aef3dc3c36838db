# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict, Optional

from ansible.errors import AnsibleActionFail

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._deciding_action import (
    DecidingAction,
    observed_of,
)
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._pair import needs_peer

WRITING_MODULE = "mailops.dovecot_replication.dovecot_config"
# The variable of the role with the value of each setting that takes a secret.
SECRETS = {"doveadm_password": "replication_secret", "doveadm_api_key": "replication_api_key"}
UNDECIDED = (
    "Nothing was decided for this host, so there is nothing to write. Next step: run replication_pair in a task before "
    "this one, with `register: __replication_decision`."
)


class ActionModule(DecidingAction):
    """Write the configuration that was decided on, which Dovecot validates."""

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        # Not as options: to render them would take the controller as long as all the rest of the task.
        decision = task_vars.get("__replication_decision") or {}
        if not decision.get("config"):
            raise AnsibleActionFail(UNDECIDED)
        peer = observed_of(decision["other"], task_vars)
        if needs_peer(decision, peer):
            decision = self.decision(task_vars, decision["observed"], peer)
            if decision.get("failed"):
                return {**result, "failed": True, "msg": decision["msg"]}
        secrets = {name: self.value(SECRETS[name], task_vars) for name in decision["secrets"]}
        options = {**decision["config"], "loaded": True, "secrets": secrets}
        return {**result, **self._execute_module(module_name=WRITING_MODULE, module_args=options, task_vars=task_vars)}
