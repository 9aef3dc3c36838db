#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replicator_info
short_description: Read the state of Dovecot's replicator
version_added: 1.0.0
description:
  - Returns what C(doveadm replicator status), C(doveadm replicator status MASK) and C(doveadm replicator dsync-status)
    show, as data, with absolute times.
notes:
  - With O(transport=doveadm) and O(transport=http) the times of the users are null, because Dovecot gives only ages
    there.
  - The queues do not count users that are being synced at the moment. The replicator is idle when all of them are 0 and
    no entry of RV(dsyncs) has a username.
  - On the host to which mail is replicated, syncs started by the other host move RV(users[].last_fast_sync) but never
    RV(users[].last_successful_sync). An old success there is no error.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.action_group
  - mailops.dovecot_replication.attributes.info_module
  - mailops.dovecot_replication.replicator
options:
  users:
    description: Return the entries of these users, those that are on the list. Wildcards are refused here.
    type: list
    elements: str
    aliases: [name, user]
  user_mask:
    description:
      - Return the entries whose names match this mask. C(*) stands for any characters and C(?) for one; upper and lower
        case differ.
    type: str
  gather:
    description:
      - The parts to read.
      - When not given, V(overview), V(summary) and V(dsyncs), and V(users) too when O(users) or O(user_mask) is given.
      - V(summary) reads the list of all users, V(summary) and V(users) together read it once.
    type: list
    elements: str
    choices: [overview, summary, users, dsyncs]
  failed_only:
    description: Of the users, return only those whose last sync failed.
    type: bool
    default: false
  older_than:
    description:
      - Of the users, return only those whose last successful sync ended longer ago than this, or who have had none.
      - Seconds, or a number with one of the units V(s), V(m), V(h), V(d), V(w), such as V(90), V(15m), V(1d).
    type: str
  limit:
    description: Of the users, return at most this many, the first by name.
    type: int
seealso:
  - module: mailops.dovecot_replication.replicator_user
  - module: mailops.dovecot_replication.replicator_replicate
"""

EXAMPLES = r"""
- name: Read how much is queued
  mailops.dovecot_replication.replicator_info:
  register: replicator

- name: Fail when syncs fail
  ansible.builtin.assert:
    that: replicator.summary.failing == 0

- name: Name the first ten users whose sync fails
  mailops.dovecot_replication.replicator_info:
    user_mask: "*"
    gather: [users]
    failed_only: true
    limit: 10
  register: failing

- name: Wait until nothing is queued any more, looking every ten seconds
  mailops.dovecot_replication.replicator_info:
    gather: [overview]
  register: queue
  until: queue.overview.queued_high + queue.overview.queued_low == 0
  retries: 30
  delay: 10

- name: Fail when a mailbox has not been synced for a day
  mailops.dovecot_replication.replicator_info:
    user_mask: "*"
    gather: [users]
    older_than: 1d
  register: stale
  failed_when: stale is failed or stale.users | length > 0
"""

RETURN = r"""
overview:
  description: How many users are in which state.
  returned: when V(overview) is gathered
  type: dict
  contains:
    queued_sync:
      description: Queued with priority C(sync).
      type: int
    queued_high:
      description: Queued with priority C(high).
      type: int
    queued_low:
      description: Queued with priority C(low).
      type: int
    queued_failed:
      description: Their last sync failed, and the next try is due.
      type: int
    queued_full_resync:
      description: Their regular full sync is due. New users are counted here.
      type: int
    waiting_failed:
      description: Their last sync failed, and the next try is not due yet.
      type: int
    known_users:
      description: All users on the list.
      type: int
  sample:
    queued_sync: 0
    queued_high: 0
    queued_low: 2
    queued_failed: 0
    queued_full_resync: 0
    waiting_failed: 1
    known_users: 230
summary:
  description:
    - The list of all users in a few numbers.
    - Dovecot's RV(overview) does not count a failing user who has new changes queued, RV(summary.failing) does.
  returned: when V(summary) is gathered
  type: dict
  contains: &summary
    known_users:
      description: All users on the list.
      type: int
    failing:
      description: Users whose last sync failed.
      type: int
    queued:
      description: Users with changes that wait for a sync.
      type: int
    running:
      description: Users who are being synced.
      type: int
    never_synced:
      description: Users for whom neither host has ever started a sync.
      type: int
    oldest_full_sync:
      description: The start of the full sync that is the longest ago, ISO 8601 in UTC; null with O(transport=doveadm)
        and O(transport=http), and when there was none.
      type: str
    oldest_full_sync_age:
      description: Seconds since then, null when there was none. A full sync of the other host counts, too.
      type: int
    oldest_waiting_success_age:
      description: Seconds since the last success of that user with queued changes for whom it is the longest ago; null
        when none is queued who ever had one.
      type: int
    newest_success_age:
      description: Seconds since the last sync of this host that succeeded, null when none ever did.
      type: int
    on_hold:
      description: Whether the configuration keeps syncs from being started; null with O(transport=http).
      type: bool
  sample:
    known_users: 230
    failing: 1
    queued: 2
    running: 0
    never_synced: 0
    oldest_full_sync: '2026-11-22T12:04:10Z'
    oldest_full_sync_age: 85700
    oldest_waiting_success_age: 41
    newest_success_age: 3
    on_hold: false
