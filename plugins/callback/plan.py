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
  - By host and pair it tells what would change, with diffs in which the values of secret settings are masked, users
    that come and go by M(mailops.dovecot_replication.replicator_user), syncs asked for by
    M(mailops.dovecot_replication.replicator_replicate), what a check run cannot tell, what has failed, and what is in
    order.
  - Both files are the same to the byte when nothing has changed in between.
  - The playbook C(mailops.dovecot_replication.plan) does this by itself. Enable the plugin to have a plan of a
    playbook of your own.
  - Only plays in check mode are looked at. Without any, nothing is written.
notes:
  - The directory is that of the variable C(replication_plan_dir), given with C(-e) or as a variable of the play;
    without it the one in which C(ansible-playbook) was started.
  - The diff of a task that is not of this collection may show what it should not. Give such a task C(no_log=true).
requirements:
  - enable it, such as by the environment variable E(ANSIBLE_CALLBACKS_ENABLED)
"""

EXAMPLES = r"""
- name: Have a plan of a playbook of your own, from a shell
  command: >-
    ANSIBLE_CALLBACKS_ENABLED=mailops.dovecot_replication.plan ansible-playbook site.yml --check --diff
"""

import os

from ansible.plugins.callback import CallbackBase
from ansible.template import Templar

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_recorder


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "mailops.dovecot_replication.plan"
    CALLBACK_NEEDS_ENABLED = True

    # Set by the play of the playbook `plan`: what is planned, and whether to write it when the play has not.
    MARK = "__replication_plan"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._recorder = None
        self._play = None
        self._directory = None
        self._of = None

    def v2_playbook_on_start(self, playbook):
        self._of = os.path.splitext(os.path.basename(playbook._file_name))[0]

    def v2_playbook_on_play_start(self, play):
        variables = play.get_variable_manager().get_vars(play=play)
        self._play = None
        if play.check_mode and self._is_mine(variables):
            self._begin(Templar(loader=play._loader, variables=variables).template, variables)
            self._play = play

    def _is_mine(self, variables):
        return self.MARK not in variables

    def _begin(self, template, variables):
        self._directory = template(variables.get("replication_plan_dir", "."))
        if self._recorder is None:
            self._recorder = _plan_recorder.Recorder(self._of)

    def v2_runner_on_ok(self, result):
        task = result._task
        self._record(result, "ok", action=task.action, changed_when=task.changed_when, checked=task.check_mode)

    def v2_runner_on_skipped(self, result):
        self._record(result, "skipped")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if not ignore_errors:
            self._record(result, "failed")

    def v2_runner_on_unreachable(self, result):
        self._record(result, "unreachable")

    def _record(self, result, kind, **about):
        if not self._play:
            return
        # Without the name of the role.
        name, task = result._host.get_name(), result._task.get_name().rpartition(" : ")[2]
        try:
            if name not in self._recorder.hosts:
                self._recorder.host(name, self._pair(result._host))
            getattr(self._recorder, kind)(name, task, result._result, **about)
        except Exception as error:
            # Ansible would warn and go on, and a plan that lacks something would look whole.
            self._recorder.lost(name, task, error)

    def _pair(self, host):
        """Return the name of the group that is the host's pair, None when it is in none."""
        variables = self._play.get_variable_manager().get_vars(play=self._play, host=host)
        group = variables.get("replication_group", "dovecot_replication")
        group = Templar(loader=self._play._loader, variables=variables).template(group)
        return group if group in [known.get_name() for known in host.get_groups()] else None

    def v2_playbook_on_stats(self, stats):
        if self._recorder is None:
            return
        for host in self._recorder.hosts:
            if not stats.summarize(host)["failures"]:
                self._recorder.rescued(host)
        plan = self._recorder.plan()
        if self._is_to_be_written():
            paths = _plan_recorder.write(plan, self._directory)
            self._display.display("%s Written to %s." % (plan["message"], " and ".join(paths)))

    def _is_to_be_written(self):
        return True
