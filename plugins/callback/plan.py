# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
name: plan
type: notification
short_description: Write what a check run would change as a plan for reviewers
version_added: 1.0.0
author:
  - The mailops.dovecot_replication contributors (@mailops)
description:
  - Gathers what the tasks of a run with C(--check) would change, and writes it to C(plan.md), short enough for a
    comment on a pull request, and to C(plan.json), which has everything.
  - The plan lists by host and pair what would change, with diffs in which the values of secret settings are masked,
    users that M(mailops.dovecot_replication.replicator_user) would add and remove, syncs that
    M(mailops.dovecot_replication.replicator_replicate) would request, what a check run cannot preview, what has
    failed, and what is in order.
  - Two runs write the same files to the byte when nothing has changed in between.
  - The playbook C(mailops.dovecot_replication.plan) does this by itself. Enable the plugin to plan a playbook of your
    own.
  - The plugin records only plays in check mode. Without any, it writes nothing.
notes:
  - Name the directory with the variable C(replication_plan_dir), given with C(-e) or as a variable of the play. By
    default it is the one in which C(ansible-playbook) was started.
  - The diff of a task of another collection may show a secret. Give such a task C(no_log=true).
requirements:
  - enable it, for example with the environment variable E(ANSIBLE_CALLBACKS_ENABLED)
"""

EXAMPLES = r"""
- name: Plan a playbook of your own, from a shell
  command: >-
    ANSIBLE_CALLBACKS_ENABLED=mailops.dovecot_replication.plan ansible-playbook site.yml --check --diff
"""

import os
from typing import Any, Callable, Dict, NamedTuple, Optional

from ansible.plugins.callback import CallbackBase
from ansible.template import Templar

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_recorder


class Seen(NamedTuple):
    """A result of a task on a host, as ansible-core gives it to callbacks: its host and task, and the dict."""

    host: Any
    task: Any
    result: Dict[str, Any]


def seen(result: Any) -> Seen:
    """Return what a callback is given. ansible-core before 2.19 has only underscored names, which end with 2.23."""
    if hasattr(result, "task_name") and hasattr(result, "host"):
        return Seen(result.host, result.task, result.result)
    return Seen(result._host, result._task, result._result)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "mailops.dovecot_replication.plan"
    CALLBACK_NEEDS_ENABLED = True

    # Set by the play of the playbook `plan`: what is planned, and whether to write it when the play has not.
    MARK = "__replication_plan"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recorder: Optional[_plan_recorder.Recorder] = None
        self._play: Any = None
        self._directory: Optional[str] = None
        self._of = ""

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._of = os.path.splitext(os.path.basename(playbook._file_name))[0]

    def v2_playbook_on_play_start(self, play: Any) -> None:
        variables = play.get_variable_manager().get_vars(play=play)
        self._play = None
        if play.check_mode and self._is_mine(variables):
            self._begin(Templar(loader=play._loader, variables=variables).template, variables)
            self._play = play

    def _is_mine(self, variables: Dict[str, Any]) -> bool:
        return self.MARK not in variables

    def _begin(self, template: Callable[[Any], Any], variables: Dict[str, Any]) -> None:
        self._directory = template(variables.get("replication_plan_dir", "."))
        if self._recorder is None:
            self._recorder = _plan_recorder.Recorder(self._of)

    def v2_runner_on_ok(self, result: Any) -> None:
        task = seen(result).task
        self._record(result, "ok", action=task.action, changed_when=task.changed_when, checked=task.check_mode)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._record(result, "skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._record(result, "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._record(result, "unreachable")

    def _record(self, result: Any, kind: str, **about: Any) -> None:
        if not self._play or self._recorder is None:
            return
        host, task, values = seen(result)
        # Without the name of the role.
        name, title = host.get_name(), task.get_name().rpartition(" : ")[2]
        try:
            if name not in self._recorder.hosts:
                self._recorder.host(name, self._pair(host))
            getattr(self._recorder, kind)(name, title, values, **about)
        except Exception as error:
            # Ansible would warn and go on, and a plan that lacks something would look whole.
            self._recorder.lost(name, title, error)

    def _pair(self, host: Any) -> Optional[str]:
        """Return the name of the group that is the host's pair, None when it is in none."""
        variables = self._play.get_variable_manager().get_vars(play=self._play, host=host)
        group = variables.get("replication_group", "dovecot_replication")
        group = Templar(loader=self._play._loader, variables=variables).template(group)
        return group if group in [known.get_name() for known in host.get_groups()] else None

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self._recorder is None:
            return
        for host in self._recorder.hosts:
            if not stats.summarize(host)["failures"]:
                self._recorder.rescued(host)
        plan = self._recorder.plan()
        if self._is_to_be_written():
            paths = _plan_recorder.write(plan, self._directory)
            self._display.display("%s Written to %s." % (plan["message"], " and ".join(paths)))

    def _is_to_be_written(self) -> bool:
        return True
