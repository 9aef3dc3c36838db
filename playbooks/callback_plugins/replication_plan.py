# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Ansible loads what is beside a playbook without being asked to, so the playbook `plan` needs no setting. It does
# nothing for plays without MARK.

from ansible_collections.mailops.dovecot_replication.plugins.callback import plan
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_recorder

DOCUMENTATION = r"""
name: replication_plan
type: notification
short_description: Gathers the results of the playbooks plan and apply
author:
  - The mailops.dovecot_replication contributors (@mailops)
description:
  - What P(mailops.dovecot_replication.plan#callback) does, for the plays of this collection that make a plan.
"""


class CallbackModule(plan.CallbackModule):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "replication_plan"
    CALLBACK_NEEDS_ENABLED = False

    def _is_mine(self, variables):
        return self.MARK in variables

    def _begin(self, template, variables):
        mark = template(variables[self.MARK])
        self._of, self._to_be_written = mark["of"], mark["write"]
        super()._begin(template, variables)
        _plan_recorder.CURRENT = self._recorder

    def v2_runner_on_ok(self, result):
        super().v2_runner_on_ok(result)
        if self._play and "plan" in result._result and result._task.action.endswith(".replication_plan"):
            self._to_be_written = False

    def _is_to_be_written(self):
        # The play writes it at its end, which it does not reach when no host is left.
        return self._to_be_written
