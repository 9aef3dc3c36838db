#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replication_status
short_description: Fail for users whose syncs fail, and return the state of the replicator
version_added: 1.0.0
description:
  - Reads the replicator of a host as M(mailops.dovecot_replication.replicator_info) does, and fails when syncs of users
    fail. The playbook C(status) shows the answers of all hosts as a table.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
attributes:
  check_mode:
    support: full
    details:
      - This module does not change anything.
  diff_mode:
    support: N/A
    details:
      - This module does not change anything.
  idempotent:
    support: full
    details:
      - This module does not change anything.
options:
  mask:
    description: Return the users on the list that match this mask, too, at most 100.
    type: str
    default: ""
  fail_on:
    description: With V(nothing), the task does not fail for users whose syncs fail.
    type: str
    choices: [error, warning, nothing]
    default: error
  api_url:
    description: As in M(mailops.dovecot_replication.replicator_info).
    type: str
  api_key:
    description: As in M(mailops.dovecot_replication.replicator_info).
    type: str
  ca_path:
    description: As in M(mailops.dovecot_replication.replicator_info).
    type: path
seealso:
  - module: mailops.dovecot_replication.replicator_info
"""

EXAMPLES = r"""
- name: Fail when syncs of users fail
  mailops.dovecot_replication.replication_status:
  become: true

- name: Read the state, and that of some users
  mailops.dovecot_replication.replication_status:
    mask: "*@example.org"
    fail_on: nothing
  become: true
  register: status

- name: Show how many users fail
  ansible.builtin.debug:
    msg: "{{ status.summary.failing }}"
"""

RETURN = r"""
overview:
  description: As M(mailops.dovecot_replication.replicator_info) returns it.
  returned: when the replicator answers
  type: dict
summary:
  description: As M(mailops.dovecot_replication.replicator_info) returns it.
  returned: when the replicator answers
  type: dict
dsyncs:
  description: As M(mailops.dovecot_replication.replicator_info) returns it.
  returned: when the replicator answers
  type: list
  elements: dict
users:
  description: Users whose last sync failed, at most 20, as M(mailops.dovecot_replication.replicator_info) returns them.
  returned: when the replicator answers
  type: list
  elements: dict
asked_users:
  description: Users that match O(mask), as M(mailops.dovecot_replication.replicator_info) returns them.
  returned: when the replicator answers and O(mask) is given
  type: list
  elements: dict
dovecot_version:
  description: Version of the installed Dovecot; null over the API, which does not say.
  returned: when the replicator answers
  type: str
socket_path:
  description: Path of the replicator's socket; null over the API.
  returned: when the replicator answers
  type: str
transport:
  description: The transport that was used.
  returned: when the replicator answers
  type: str
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            mask=dict(type="str", default=""),
            fail_on=dict(type="str", default="error", choices=["error", "warning", "nothing"]),
            api_url=dict(type="str"),
            api_key=dict(type="str", no_log=True),
            ca_path=dict(type="path"),
        ),
        supports_check_mode=True,
    )
    module.fail_json(msg="replication_status is run by the action plugin of this name.")


if __name__ == "__main__":
    main()
