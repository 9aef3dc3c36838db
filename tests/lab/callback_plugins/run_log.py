# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each run of a playbook changed, as a line of JSON in the file that MAILOPS_RUN_LOG names."""

import json
import os

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: run_log
type: notification
short_description: what each run changed
description: Appends an object with C(playbook), C(check) and C(changed), a sorted list of host and task, for each run.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "run_log"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook):
        self.playbook = os.path.basename(playbook._file_name)
        self.changed = []

    def v2_runner_on_ok(self, result):
        if result._result.get("changed"):
            self.changed.append([result._host.get_name(), result._task.get_name()])

    def v2_playbook_on_stats(self, stats):
        run = {"playbook": self.playbook, "check": context.CLIARGS["check"], "changed": sorted(self.changed)}
        with open(os.environ["MAILOPS_RUN_LOG"], "a") as log:
            log.write(json.dumps(run) + "\n")
