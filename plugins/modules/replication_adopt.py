#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replication_adopt
short_description: Decide what the role's entry point adopt does, and change mailboxes
version_added: 1.0.0
description:
  - The tasks of the entry point C(adopt) of the role C(replication) read the mailboxes of both hosts of a pair. From
    these, this module decides which mailboxes get the GUID of the other host, and changes those of its own host with
    M(mailops.dovecot_replication.mailbox_identity). It returns what the next tasks do.
  - Decides on the controller, and is of no use outside the role.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  stage:
    description: The tasks that have run so far.
    type: str
    required: true
    choices: [adopted, compared, concluded]
  group:
    description: The inventory group of the pair.
    type: str
    default: dovecot_replication
  config_file:
    description: With O(stage=adopted), the configuration file of Dovecot.
    type: path
  first:
    description: With O(stage=adopted), whether this is the first round. A later one adds to what the ones before did.
    type: bool
    default: true
seealso:
  - module: mailops.dovecot_replication.mailbox_identity
  - module: mailops.dovecot_replication.mailbox_info
"""

EXAMPLES = r"""
- name: Give mailboxes the GUID of the other host
  mailops.dovecot_replication.replication_adopt:
    stage: adopted
    group: "{{ replication_group }}"
  register: adoption

- name: Conclude
  mailops.dovecot_replication.replication_adopt:
    stage: concluded
    group: "{{ replication_group }}"
  register: adoption

- name: Fail for users who still differ
  ansible.builtin.fail:
    msg: "{{ adoption.failure }}"
  when: adoption.failure | length > 0
"""

RETURN = r"""
leader:
  description: The host that has the users of the pair synced and compared.
  returned: success
  type: str
hosts:
  description: The hosts of the pair.
  returned: success
  type: list
  elements: str
round:
  description: The number of the round, 1 for the first one.
  returned: success
  type: int
users:
  description: How many users both hosts have.
  returned: success
  type: int
one_sided:
  description: Users that only this host has.
  returned: success
  type: list
  elements: str
planned:
  description: How many users of the pair had mailboxes that were made on both hosts.
  returned: success
  type: int
adopted_users:
  description: Users of whom this host has changed mailboxes.
  returned: success
  type: list
  elements: str
mailboxes:
  description: How many mailboxes this host has changed.
  returned: success
  type: int
failures:
  description: The messages of M(mailops.dovecot_replication.mailbox_identity) where it has failed in this round.
  returned: success
  type: list
  elements: str
differing:
  description: Users to sync and to compare in this round.
  returned: success
  type: list
  elements: str
requested:
  description: How many users there were to sync in the first round.
  returned: success
  type: int
again:
  description: Users who differed at the last comparison.
  returned: success
  type: list
  elements: str
goes_on:
  description: Whether another round follows.
  returned: success
  type: bool
syncs:
  description: The message of a failed sync by host, empty where it succeeded.
  returned: success
  type: dict
before:
  description: How many messages each host had of the users to sync, by host.
  returned: success
  type: dict
after:
  description: How many messages each host has of those who are the same on both.
  returned: success
  type: int
doubled:
  description: How many messages of users are in one folder twice, by user. Users without such messages are left out.
  returned: success
  type: dict
failure:
  description: Why this host needs a person, empty where it does not.
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            stage=dict(type="str", required=True, choices=["adopted", "compared", "concluded"]),
            group=dict(type="str", default="dovecot_replication"),
            config_file=dict(type="path"),
            first=dict(type="bool", default=True),
        ),
        supports_check_mode=True,
    )
    module.fail_json(msg="replication_adopt runs on the controller, by the action plugin of this name.")


if __name__ == "__main__":
    main()
