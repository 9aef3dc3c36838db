#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: mailbox_info
short_description: Fingerprints of mailboxes, to compare the hosts of a pair
version_added: 1.0.0
description:
  - Returns a fingerprint of all mail of a user. Two hosts that are in sync give the same one. A single message that is
    lost, extra, flagged otherwise or in another mailbox on one of them gives different ones.
  - The replicator's last success proves that a sync has ended well. Equal fingerprints prove that the mail is there.
notes:
  - A fingerprint covers the name, GUID and UIDVALIDITY of each mailbox, and UID, GUID, flags and keywords of each
    message. So it does not depend on the format in which a host keeps its mail.
  - Nothing is changed by reading, and the replicator is not told of it. An INBOX that does not exist yet is not
    created. Dovecot may write down in its index what it has computed, such as the size of a mailbox.
  - Before Dovecot 2.3.15, which creates an INBOX at the first look, users without one are left unread, and count as
    having no mail even when they have other mailboxes.
  - Over O(transport=http) a user without any mailbox looks like one whose mail cannot be read, as Dovecot reports that
    in its log only. RV(users[].fingerprint), RV(users[].messages), RV(users[].doubled) and RV(users[].bytes) are null
    then.
  - With O(transport=doveadm) they are null for users whose mail cannot be read, too, and RV(users[].problem) says why.
    The others are returned all the same.
  - Mail that arrives while the two hosts are being read makes a difference. To compare busy users, wait with
    M(mailops.dovecot_replication.replicator_wait) and compare those again that differ.
  - Two processes of doveadm read 500 users, one their mailboxes and one their messages.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.action_group
  - mailops.dovecot_replication.attributes.info_module
  - mailops.dovecot_replication.replicator
options:
  users:
    description:
      - Names of users, exactly. Wildcards are refused here; they belong in O(user_mask).
      - A name that the userdb does not have fails the task.
    type: list
    elements: str
    aliases: [name, user]
  user_mask:
    description:
      - Users of the userdb whose names match this mask. C(*) stands for any characters and C(?) for one; upper and
        lower case differ.
    type: str
  mailboxes:
    description: Whether to return each mailbox of the users as well.
    type: bool
    default: false
  fingerprints:
    description:
      - Whether to read all messages. V(false) only reads which mailboxes there are, with O(mailboxes) implied, and is
        much faster.
      - V(false) needs doveadm on the host, so it is refused with O(transport=http).
    type: bool
    default: true
  transport:
    description:
      - How to read the mail.
      - V(doveadm) runs C(doveadm) on the host. V(socket), V(timer) and V(service) do the same here, as they give no
        access to mail.
      - V(http) is doveadm's HTTP API, two commands for each user.
      - V(auto) is V(http) when O(api_url) is given, otherwise V(doveadm).
      - The one used is returned as RV(transport).
    type: str
    choices: [auto, socket, doveadm, http, timer, service]
    default: auto
  timeout:
    description:
      - Longest time that doveadm may take for 500 users, or the API for one, in seconds. Large mailboxes that Dovecot
        has no index of take a while.
    type: float
    default: 300
seealso:
  - module: mailops.dovecot_replication.replicator_wait
  - module: mailops.dovecot_replication.replicator_replicate
"""

EXAMPLES = r"""
- name: Read the fingerprints of two mailboxes
  mailops.dovecot_replication.mailbox_info:
    users:
      - alice@example.org
      - bob@example.org
  register: mail

- name: Read those of a whole domain, each mailbox by itself
  mailops.dovecot_replication.mailbox_info:
    user_mask: "*@example.org"
    mailboxes: true
  register: mail_of_the_domain

- name: Compare the two hosts of a pair, and name who differs
  hosts: dovecot_replication
  become: true
  gather_facts: false
  tasks:
    - name: Wait until the queue is synced
      mailops.dovecot_replication.replicator_wait:
        until: synced

    - name: Read the fingerprints on both hosts
      mailops.dovecot_replication.mailbox_info:
        user_mask: "*"
      register: mail

    - name: Fail with the names of those that are not the same
      ansible.builtin.assert:
        that: differing | length == 0
        fail_msg: "Not the same on both hosts: {{ differing | map(attribute='username') | unique | sort | join(', ') }}"
        quiet: true
      vars:
        lists: "{{ ansible_play_hosts | map('extract', hostvars, ['mail', 'users']) }}"
        differing: "{{ lists[0] | symmetric_difference(lists[1]) }}"
      run_once: true
