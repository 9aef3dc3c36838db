# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict, Optional

from ansible.plugins.action import ActionBase

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _result as model

INFO = "mailops.dovecot_replication.replicator_info"
API = {"api_url": {"type": "str"}, "api_key": {"type": "str", "no_log": True}, "ca_path": {"type": "path"}}
OPTIONS = {
    **API,
    "mask": {"type": "str", "default": ""},
    "fail_on": {"type": "str", "default": "error", "choices": ["error", "warning", "nothing"]},
}
PARTS = ("overview", "summary", "dsyncs")
MOST_ASKED_USERS = 100


class ActionModule(ActionBase):
    """Read a replicator and judge it, in one task: each task costs the controller some 20 ms a host."""

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        super().run(tmp, task_vars)
        dummy, options = self.validate_argument_spec(argument_spec=OPTIONS)
        connection = {name: options[name] for name in API if options[name] is not None}

        def read(**what: Any) -> Dict[str, Any]:
            return self._execute_module(module_name=INFO, module_args={**connection, **what}, task_vars=task_vars)

        result = read(gather=[*PARTS, "users"], user_mask="*", failed_only=True, limit=model.MOST_NAMES)
        if "overview" not in result:
            return result
        if options["mask"]:
            asked = read(user_mask=options["mask"], gather=["users"], limit=MOST_ASKED_USERS)
            if "users" not in asked:
                return {**result, **asked}
            result["asked_users"] = asked["users"]
        message = model.failing_message(result, options["fail_on"])
        if message:
            result.update(failed=True, msg=message)
        return result
