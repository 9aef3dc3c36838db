#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replicator_replicate
short_description: Ask Dovecot's replicator to sync users now
version_added: 1.0.0
description:
  - Queues users for replication, as C(doveadm replicator replicate) does, and with O(wait=true) proves that their mail
    is on the peer.
  - A request is an action, so a task without O(max_age) reports a change each time. With O(max_age) the task asks only
    for users whose last success is older, and is idempotent.
notes:
  - A user of O(users) that the replicator does not know yet is put on its list.
  - C(doveadm replicator replicate -f) starts a full sync in no release of Dovecot; it only postpones the next one.
    O(full=true) really starts one.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.action_group
  - mailops.dovecot_replication.replicator
  - mailops.dovecot_replication.replicator.wait
  - mailops.dovecot_replication.replicator.slice
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - Idempotent with O(max_age) or O(failed_only=true).
options:
  users:
    description: Names of users, exactly. Wildcards are refused here; they belong in O(user_mask).
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
      - The userdb is not asked; use M(mailops.dovecot_replication.replicator_user) to put its users on the list.
    type: str
  priority:
    description:
      - Priority in the replicator's queue. Dovecot itself queues new mail with high priority, everything else with low.
    type: str
    choices: [low, high]
    default: low
  full:
    description:
      - Compare every mailbox message by message, not only the changes since the last sync.
      - The task takes each user off the replicator's list and queues the user again as a new one. So the times of
        earlier syncs are lost. When the task is killed in between, a process that it leaves on the host queues the
        user. When Dovecot stays down for a minute in between, the task fails and names the user.
      - The task waits for a sync of the user that is under way, at most O(wait_timeout), and does not disturb it.
    type: bool
    default: false
  max_age:
    description:
      - Leave users alone whose last successful sync ended less than this long ago. A success in the future, as after
        the clock was set back, does not count.
      - Seconds, or a number with one of the units V(s), V(m), V(h), V(d), V(w), such as V(90), V(15m), V(1d).
    type: str
  failed_only:
    description:
      - Of the users, ask only for those on the replicator's list whose last sync failed. Dovecot itself tries them
        again after five minutes.
    type: bool
    default: false
  check_userdb:
    description:
      - Whether to fail, before anything is asked for, when the userdb does not have one of O(users), or has
        C(noreplicate) set for one.
    type: bool
    default: true
seealso:
  - module: mailops.dovecot_replication.replicator_user
  - module: mailops.dovecot_replication.replicator_info
"""

EXAMPLES = r"""
- name: Bring two mailboxes up to date on the peer, and fail if that is not possible
  mailops.dovecot_replication.replicator_replicate:
    users:
      - alice@example.org
      - bob@example.org
    priority: high
    wait: true
    wait_timeout: 60

- name: Compare two mailboxes message by message
  mailops.dovecot_replication.replicator_replicate:
    users:
      - alice@example.org
      - bob@example.org
    full: true
    wait: true

- name: Sync everyone who has not been synced for an hour
  mailops.dovecot_replication.replicator_replicate:
    user_mask: "*"
    max_age: 1h

- name: Show who that would be
  mailops.dovecot_replication.replicator_replicate:
    user_mask: "*"
    max_age: 1h
  check_mode: true
  register: stale

- name: The peer is back, so try those again that failed, until all are in sync
  mailops.dovecot_replication.replicator_replicate:
    user_mask: "*"
    failed_only: true
    wait: true
  register: sync
  until: sync is succeeded
  retries: 5
  delay: 30
"""

RETURN = r"""
requested:
  description: Names that were asked for, or would be in check mode. Sorted.
  returned: success, and failure of the waiting
  type: list
  elements: str
  sample: [alice@example.org]
skipped_users:
  description:
    - Users that were left alone because of O(max_age), and with O(user_mask) also those that are on the replicator's
      list and no longer in the userdb. Sorted by name.
  returned: success, and failure of the waiting
  type: list
  elements: dict
  contains:
    username:
      description: Name of the user.
      type: str
      sample: bob@example.org
    reason:
      description: Why it was left alone.
      type: str
      sample: synced less than 3600 seconds ago
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
synced_users:
  description: Names whose sync succeeded. Sorted.
  returned: when O(wait=true) and not in check mode
  type: list
  elements: str
  sample: [alice@example.org]
failed_users:
  description: Names whose sync failed. Sorted.
  returned: when O(wait=true) and not in check mode
  type: list
  elements: str
  sample: []
dropped_users:
  description:
    - Names that the replicator has taken off its list, as the account is missing on the peer or not to be replicated.
    - Sorted.
  returned: when O(wait=true) and not in check mode
  type: list
  elements: str
  sample: []
failed_reasons:
  description:
    - Why users of RV(failed_users) have failed, by user, for at most ten of them, with the transports V(ignore:timer)
      and V(ignore:service).
    - Empty with the others, as only Dovecot's log has that.
  returned: when O(wait=true) and not in check mode
  type: dict
