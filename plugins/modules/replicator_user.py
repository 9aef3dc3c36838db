#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replicator_user
short_description: Manage which users are on the list of Dovecot's replicator
version_added: 1.0.0
description:
  - Puts users on the list of Dovecot 2.3's replicator, or takes them off it, as C(doveadm replicator add) and
    C(doveadm replicator remove) do, and reports a change only where the list really changes.
  - The task reads the list once and carries out only the difference, over one connection. So 100,000 names take one
    task; give them as a list and do not loop over them.
  - An added user is also queued with low priority. Up to Dovecot 2.3.19 a user that was merely added waits as long as
    any other user's sync is failing.
notes:
  - The replicator builds its list itself. At each start it takes every user that C(doveadm user '*') lists, and any
    change to a mailbox puts its user on the list. So O(state=absent) does not last while the account exists. To keep a
    user out for good, set the userdb field C(noreplicate) on both hosts.
  - A user that exists here but not at the peer is dropped from the list by its first sync (measured on Dovecot 2.3.19
    and 2.3.21) or fails for ever (2.3.13). Create accounts on both hosts before adding them; O(wait=true) finds those
    that were forgotten.
  - The replicator distinguishes C(Alice@example.org) from C(alice@example.org), the userdb does not. With
    O(check_userdb=true) names are put on the list as the userdb spells them, and entries of the same account in another
    spelling are removed, so that a mailbox never has two entries. With O(state=absent) all spellings of an account go.
  - Users whose userdb field C(noreplicate) is set are not put on the list. The replicator would drop them at their next
    sync, and the task would report a change each time.
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
    support: full