users:
  description: Entries of the replicator's list, sorted by name.
  returned: when V(users) is gathered
  type: list
  elements: dict
  contains:
    username:
      description: Name of the user.
      type: str
    priority:
      description: Priority with which the user is queued; V(none) when it is not.
      type: str
    last_fast_sync:
      description: When the last sync started, ISO 8601 in UTC; null for never.
      type: str
    last_full_sync:
      description: When the last full sync started, ISO 8601 in UTC; null for never.
      type: str
    last_successful_sync:
      description: When the last sync ended with success, ISO 8601 in UTC; null for never.
      type: str
    fast_sync_age:
      description: Seconds since RV(users[].last_fast_sync); null for never.
      type: int
    full_sync_age:
      description: Seconds since RV(users[].last_full_sync); null for never.
      type: int
    successful_sync_age:
      description: Seconds since RV(users[].last_successful_sync); null for never, and for a time of the future, as
        there is after the clock was set back.
      type: int
    failed:
      description: Whether the last sync that ended has failed.
      type: bool
    running:
      description: Whether a sync of the user is running now, started by this host.
      type: bool
    next_sync:
      description: Seconds until the next sync is due; null before Dovecot 2.3.20.
      type: int
  sample:
    - username: alice@example.org
      priority: none
      last_fast_sync: '2026-11-23T11:51:29Z'
      last_full_sync: '2026-11-23T11:51:29Z'
      last_successful_sync: '2026-11-23T11:51:30Z'
      fast_sync_age: 61
      full_sync_age: 61
      successful_sync_age: 60
      failed: false
      running: false
      next_sync: null
dsyncs:
  description:
    - The replicator's connections to the local doveadm server, one for each sync that has ever run at the same time as
      others. There are none after a start.
  returned: when V(dsyncs) is gathered
  type: list
  elements: dict
  contains:
    username:
      description: Whose sync is running; null when none is.
      type: str
    type:
      description: V(full), V(normal) or V(incremental); null when no sync is running.
      type: str
    status:
      description: State of the slot in the words of Dovecot. An idle slot is C(Not connected).
      type: str
  sample:
    - username: alice@example.org
      type: incremental
      status: Waiting for dsync to finish
dovecot_version:
  description: Version of the installed Dovecot; null with O(transport=http).
  returned: success
  type: str
  sample: 2.3.19.1 (9b53102964)
socket_path:
  description: Path of the replicator's socket; with O(transport=http) null, when O(socket_path) was not given.
  returned: success
  type: str
  sample: /run/dovecot/replicator-doveadm
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

from typing import Any, Dict, Iterable, List, Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.durations import (
    iso_time,
    parse_duration,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import mask_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.options import USER_OPTIONS
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import UserStatus
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.summary import summarized


def work(session: Session) -> Dict[str, Any]:
    gather = session.params["gather"]
    names = session.named_users()
    if gather is None:
        by_user = names is not None or session.params["user_mask"] is not None
        gather = ["overview", "summary", "dsyncs"] + (["users"] if by_user else [])
    result: Dict[str, Any] = dict(changed=False, **session.where())
    if "overview" in gather:
        result["overview"] = session.client.overview()
    # The users before the slots: a sync that starts in between is then seen as running, never as not there.
    everyone, mask = "summary" in gather, session.params["user_mask"] or "*"
    statuses: Dict[str, UserStatus] = {}
    if everyone or "users" in gather:
        statuses = session.client.users("*" if everyone else mask)
    slots = session.client.dsyncs() if statuses or "dsyncs" in gather else []
    if everyone:
        result["summary"] = summarized(statuses.values(), slots, session.connections.on_hold())
    if "users" in gather:
        matching = statuses if mask == "*" or not everyone else filter(mask_matcher(mask), statuses)
        running = {slot.username for slot in slots}
        chosen = selected(session, names, [statuses[name] for name in matching])
        result["users"] = [described(status, status.username in running) for status in chosen]
    if "dsyncs" in gather:
        result["dsyncs"] = [dict(slot._asdict()) for slot in slots]
    return result


def selected(session: Session, names: Optional[List[str]], statuses: Iterable[UserStatus]) -> List[UserStatus]:
    """Return the entries that the options ask for beside the mask, sorted by name."""
    params = session.params
    only = None if names is None else set(names)
    older_than = None if params["older_than"] is None else parse_duration("older_than", params["older_than"])

    def wanted(status: UserStatus) -> bool:
        if only is not None and status.username not in only:
            return False
        if params["failed_only"] and not status.failed:
            return False
        since = status.successful_sync.age
        return older_than is None or since is None or since > older_than

    chosen = sorted(filter(wanted, statuses), key=lambda status: status.username)
    return chosen[: params["limit"]]


def described(status: UserStatus, running: bool) -> Dict[str, Any]:
    """Return an entry as the module returns it."""
    return dict(
        username=status.username,
        priority=status.priority,
        last_fast_sync=iso_time(status.fast_sync.time),
        last_full_sync=iso_time(status.full_sync.time),
        last_successful_sync=iso_time(status.successful_sync.time),
        fast_sync_age=status.fast_sync.age,
        full_sync_age=status.full_sync.age,
        successful_sync_age=status.successful_sync.age,
        failed=status.failed,
        running=running,
        next_sync=status.next_sync,
    )


def main() -> None:
    Session.run(
        work,
        dict(
            USER_OPTIONS,
            gather=dict(type="list", elements="str", choices=["overview", "summary", "users", "dsyncs"]),
            failed_only=dict(type="bool", default=False),
            older_than=dict(type="str"),
            limit=dict(type="int"),
        ),
        mutually_exclusive=[["users", "user_mask"]],
    )


if __name__ == "__main__":
    main()
