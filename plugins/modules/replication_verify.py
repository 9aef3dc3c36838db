#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replication_verify
short_description: Decide what the role's entry point verify proves, and report it
version_added: 1.0.0
description:
  - The tasks of the entry point C(verify) of the role C(replication) run modules on both hosts of a pair. Between them,
    this one judges the results, which it reads from the play, and returns what the next tasks do.
  - Runs on the controller. Only with O(stage=observed) it looks at the host again with
    M(mailops.dovecot_replication.node_info), when the peer has looked up users whom this host has not.
  - Is of no use outside the role. The filter P(mailops.dovecot_replication.replication_findings#filter) judges
    observations in a playbook of your own.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.info_module
options:
  stage:
    description: The tasks that have run so far.
    type: str
    required: true
    choices: [observed, begun, synced, probed, compared, concluded]
  group:
    description: The inventory group of the pair.
    type: str
    default: dovecot_replication
  config_file:
    description: With O(stage=observed), the configuration file of Dovecot.
    type: path
  sample:
    description: With O(stage=observed), how many users to name in the observation.
    type: int
    default: 10
  require_iteration:
    description: With O(stage=observed), whether the userdb has to list its users.
    type: bool
    default: true
  all_accounts:
    description: With O(stage=observed), whether to look up all users.
    type: bool
    default: false
  probe_user:
    description: With O(stage=begun), the mailbox for the probe; empty for none.
    type: str
    default: ""
  way:
    description: With O(stage=probed), the hosts between which the probe was sent, from and to.
    type: list
    elements: str
    default: []
  fail_on:
    description: With O(stage=concluded), the findings that fail the host.
    type: str
    choices: [error, warning, nothing]
    default: error
seealso:
  - plugin: mailops.dovecot_replication.replication_findings
    plugin_type: filter
  - module: mailops.dovecot_replication.node_info
"""

EXAMPLES = r"""
- name: Compare the observations of both hosts
  mailops.dovecot_replication.replication_verify:
    stage: observed
    group: "{{ replication_group }}"
  register: observed

- name: Judge the pair, and show the report
  mailops.dovecot_replication.replication_verify:
    stage: concluded
    group: "{{ replication_group }}"
    fail_on: warning
  register: conclusion

- name: Fail for one kind of finding
  ansible.builtin.assert:
    that: conclusion.findings | selectattr('id', 'equalto', 'password_refused') | length == 0
"""

RETURN = r"""
observation:
  description: The newest result of M(mailops.dovecot_replication.node_info) on this host.
  returned: when O(stage=observed)
  type: dict
verifier:
  description: The host that proves and reports for the pair.
  returned: when O(stage=observed)
  type: str
  sample: mx1.example.org
proves:
  description: Whether this host has something to prove.
  returned: when O(stage=observed)
  type: bool
failing:
  description: Users whose last sync failed, by host, where nothing else is wrong. They are synced again first.
  returned: when O(stage=observed)
  type: dict
users:
  description: Users to sync from either side.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: list
  elements: str
hosts:
  description: The hosts on which to sync them.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: list
  elements: str
probe_user:
  description: The mailbox for the probe; empty for none.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: str
unannounced:
  description: Hosts whose syncs a timer starts. It is told of no change, so a probe from there needs a request.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: list
  elements: str
token:
  description: Part of the subject by which a probe is found again.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: str
ways:
  description: Pairs of hosts, from and to, between which a probe is to be sent.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: list
  elements: list
syncs:
  description: The message of a failed sync by host, empty where it succeeded.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: dict
probes:
  description: The outcome of each probe.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: list
  elements: dict
  contains:
    from:
      description: The host on which it was saved.
      type: str
    to:
      description: The other host.
      type: str
    sent:
      description: Whether it could be saved.
      type: bool
    announced:
      description: Whether it reached the other host by itself.
      type: bool
    arrived:
      description: Whether it reached the other host at all.
      type: bool
    message:
      description: The message of a failure, else empty.
      type: str
    seconds:
      description: How long verify waited for it, null where it did not come by itself.
      type: float
to_compare:
  description: Users whose mail is to be compared next.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: list
  elements: str
compared:
  description: How many users were compared.
  returned: when O(stage) is not V(observed)
  type: int
rows:
  description: Rows of M(mailops.dovecot_replication.mailbox_info) that only one host had at the last comparison.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: list
  elements: dict
  contains:
    host:
      description: The host that had it.
      type: str
    username:
      description: Name of the user.
      type: str
    fingerprint:
      description: Of all mailboxes and messages.
      type: str
    problem:
      description: Null; who has a problem is in RV(unreadable).
      type: str
    messages:
      description: How many messages there are.
      type: int
    doubled:
      description: How many of them are in one folder twice.
      type: int
    bytes:
      description: Their size.
      type: int
rounds:
  description: How many comparisons there were.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: int
unreadable:
  description: Why the mail of users cannot be read and so not be compared, by host and user.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: dict
doubled:
  description: How many messages of users are in one folder twice, by user. Users without such messages are left out.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: dict
differing:
  description: Users whose mail differed in the same way at two comparisons.
  returned: when O(stage) is V(begun), V(synced), V(probed) or V(compared)
  type: list
  elements: str
findings:
  description: The faults of the pair, as the filter P(mailops.dovecot_replication.replication_findings#filter) returns.
  returned: when O(stage=concluded)
  type: list
  elements: dict
  contains:
    id:
      description: A stable name of the fault.
      type: str
    severity:
      description: V(error) or V(warning).
      type: str
    host:
      description: The host.
      type: str
    summary:
      description: The fault in a sentence.
      type: str
    evidence:
      description: What shows it.
      type: str
    cure:
      description: The fix.
      type: str
report:
  description: What the host that proves for the pair shows, as lines of text.
  returned: when O(stage=concluded)
  type: list
  elements: str
metrics_file:
  description: Where the metrics of this run belong, empty where nobody watches this host, and in check mode.
  returned: when O(stage=concluded)
  type: str
metrics:
  description: The text of the metrics, which node_exporter reads.
  returned: when O(stage=concluded)
  type: str
failure:
  description: Why this host fails, empty where it does not.
  returned: when O(stage=concluded)
  type: str
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            stage=dict(
                type="str",
                required=True,
                choices=["observed", "begun", "synced", "probed", "compared", "concluded"],
            ),
            group=dict(type="str", default="dovecot_replication"),
            config_file=dict(type="path"),
            sample=dict(type="int", default=10),
            require_iteration=dict(type="bool", default=True),
            all_accounts=dict(type="bool", default=False),
            probe_user=dict(type="str", default=""),
            way=dict(type="list", elements="str", default=[]),
            fail_on=dict(type="str", choices=["error", "warning", "nothing"], default="error"),
        ),
        supports_check_mode=True,
    )
    module.fail_json(msg="replication_verify runs on the controller, by the action plugin of this name.")


if __name__ == "__main__":
    main()
