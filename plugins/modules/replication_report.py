#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replication_report
short_description: Write a page about pairs, for a browser
version_added: 1.0.0
description:
  - Writes one file of HTML on the controller out of what the playbook C(verify) hands over. It has the verdict in
    words, the pairs with the worst one first, findings with evidence and fix, and the numbers of each host.
  - The file needs nothing from elsewhere, no script, and can be read without its style. So job servers can show it.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
attributes:
  check_mode:
    support: full
    details:
      - The page is written in check mode, too.
  diff_mode:
    support: none
  idempotent:
    support: none
options:
  result:
    description: The C(replication_result) of C(verify), see docs/results.md.
    type: dict
    required: true
  dest:
    description: Path of the file on the controller. The file is replaced as a whole.
    type: path
    required: true
  names:
    description: Whether names of users may be in the page. Without them it has no evidence and no fixes.
    type: bool
    default: true
  hand_over:
    description: Whether to hand the page over to jobs that follow, as C(replication_page), as
      M(ansible.builtin.set_stats) does. A job server then has it among the artifacts of the job.
    type: bool
    default: false
seealso:
  - module: mailops.dovecot_replication.replication_verify
"""

EXAMPLES = r"""
- name: Write the page
  mailops.dovecot_replication.replication_report:
    result: "{{ replication_handed_over.result }}"
    dest: /srv/www/replication.html
  run_once: true

- name: Write a page that may be shown to everyone
  mailops.dovecot_replication.replication_report:
    result: "{{ replication_handed_over.result }}"
    dest: /srv/www/public/replication.html
    names: false
  run_once: true

- name: Write the page of a result that was kept
  mailops.dovecot_replication.replication_report:
    result: "{{ lookup('ansible.builtin.file', 'result.json') | from_json }}"
    dest: replication-report.html
  run_once: true
"""

RETURN = r"""
path:
  description: The path of the file.
  returned: success
  type: str
verdict:
  description: The title of the page, the verdict in words.
  returned: success
  type: str
  sample: All 3 pairs are in order
report:
  description: What the task shows, as lines of text.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            result=dict(type="dict", required=True),
            dest=dict(type="path", required=True),
            names=dict(type="bool", default=True),
            hand_over=dict(type="bool", default=False),
        ),
        supports_check_mode=True,
    )
    module.fail_json(msg="replication_report runs on the controller, by the action plugin of this name.")


if __name__ == "__main__":
    main()
