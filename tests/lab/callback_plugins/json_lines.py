# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's results as data: a JSON object a line for each result of a task on a host."""

import json
import time

from ansible.parsing.ajson import AnsibleJSONEncoder
from ansible.plugins.callback import CallbackBase

from ansible_collections.mailops.dovecot_replication.plugins.callback.plan import seen

DOCUMENTATION = """
name: json_lines
type: stdout
short_description: results as lines of JSON
description:
  - Prints an object with C(host), C(task), C(status), C(result) and C(seconds) for each result. The seconds are those
    of the task on this host, as the controller sees them. What was handed over with C(set_stats) comes last, as the
    result of no host, with the status C(stats).
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "json_lines"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._began = {}

    def v2_runner_on_start(self, host, task):
        self._began[host.get_name(), task._uuid] = time.monotonic()

    def _print(self, status, result):
        host, task, values = seen(result)
        began = self._began.get((host.get_name(), task._uuid), time.monotonic())
        line = {
            "seconds": round(time.monotonic() - began, 3),
            "host": host.get_name(),
            "task": task.get_name(),
            "action": task.action,
            "status": status,
            "result": values,
        }
        self._display.display(json.dumps(line, cls=AnsibleJSONEncoder, sort_keys=True))

    def v2_runner_on_ok(self, result):
        self._print("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._print("failed", result)

    def v2_runner_on_skipped(self, result):
        self._print("skipped", result)

    def v2_runner_on_unreachable(self, result):
        self._print("unreachable", result)

    def v2_playbook_on_stats(self, stats):
        given = stats.custom.get("_run")
        if given:
            line = {"host": "", "task": "", "action": "", "status": "stats", "result": given, "seconds": 0}
            self._display.display(json.dumps(line, cls=AnsibleJSONEncoder, sort_keys=True))
