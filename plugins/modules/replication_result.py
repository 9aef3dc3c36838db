#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replication_result
short_description: Hand over the result of a playbook of this collection
version_added: 1.0.0
description:
  - Makes C(replication_result) from what the tasks of a play have registered, and hands it over to the jobs that
    follow, as M(ansible.builtin.set_stats) does.
  - Works in the playbooks C(setup), C(verify), C(status), C(resync), C(drain), C(decommission), C(adopt),
    C(upgrade_prepare) and C(monitor). To have their result, import them in a playbook of your own.
  - Runs on the controller and asks the host nothing.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
attributes:
  check_mode:
    support: full
    details:
      - The result is handed over there, too, and says so.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  playbook:
    description: The playbook whose result it is.
    type: str
    choices: [setup, verify, status, resync, drain, decommission, adopt, upgrade_prepare, monitor]
    required: true
  stage:
    description:
      - With V(begun) each host has no result yet, which remains when no host is reached.
      - With V(failed), in C(rescue), the task fails with the reason why the host needs a person.
      - With V(ended), in C(always), the result is made of what is known of all hosts. Run it once.
    type: str
    choices: [begun, failed, ended]
    required: true
  group:
    description: The C(replication_group) of hosts that have none of their own.
    type: str
    default: dovecot_replication
  state:
    description: The C(replication_state) of C(setup), or the C(monitoring_state) of C(monitor).
    type: str
    default: present
  hold:
    description: The C(replication_hold) of C(drain).
    type: bool
    default: true
seealso:
  - module: ansible.builtin.set_stats
  - module: mailops.dovecot_replication.replication_plan
"""

EXAMPLES = r"""
- name: Hand over that there is no result yet
  mailops.dovecot_replication.replication_result:
    playbook: drain
    stage: begun
  run_once: true
  register: __replication_outcome

# In rescue.
- name: Fail where a person is needed
  mailops.dovecot_replication.replication_result:
    playbook: drain
    stage: failed
  register: __replication_outcome

# In always.
- name: Hand over the result
  mailops.dovecot_replication.replication_result:
    playbook: drain
    stage: ended
    hold: "{{ replication_hold }}"
  run_once: true
  register: replication_handed_over
"""

RETURN = r"""
result:
  description: What is handed over as C(replication_result). It differs by playbook; docs/results.md describes its keys.
  returned: success
  type: dict
  contains:
    playbook:
      description: The playbook.
      type: str
    check_mode:
      description: Whether it was a check run.
      type: bool
    ok:
      description: Whether nothing needs a person.
      type: bool
    message:
      description: What was done, or who needs a person and why, in one line.
      type: str
    hosts:
      description: The result of each host, by inventory name.
      type: dict
report:
  description: What the task shows, as lines of text; empty where the role has reported.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            playbook=dict(
                type="str",
                required=True,
                choices=[
                    "setup",
                    "verify",
                    "status",
                    "resync",
                    "drain",
                    "decommission",
                    "adopt",
                    "upgrade_prepare",
                    "monitor",
                ],
            ),
            stage=dict(type="str", required=True, choices=["begun", "failed", "ended"]),
            group=dict(type="str", default="dovecot_replication"),
            state=dict(type="str", default="present"),
            hold=dict(type="bool", default=True),
        ),
        supports_check_mode=True,
    )
    module.fail_json(msg="replication_result runs on the controller, by the action plugin of this name.")


if __name__ == "__main__":
    main()