options:
  users:
    description:
      - Names of users, exactly. Wildcards are refused here; they belong in O(user_mask).
    type: list
    elements: str
    aliases: [name, user]
  users_file:
    description:
      - A file on the controller with the names of users, one a line, in UTF-8, in place of O(users). C(#) begins a
        comment, at the start of a line or after a blank. A relative path is looked for as C(copy) does.
      - This is the fast way for a long list, which can be reviewed line by line.
    type: str
  user_mask:
    description:
      - Users whose names match this mask. C(*) stands for any characters and C(?) for one; upper and lower case differ.
      - With O(state=present) the names are taken from the userdb, with O(state=absent) from the replicator's list.
      - For the userdb, C(doveadm user '*') must list its users. SQL needs C(iterate_query) for that, LDAP
        C(iterate_attrs) and C(iterate_filter).
      - Together with O(users) or O(users_file) only as the limit of O(exclusive=true).
    type: str
  state:
    description: Whether the users are to be on the replicator's list.
    type: str
    choices: [present, absent]
    default: present
  exclusive:
    description:
      - Whether exactly O(users) stay on the list, among the names that match O(user_mask) or among all.
      - An empty list of users is refused, as it would take everyone off the list.
    type: bool
    default: false
  check_userdb:
    description:
      - Whether to fail, before anything is changed, when the userdb does not have one of O(users), or has
        C(noreplicate) set for one.
      - Dovecot itself accepts any name and drops it again without a word.
      - Only for O(state=present).
    type: bool
    default: true
  missing_ok:
    description:
      - Whether check mode accepts a host whose replicator is still to be set up, by an earlier task of the same play.
        Nobody is on its list then. Where not even Dovecot is there, RV(not_previewed) says so.
      - Without check mode a host without a replicator always fails.
    type: bool
    default: false
seealso:
  - module: mailops.dovecot_replication.replicator_replicate
  - module: mailops.dovecot_replication.replicator_info
"""

EXAMPLES = r"""
- name: Replicate two new mailboxes, and wait until they are on the peer
  mailops.dovecot_replication.replicator_user:
    users:
      - alice@example.org
      - bob@example.org
    wait: true

- name: Replicate everyone in a domain
  mailops.dovecot_replication.replicator_user:
    user_mask: "*@example.org"

- name: Show who would be put on the list, without doing it
  mailops.dovecot_replication.replicator_user:
    user_mask: "*"
  check_mode: true
  diff: true
  register: missing

- name: Of this domain, replicate these users and no others
  mailops.dovecot_replication.replicator_user:
    users: "{{ replicated_mailboxes }}"
    user_mask: "*@example.org"
    exclusive: true

- name: Have exactly the users of a file in the repository on the list
  mailops.dovecot_replication.replicator_user:
    users_file: replicated.txt
    exclusive: true

- name: Stop before more than fifty users would be taken off the list
  mailops.dovecot_replication.replicator_user:
    users: "{{ replicated_mailboxes }}"
    exclusive: true
  check_mode: true
  register: planned
  failed_when: planned is failed or planned.removed | length > 50

- name: Forget a deleted account
  mailops.dovecot_replication.replicator_user:
    name: carol@example.org
    state: absent
"""

RETURN = r"""
added:
  description: Names that were put on the list, or would be in check mode. Sorted.
  returned: success
  type: list
  elements: str
  sample: [alice@example.org]
removed:
  description: Names that were taken off the list, or would be in check mode. Sorted.
  returned: success
  type: list
  elements: str
  sample: []
unknown_users:
  description:
    - Names that the userdb does not have, on failure because of them; with O(user_mask) those that it lists but does
      not find. Sorted.
  returned: success, and failure because of them
  type: list
  elements: str
  sample: []
noreplicate_users:
  description:
    - Names that are left out, as the userdb field C(noreplicate) is set for them and the replicator would drop them. Of
      O(user_mask) on success, of O(users) on failure because of them. Sorted.
  returned: success, and failure because of them
  type: list
  elements: str
  sample: []
known_users:
  description: How many users are on the list after the task; in check mode, how many there would be.
  returned: success
  type: int
  sample: 230
not_previewed:
  description: Why the changes cannot be predicted.
  returned: in check mode with O(missing_ok=true), when it is so
  type: str
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
  description: Names of added users whose sync succeeded. Sorted.
  returned: when O(wait=true) and not in check mode
  type: list
  elements: str
failed_users:
  description: Names of added users whose sync failed. Sorted.
  returned: when O(wait=true) and not in check mode
  type: list
  elements: str
dropped_users:
  description: Names of added users that the replicator has taken off its list again. Sorted.
  returned: when O(wait=true) and not in check mode
  type: list
  elements: str
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
  description: Names of added users whose sync had not ended when O(wait_timeout) was over. Sorted.
  returned: when O(wait=true) and not in check mode
  type: list
  elements: str
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
"""

from typing import AbstractSet, Any, Callable, Collection, Dict, Iterable, List, Optional, Set, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    TaskFailed,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import enumerated, mask_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.membership import (
    MembershipPlan,
    membership_diff,
    plan_absent,
    plan_present,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.options import (
    LISTED_USER_OPTIONS,
    WAIT_OPTIONS,
    WHICH_USERS,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session

ADDED_PRIORITY = "low"


def work(session: Session) -> Dict[str, Any]:
    params = session.params
    check_combination(session)
    missing_ok = session.check_mode and params["missing_ok"]
    try:
        no_socket = missing_ok and not session.connections.has_socket()
        listed: Collection[str] = [] if no_socket else session.client.names()
        plan, kept_out = make_plan(session, listed)
    except DovecotError as error:
        if not missing_ok:
            raise
        result: Dict[str, Any] = dict(changed=False, known_users=0, not_previewed=str(error))
        result.update((key, []) for key in ("added", "removed", "unknown_users", "noreplicate_users"))
        return result
    result = dict(
        changed=bool(plan.add or plan.remove),
        added=plan.add,
        removed=plan.remove,
        known_users=len(listed) + len(plan.add) - len(plan.remove),
        diff=membership_diff(plan),
        **kept_out,
    )
    if params["state"] == "absent" or params["exclusive"]:
        warn_of_return(session, plan.remove)
    if not session.check_mode:
        session.client.remove(plan.remove)
        session.client.replicate(plan.add, ADDED_PRIORITY)
        if params["wait"]:
            session.wait.run(plan.add, params["wait_timeout"], result)
        result["known_users"] = session.client.overview()["known_users"]
    return result


def check_combination(session: Session) -> None:
    """Raise TaskFailed for options that exclude each other."""
    params = session.params
    if params["exclusive"]:
        if params["state"] != "present":
            raise TaskFailed("exclusive goes with state=present: it says which users stay.")
        if not params["users"]:
            raise TaskFailed(
                "exclusive needs a list of users that is not empty; an empty one would take everyone off the list."
            )
    elif params["users"] is not None and params["user_mask"] is not None:
        raise TaskFailed("users and user_mask exclude each other, except that user_mask limits exclusive=true.")


def make_plan(session: Session, listed: Collection[str]) -> Tuple[MembershipPlan, Dict[str, List[str]]]:
    """Return the MembershipPlan, and a dict of the names that the userdb keeps out of it."""
    params = session.params
    names = session.named_users()
    mask = params["user_mask"]
    out: Dict[str, List[str]] = dict(unknown_users=[], noreplicate_users=[])
    if params["state"] == "absent":
        return plan_absent(listed, unwanted_entries(session, listed, names)), out
    if names is None:
        wanted, out = replicated_users(session, session.userdb.names(mask), listed)
        return plan_present(listed, wanted, duplicate_spellings=session.duplicate_spellings(listed, wanted)), out
    if params["check_userdb"]:
        names = session.known_to_userdb(names)
        session.refuse_noreplicate(set(names).difference(listed))
    duplicate_spellings = session.duplicate_spellings(listed, names) if params["check_userdb"] else set()
    return plan_present(listed, names, exclusive_scope(session, names), duplicate_spellings), out


def unwanted_entries(session: Session, listed: Collection[str], names: Optional[List[str]]) -> Iterable[str]:
    if names is None:
        return filter(mask_matcher(session.params["user_mask"]), listed)
    try:
        return session.duplicate_spellings(listed, names).union(names)
    except DovecotError:
        return names  # without the userdb nobody knows whether another spelling is the same account


def replicated_users(
    session: Session, names: Set[str], listed: Collection[str]
) -> Tuple[AbstractSet[str], Dict[str, List[str]]]:
    """Return the names of the userdb that can be on the list, and a dict of those that cannot, by the reason."""
    if not names:
        session.warn("No user of the userdb matches %s." % session.params["user_mask"])
    added = names.difference(listed)
    accounts = session.userdb.accounts(added)
    unknown = added.difference(accounts)
    if unknown:
        session.warn(
            "The userdb lists %s but does not find them when asked; auth_username_chars may refuse the name, or "
            "auth_username_format, which by default makes small letters, may change it. The "
            "replicator would drop them, so they are left out." % enumerated(sorted(unknown))
        )
    kept_out = {name for name, account in accounts.items() if account.noreplicate}
    out = dict(unknown_users=sorted(unknown), noreplicate_users=sorted(kept_out))
    return names - unknown - kept_out, out


def exclusive_scope(session: Session, names: List[str]) -> Optional[Callable[[str], bool]]:
    """Return the function that tells which names exclusive=true covers, None without it."""
    if not session.params["exclusive"]:
        return None
    mask = session.params["user_mask"]
    if mask is None:
        return lambda name: True
    scope = mask_matcher(mask)
    outside = [name for name in names if not scope(name)]
    if outside:
        raise TaskFailed("Outside of user_mask %s, to which exclusive is limited: %s." % (mask, enumerated(outside)))
    return scope


def warn_of_return(session: Session, removed: List[str]) -> None:
    """Warn of the removals that will not last: those of users that still exist."""
    if not removed:
        return
    try:
        existing = sorted(session.userdb.find(removed))
    except DovecotError:
        existing = removed
    if existing:
        session.warn(
            "Taking %s off the list does not last: the account exists, so its next mail or Dovecot's next reload puts "
            "it back. To keep a user out, set the userdb field noreplicate on both hosts." % enumerated(existing)
        )


def ask_again(session: Session, names: List[str]) -> None:
    session.client.replicate(names, ADDED_PRIORITY)


def main() -> None:
    Session.run(
        work,
        dict(
            LISTED_USER_OPTIONS,
            state=dict(type="str", choices=["present", "absent"], default="present"),
            exclusive=dict(type="bool", default=False),
            check_userdb=dict(type="bool", default=True),
            missing_ok=dict(type="bool", default=False),
            **WAIT_OPTIONS,
        ),
        ask_again=ask_again,
        required_one_of=[WHICH_USERS],
        mutually_exclusive=[["users", "users_file"]],
    )


if __name__ == "__main__":
    main()
