# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Ansible loads callback plugins beside a playbook by itself, so the playbook `plan` needs no setting. This one ignores
# plays without MARK.

from collections.abc import Callable
from typing import Any

from ansible_collections.mailops.dovecot_replication.plugins.callback import plan
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_recorder

DOCUMENTATION = r"""
name: replication_plan
type: notification
short_description: Gathers the results of the playbooks plan and apply
author:
  - The mailops.dovecot_replication contributors (@mailops)
description:
  - Does what P(mailops.dovecot_replication.plan#callback) does, for the plays of this collection that make a plan.
"""


class CallbackModule(plan.CallbackModule):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "replication_plan"
    CALLBACK_NEEDS_ENABLED = False

    def _is_mine(self, variables: dict[str, Any]) -> bool:
        return self.MARK in variables

    def _begin(self, template: Callable[[Any], Any], variables: dict[str, Any]) -> None:
        mark = template(variables[self.MARK])
        self._of, self._to_be_written = mark["of"], mark["write"]
        super()._begin(template, variables)
        _plan_recorder.CURRENT = self._recorder

    def v2_runner_on_ok(self, result: Any) -> None:
        super().v2_runner_on_ok(result)
        _host, task, values = plan.seen(result)
        if self._play and "plan" in values and task.action.endswith(".replication_plan"):
            self._to_be_written = False

    def _is_to_be_written(self) -> bool:
        # The play itself writes the plan at its end, unless no host is left then.
        return self._to_be_written
