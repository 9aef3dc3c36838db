#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replicator_wait
short_description: Wait until Dovecot's replicator is done, without requesting anything
version_added: 1.0.0
description:
  - Waits until users are neither queued for a sync, nor due for one, nor being synced, and on demand until their last
    sync has succeeded.
  - Every few seconds it shows on the terminal or in the log of the job how many users are done and how many are left.
  - To ask for syncs and wait for these, use M(mailops.dovecot_replication.replicator_replicate) with
    O(mailops.dovecot_replication.replicator_replicate#module:wait=true).
notes:
  - A user is done as soon as it has been idle once. So new mail does not make the task wait for ever. At its end
    everything is synced that was queued when it began.
  - The queues that C(doveadm replicator status) shows do not count users that are being synced at the moment. This
    module looks at both.
  - Users are due without being queued when they are new on the list, when their regular full sync has come, and five
    minutes after a sync that failed. Up to Dovecot 2.3.19 new ones stay so as long as any other user is failing.
  - When Dovecot is reloaded or restarted meanwhile, the waiting goes on. That breaks off running syncs, which count as
    failed until Dovecot tries them again.
  - A poll reads the list once, however many users it waits for. The pauses between polls grow up to two seconds. With
    C(async) nothing is shown meanwhile.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.action_group
  - mailops.dovecot_replication.attributes.info_module
  - mailops.dovecot_replication.replicator
  - mailops.dovecot_replication.replicator.slice
attributes:
  check_mode:
    support: full
    details:
      - This module does not change anything. In check mode it looks once, and neither waits nor fails, since what would
        have been queued by the tasks before it is not.
options:
  users:
    description:
      - Names of users, exactly. Wildcards are refused here; they belong in O(user_mask).
      - A name that is not on the replicator's list is reported as dropped, which is a failure with O(until=synced).
    type: list
    elements: str
    aliases: [name, user]
  users_file:
    description:
      - A file on the controller with the names of users, one a line, in place of O(users). See
        M(mailops.dovecot_replication.replicator_user).
    type: str
  user_mask:
    description:
      - Users on the replicator's list whose names match this mask. C(*) stands for any characters and C(?) for one;
        upper and lower case differ.
      - Everyone on the list when neither this nor O(users) nor O(users_file) is given.
    type: str
  until:
    description:
      - V(idle) waits until nothing is queued or running for any of the users. A failed sync counts as ended.
      - V(synced) waits until in addition the last sync of each has succeeded. Failed users are waited for, as Dovecot
        tries them again, after five minutes at the earliest.
      - V(quiet) waits for a moment at which none of them is being synced, whatever is queued. A reload or restart of
        Dovecot at that moment breaks off no sync. On a busy host the next sync may start right after it.
    type: str
    choices: [idle, synced, quiet]
    default: idle
  max_failed:
    description:
      - Accept that so many users have failed, and give up at once when there are more.
      - When not given, O(until=idle) accepts any number, and O(until=synced) none but goes on waiting for them.
    type: int
  wait_timeout:
    description: How long to wait, in seconds.
    type: float
    default: 300
seealso:
  - module: mailops.dovecot_replication.replicator_replicate
  - module: mailops.dovecot_replication.replicator_info
"""

EXAMPLES = r"""
- name: Wait until the replicator has nothing to do
  mailops.dovecot_replication.replicator_wait:

- name: Before maintenance, wait until everyone's mail is on the other host, and fail when that is not so in ten minutes
  mailops.dovecot_replication.replicator_wait:
    until: synced
    wait_timeout: 600

- name: Wait for a domain of many thousand mailboxes, and give up when the peer seems to be broken
  mailops.dovecot_replication.replicator_wait:
    user_mask: "*@example.org"
    until: synced
    max_failed: 20
    wait_timeout: 3600

- name: Wait for some users, and go on in any case
  mailops.dovecot_replication.replicator_wait:
    users:
      - alice@example.org
      - bob@example.org
    until: synced
    wait_timeout: 60
  register: caught_up
  failed_when: false

- name: Before a restart of Dovecot let running syncs end, if that takes no longer than half a minute
  mailops.dovecot_replication.replicator_wait:
    until: quiet
    wait_timeout: 30
  failed_when: false

- name: Only look how it stands
  mailops.dovecot_replication.replicator_wait:
    until: synced
  check_mode: true
  register: now
"""

RETURN = r"""
restarts:
  description:
    - How often Dovecot, or its replicator alone, was restarted or reloaded during the wait. The waiting goes on.
  returned: success, and failure of the waiting
  type: int
  sample: 0
elapsed:
  description: Seconds waited.
  returned: success, and failure of the waiting
  type: float
  sample: 12.5
pending_users:
  description: Names of users that were still queued, due or being synced when O(wait_timeout) was over, with
    O(until=quiet) only the last. Sorted.
  returned: success, and failure of the waiting
  type: list
  elements: str
  sample: []
failed_users:
  description: Names of users that are idle and whose last sync has failed. Sorted.
  returned: success, and failure of the waiting
  type: list
  elements: str
  sample: []
synced_users:
  description: Names of users that are idle and whose last sync has not failed. Sorted.
  returned: success, and failure of the waiting
  type: list
  elements: str
  sample: [alice@example.org, bob@example.org]
dropped_users:
  description: Names of users that are not on the replicator's list, or no longer. Sorted.
  returned: success, and failure of the waiting
  type: list
  elements: str
  sample: []
failed_reasons:
  description:
    - Why users of RV(failed_users) have failed, by user, for at most ten of them, with the transports V(ignore:timer)
      and V(ignore:service).
    - Empty with the others, as only Dovecot's log has that.
  returned: success, and failure of the waiting
  type: dict
dropped_reasons:
  description:
    - Why the replicator has dropped each of RV(dropped_users). V(unknown) is not in the userdb here, V(noreplicate) has
      that field set, V(unknown_on_peer) exists here, so the peer must lack it. Empty when the userdb did not answer.
  returned: success, and failure of the waiting
  type: dict
  sample: {}
transport:
  description: The transport in use.
  returned: success
  type: str
  sample: socket
debug_log:
  description: Lines that doveadm printed besides its answers.
  returned: when O(debug=true)
  type: list
  elements: str
"""

from typing import Any, Dict

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import TaskFailed
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import enumerated, mask_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.options import (
    LISTED_USER_OPTIONS,
    SLICE_OPTION,
    WHICH_USERS,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.waiting import (
    NEVER_QUIET,
    Outcome,
    Until,
    wait_for_quiet,
)


def work(session: Session) -> Dict[str, Any]:
    params = session.params
    result: Dict[str, Any] = dict(changed=False)
    if params["until"] == "quiet":
        wait_until_quiet(session, result)
        return result
    names = session.named_users()
    if names is None:
        names = list(session.client.names(params["user_mask"] or "*"))
        if not names:
            session.warn("No user on the replicator's list matches %s." % (params["user_mask"] or "*"))
    session.wait.run(names, params["wait_timeout"], result, Until(params["until"], params["max_failed"]))
    return result


def wait_until_quiet(session: Session, result: Dict[str, Any]) -> None:
    """Wait in one go: there is nothing to count, so no progress to show."""
    params = session.params
    names = session.named_users()
    matches = mask_matcher(params["user_mask"] or "*") if names is None else set(names).__contains__
    running, elapsed = wait_for_quiet(
        session.wait.watch(), matches, 0 if session.check_mode else params["wait_timeout"]
    )
    outcome = Outcome(synced=[], failed=[], dropped=[], pending=running, elapsed=elapsed)
    result.update(outcome.as_result(), dropped_reasons={}, failed_reasons={}, restarts=0)
    if running and not session.check_mode:
        raise TaskFailed(NEVER_QUIET % enumerated(running), transport=session.transport, **result)


def main() -> None:
    Session.run(
        work,
        dict(
            LISTED_USER_OPTIONS,
            until=dict(type="str", choices=["idle", "synced", "quiet"], default="idle"),
            max_failed=dict(type="int"),
            wait_timeout=dict(type="float", default=300),
            **SLICE_OPTION,
        ),
        mutually_exclusive=[WHICH_USERS],
    )


if __name__ == "__main__":
    main()
