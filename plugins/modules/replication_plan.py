#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replication_plan
short_description: Give the plan that the playbooks plan and apply have gathered
version_added: 1.0.0
description:
  - Returns what the tasks before it in a play of the playbook C(plan) or C(apply) would change, writes it to files, and
    compares it with a reviewed plan.
  - Hands over C(replication_result) to the jobs that follow, as M(ansible.builtin.set_stats) does, for a plan that it
    writes or refuses; and C(replication_plan_digest) and C(replication_plan), its text, for one that it writes.
  - Runs on the controller and asks the host nothing. In a playbook of your own it fails; enable the callback plugin
    P(mailops.dovecot_replication.plan#callback) there.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
attributes:
  check_mode:
    support: full
    details:
      - Check mode writes the files, too.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  directory:
    description:
      - Where to write C(plan.md) and C(plan.json); relative to where C(ansible-playbook) was started. Nothing is
        written without it.
    type: path
  reviewed_file:
    description: A reviewed C(plan.json), to compare with what would be done now.
    type: path
  reviewed_digest:
    description: The digest of a reviewed plan. Alone it shows that there is a difference, but not which.
    type: str
seealso:
  - plugin: mailops.dovecot_replication.plan
    plugin_type: callback
"""

EXAMPLES = r"""
- name: Write the plan
  mailops.dovecot_replication.replication_plan:
    directory: .
  run_once: true
  register: planned

- name: Compare it with the plan that was reviewed or approved
  mailops.dovecot_replication.replication_plan:
    reviewed_file: "{{ replication_plan_file | default(omit) }}"
    reviewed_digest: "{{ replication_plan_digest | default(omit) }}"
  run_once: true
  register: planned

- name: Stop when the plans differ
  ansible.builtin.assert:
    that: not planned.refusal
"""

RETURN = r"""
plan:
  description:
    - The plan, as C(plan.json) has it. C(result) is V(changes), V(no changes), or V(incomplete) when hosts failed or
      were not reached; C(message) says it in one sentence; C(counts) and C(hosts) have the rest, C(digest) tells one
      plan from another.
  returned: success
  type: dict
files:
  description: Paths of the files that were written.
  returned: success
  type: list
  elements: str
report:
  description: What the playbook C(plan) shows of a plan that was written, as lines of text; else empty.
  returned: success
  type: list
  elements: str
refusal:
  description:
    - Why the reviewed plan must not be applied, in lines of text, such as how it and what would be done now differ.
    - Empty when it still holds, and when none was given.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            directory=dict(type="path"), reviewed_file=dict(type="path"), reviewed_digest=dict(type="str")
        ),
        supports_check_mode=True,
    )
    module.fail_json(msg="replication_plan runs on the controller, by the action plugin of this name.")


if __name__ == "__main__":
    main()