dropped_reasons:
  description:
    - Why the replicator has dropped each of RV(dropped_users). V(unknown) is not in the userdb here, V(noreplicate) has
      that field set, V(unknown_on_peer) exists here, so the peer must lack it. Empty when the userdb did not answer.
  returned: when O(wait=true) and not in check mode
  type: dict
  sample: {}
pending_users:
  description: Names whose sync had not ended when O(wait_timeout) was over. Sorted.
  returned: when O(wait=true) and not in check mode
  type: list
  elements: str
  sample: []
restarts:
  description:
    - How often Dovecot, or its replicator alone, was restarted or reloaded during the wait. That breaks off running
      syncs, and those still waited for are then asked for again.
  returned: when O(wait=true) and not in check mode
  type: int
  sample: 0
elapsed:
  description: Seconds waited.
  returned: when O(wait=true) and not in check mode
  type: float
  sample: 0.412
unknown_users:
  description: Names that the userdb does not have. Sorted.
  returned: failure because of them
  type: list
  elements: str
  sample: [nobody@example.org]
noreplicate_users:
  description: Names for which the userdb field C(noreplicate) is set. Sorted.
  returned: failure because of them
  type: list
  elements: str
  sample: [archive@example.org]
"""

import time
from typing import Any, Collection, Dict, List

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.durations import parse_duration
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError, TaskFailed
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import enumerated
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.full_sync import FullSyncs
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.membership import (
    plan_replication,
    replication_diff,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.options import (
    LISTED_USER_OPTIONS,
    WAIT_OPTIONS,
    WHICH_USERS,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session

GONE = "not in the userdb, so deleted or renamed since the replicator has listed it"


def work(session: Session) -> Dict[str, Any]:
    params = session.params
    max_age = None if params["max_age"] is None else parse_duration("max_age", params["max_age"])
    names = session.named_users()
    statuses = session.client.users("*" if names is not None else params["user_mask"])
    if names is not None and params["check_userdb"]:
        names = session.known_to_userdb(names, statuses)
    if names is None and not statuses:
        session.warn("No user on the replicator's list matches %s." % params["user_mask"])
    wanted = list(statuses) if names is None else names
    gone = gone_users(session, wanted) if names is None and params["check_userdb"] else []
    plan = plan_replication(statuses, set(wanted).difference(gone), max_age, params["failed_only"])
    skipped = sorted(plan.skipped + [(name, GONE) for name in gone])
    if names is not None and params["check_userdb"]:
        session.refuse_noreplicate(plan.requested)
    result: Dict[str, Any] = dict(
        changed=bool(plan.requested),
        requested=plan.requested,
        skipped_users=[dict(username=name, reason=reason) for name, reason in skipped],
        diff=replication_diff(plan, params["full"]),
    )
    if not session.check_mode:
        seconds = params["wait_timeout"]
        if params["full"] and plan.requested:
            began = time.monotonic()
            start_full_syncs(session, plan.requested, result)
            seconds = max(0, seconds - (time.monotonic() - began))
        else:
            session.client.replicate(plan.requested, params["priority"])
        if params["wait"]:
            session.wait.run(plan.requested, seconds, result)
    return result


def gone_users(session: Session, listed: Collection[str]) -> List[str]:
    """Return the listed names that the userdb does not have any more, none where it does not answer."""
    try:
        return sorted(set(listed).difference(session.userdb.find(listed)))
    except DovecotError:
        return []


def queue_full_syncs(session: Session, names: List[str], seconds: float) -> List[str]:
    """Queue full syncs; return the names whose sync under way has not ended in so many seconds."""
    syncs = FullSyncs(session.client, session.connections.connected, session.params["priority"])
    return syncs.request(names, seconds)


def ask_again(session: Session, names: List[str]) -> None:
    if session.params["full"]:
        # Those with a sync under way were still queued when the replicator was restarted, for the full one.
        queue_full_syncs(session, names, 0)
    else:
        session.client.replicate(names, session.params["priority"])


def start_full_syncs(session: Session, names: List[str], result: Dict[str, Any]) -> None:
    """Queue full syncs; raise TaskFailed with the users whose sync under way has not ended in wait_timeout."""
    late = queue_full_syncs(session, names, session.params["wait_timeout"])
    if late:
        raise TaskFailed(
            "A sync is under way that has not ended in wait_timeout, so no full one was asked for, for %s. A peer "
            "that does not answer, or to which no network leads, keeps a sync waiting; "
            "`doveadm replicator dsync-status` shows it." % enumerated(late),
            **dict(result, requested=sorted(set(names).difference(late)), pending_users=late),
        )


def main() -> None:
    Session.run(
        work,
        dict(
            LISTED_USER_OPTIONS,
            priority=dict(type="str", choices=["low", "high"], default="low"),
            full=dict(type="bool", default=False),
            max_age=dict(type="str"),
            failed_only=dict(type="bool", default=False),
            check_userdb=dict(type="bool", default=True),
            **WAIT_OPTIONS,
        ),
        ask_again=ask_again,
        required_one_of=[WHICH_USERS],
        mutually_exclusive=[WHICH_USERS],
    )


if __name__ == "__main__":
    main()