"""

RETURN = r"""
users:
  description: The users, sorted by name.
  returned: success
  type: list
  elements: dict
  contains:
    username:
      description: Name of the user, as the userdb spells it.
      type: str
    fingerprint:
      description: Of all mailboxes and messages, 32 digits and letters.
      returned: with O(fingerprints)
      type: str
    noreplicate:
      description: Whether the userdb field of that name keeps the user from being replicated.
      returned: without O(fingerprints)
      type: bool
    problem:
      description: Why the mail of the user cannot be read, in Dovecot's words; null when it can.
      type: str
    messages:
      description: How many messages there are in all mailboxes, null with a RV(users[].problem).
      type: int
    doubled:
      description:
        - How many of these are in one mailbox twice, with one GUID. Dovecot's dsync doubles a message now and then when
          mail comes in during a sync. A client that copies a message within its mailbox does, too, in all formats.
        - C(doveadm deduplicate -u USER ALL) keeps one of each in a mailbox. Sync the user afterwards, as this does not
          start a sync.
      returned: with O(fingerprints)
      type: int
    bytes:
      description: Their size as IMAP counts it, whatever they take on disk.
      returned: with O(fingerprints)
      type: int
    mailboxes:
      description: The mailboxes, sorted by name.
      returned: when O(mailboxes=true) or O(fingerprints=false)
      type: list
      elements: dict
      contains:
        name:
          description: Name of the mailbox.
          type: str
        guid:
          description: GUID of the mailbox, the same on both hosts.
          type: str
        uidvalidity:
          description: UIDVALIDITY of the mailbox.
          type: int
        uidnext:
          description: The UID that the next message will have. Not part of the fingerprint.
          type: int
        messages:
          description: How many messages are in it.
          type: int
        doubled:
          description: How many of these are in it twice.
          returned: with O(fingerprints)
          type: int
        bytes:
          description: Their size as IMAP counts it.
          returned: with O(fingerprints)
          type: int
        fingerprint:
          description: Of this mailbox and its messages.
          returned: with O(fingerprints)
          type: str
  sample:
    - username: alice@example.org
      fingerprint: 3f6c1f0c0f9d2bb0e8a7d9c54b0b5a11
      messages: 13
      doubled: 0
      bytes: 678
      problem: null
transport:
  description: The transport in use.
  returned: success
  type: str
  sample: doveadm
debug_log:
  description: Lines that doveadm printed besides its answers.
  returned: when O(debug=true)
  type: list
  elements: str
unknown_users:
  description: Names that the userdb does not have. Sorted.
  returned: failure because of them
  type: list
  elements: str
  sample: [nobody@example.org]
"""

from typing import Any, Dict, List

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mail import Listing, mail_of
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.options import USER_OPTIONS
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session


def work(session: Session) -> Dict[str, Any]:
    names = session.named_users()
    if names is not None:
        names = session.known_to_userdb(names)
    else:
        names = sorted(session.userdb.names(session.params["user_mask"]))
        if not names:
            session.warn("No user of the userdb matches %s." % session.params["user_mask"])
    mail = mail_of(session.connections)
    if not names:
        users: List[Dict[str, Any]] = []
    elif session.params["fingerprints"]:
        users = mail.read(names).described(session.params["mailboxes"])
    else:
        users = identities(session, mail.mailboxes(names))
    return dict(changed=False, users=users)


def identities(session: Session, listing: Listing) -> List[Dict[str, Any]]:
    """Return the users with their mailboxes as ``Mail.mailboxes`` has found them."""
    found = listing.mailboxes
    accounts = session.userdb.accounts(found)
    return [
        dict(
            username=name,
            noreplicate=name in accounts and accounts[name].noreplicate,
            problem=listing.problems.get(name),
            messages=None if name in listing.problems else sum(found[name][box]["messages"] for box in found[name]),
            mailboxes=[dict(found[name][mailbox], name=mailbox) for mailbox in sorted(found[name])],
        )
        for name in sorted(found)
    ]


def main() -> None:
    Session.run(
        work,
        dict(
            USER_OPTIONS,
            mailboxes=dict(type="bool", default=False),
            fingerprints=dict(type="bool", default=True),
            timeout=dict(type="float", default=300),
        ),
        of_mail=True,
        required_one_of=[["users", "user_mask"]],
        mutually_exclusive=[["users", "user_mask"]],
    )


if __name__ == "__main__":
    main()
