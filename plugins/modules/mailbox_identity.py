#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: mailbox_identity
short_description: Give mailboxes the GUID that they have on the other host
version_added: 1.0.0
description:
  - Two hosts that made a mailbox of the same name independently gave it two GUIDs. Until Dovecot 2.3.19 such a mailbox
    in a Maildir is never synced. Once its GUID is the same on both hosts, the next sync brings the mail of both
    together.
  - The playbook C(adopt) finds such mailboxes, decides which host changes which of them, and syncs the users.
notes:
  - No message is changed. Dovecot gives the mailbox its new GUID in place, and IMAP clients of this host read the
    mailbox anew.
  - Request a full sync of the users afterwards, with O(mailops.dovecot_replication.replicator_replicate#module:full).
  - Until Dovecot 2.3.19 a sync exchanges the GUIDs of such a mailbox and fails. So the module changes a mailbox only
    while its GUID is RV(adopted[].was), the one that was seen when the change was decided.
  - One connection to C(doveadm-server) carries all commands. It needs root.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.action_group
  - mailops.dovecot_replication.replicator
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  mailboxes:
    description:
      - What to change, a list of dicts. C(username) and C(name) say which mailbox, C(guid) is the GUID that it gets.
      - C(was) is the GUID that it has now. A mailbox with another one is skipped.
      - C(uidvalidity) is the UIDVALIDITY that it gets, which is left as it is without this key. The sync lets the
        higher one of both hosts win.
    type: list
    elements: dict
    required: true
  transport:
    description:
      - V(doveadm) is the only way to change a mailbox. V(socket), V(timer) and V(service) do the same, and V(http) is
        refused.
      - The one used is returned as RV(transport).
    type: str
    choices: [auto, socket, doveadm, http, timer, service]
    default: auto
  timeout:
    description: Longest time that doveadm may take for 500 users, or for one change, in seconds.
    type: float
    default: 300
seealso:
  - module: mailops.dovecot_replication.mailbox_info
  - module: mailops.dovecot_replication.replicator_replicate
"""

EXAMPLES = r"""
- name: Give an INBOX the GUID that it has on the other host
  mailops.dovecot_replication.mailbox_identity:
    mailboxes:
      - username: alice@example.org
        name: INBOX
        was: 3b13010170be066b6e0d00007f9e1e7e
        guid: 71b4df1c6dbe066b710d000076ce35a6

- name: Let the UIDVALIDITY of the other host win at the next sync
  mailops.dovecot_replication.mailbox_identity:
    mailboxes:
      - username: alice@example.org
        name: Archive
        was: 1f3555266fbe066b670d00007f9e1e7e
        guid: 2a4f300a6dbe066b6a0d000076ce35a6
        uidvalidity: 1795604076

- name: Sync the user afterwards
  mailops.dovecot_replication.replicator_replicate:
    users: [alice@example.org]
    full: true
    wait: true
"""

RETURN = r"""
adopted:
  description: Mailboxes that were changed, or would be in check mode.
  returned: success, and failure of some
  type: list
  elements: dict
  contains:
    username:
      description: Name of the user.
      type: str
    name:
      description: Name of the mailbox.
      type: str
    was:
      description: The GUID that it had.
      type: str
    guid:
      description: The GUID that it has now.
      type: str
skipped_mailboxes:
  description: Mailboxes that were left as they are.
  returned: success, and failure of some
  type: list
  elements: dict
  contains:
    username:
      description: Name of the user.
      type: str
    name:
      description: Name of the mailbox.
      type: str
    reason:
      description: The reason, C(adopted already), C(changed since) or C(gone).
      type: str
failed_mailboxes:
  description: Mailboxes that Dovecot did not change.
  returned: success, and failure of some
  type: list
  elements: dict
  contains:
    username:
      description: Name of the user.
      type: str
    name:
      description: Name of the mailbox.
      type: str
    reason:
      description: What was tried, what Dovecot answered, and the next step.
      type: str
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
"""

from typing import Any, Dict, List, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    TaskFailed,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import enumerated
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.doveadm_server import DoveadmServer
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.identity import (
    Change,
    assorted,
    changes_in,
    identity_diff,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mail import mail_of
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session

UNCHANGED = "Dovecot answered that it has set the GUID of %s, and it is another one: %s. Run the task again."


def work(session: Session) -> Dict[str, Any]:
    changes = changes_in(session.params["mailboxes"])
    mail = mail_of(session.connections)
    known = session.userdb.find({change.username for change in changes})
    wanted, skipped = assorted(changes, mail.mailboxes(sorted(known)).mailboxes)
    failed: List[Tuple[Change, str]] = []
    if not session.check_mode:
        failed = applied(session, wanted)
        tried = sorted({change.username for change in wanted})
        now = mail.mailboxes(tried).mailboxes
        for change in set(wanted).difference(change for change, dummy in failed):
            guid = now[change.username].get(change.name, {}).get("guid")
            if guid != change.guid:
                failed.append((change, UNCHANGED % (change.place(), guid)))
        failed.sort()
    refused = {change for change, dummy in failed}
    adopted = [change for change in wanted if change not in refused]
    result: Dict[str, Any] = dict(
        changed=bool(adopted),
        adopted=[change.described() for change in adopted],
        skipped_mailboxes=[dict(username=change.username, name=change.name, reason=why) for change, why in skipped],
        failed_mailboxes=[dict(username=change.username, name=change.name, reason=why) for change, why in failed],
        diff=identity_diff(adopted),
    )
    if failed:
        places = enumerated([change.place() for change in sorted(refused)])
        text = "%d of %d mailboxes were not changed: %s. %s" % (len(refused), len(wanted), places, failed[0][1])
        raise TaskFailed(text, transport=session.transport, **result)
    return result


def applied(session: Session, wanted: List[Change]) -> List[Tuple[Change, str]]:
    """Change the mailboxes; return those that Dovecot has not changed, with its answer."""
    failed: List[Tuple[Change, str]] = []
    server = DoveadmServer(session.base_dir, session.params["timeout"])
    try:
        for change in wanted:
            try:
                server.run(change.username, "mailbox update", *change.arguments())
            except DovecotError as error:
                failed.append((change, str(error)))
    finally:
        server.close()
    return failed


def main() -> None:
    Session.run(
        work,
        dict(
            mailboxes=dict(type="list", elements="dict", required=True),
            timeout=dict(type="float", default=300),
        ),
        of_mail=True,
    )


if __name__ == "__main__":
    main()
