#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: mailbox_probe
short_description: Send a mail through replication and see it arrive
version_added: 1.0.0
description:
  - Puts a small mail into an INBOX on one host, waits for it on the other, and removes it again. Its arrival proves
    that replication works, from the announcement of a new mail to the mail itself.
  - The role C(replication) does so in its entry point C(verify), in both directions.
notes:
  - No sync is asked for; the mail is announced like any other that doveadm saves.
  - An INBOX that does not exist is not created by looking for the probe. Dovecot would give it a GUID of its own, and
    the syncs of that user could fail afterwards.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.action_group
  - mailops.dovecot_replication.replicator
attributes:
  check_mode:
    support: full
    details:
      - With O(state=arrived) there is one look, and nothing is waited for.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  user:
    description: The mailbox, which both hosts must have. It can be one of a person.
    type: str
    required: true
    aliases: [name]
  token:
    description: Distinguishes this probe from others. Letters, digits and C(-).
    type: str
    required: true
  state:
    description:
      - V(present) puts the mail into INBOX if it is not there.
      - V(arrived) waits until it is there, and returns the outcome as RV(found). A probe that is missing is no failure.
      - V(absent) removes it, and those of the last two days that are older than an hour, as a run that was killed has
        left them behind.
    type: str
    choices: [present, arrived, absent]
    default: present
  wait_timeout:
    description: How long to wait with O(state=arrived), in seconds.
    type: float
    default: 10
  transport:
    description:
      - How to reach the mail. V(doveadm) runs C(doveadm) on the host, and so do V(auto), V(socket) and
        V(timer) and V(service), which give no access to mail. V(http) fails, as it only reads fingerprints.
    type: str
    choices: [auto, socket, doveadm, http, timer, service]
    default: auto
seealso:
  - module: mailops.dovecot_replication.mailbox_info
  - module: mailops.dovecot_replication.replicator_wait
"""

EXAMPLES = r"""
- name: Put a probe into a mailbox
  mailops.dovecot_replication.mailbox_probe:
    user: probe@example.org
    token: "{{ probe_token }}"
  delegate_to: mx1.example.org

- name: Wait for it on the other host
  mailops.dovecot_replication.mailbox_probe:
    user: probe@example.org
    token: "{{ probe_token }}"
    state: arrived
    wait_timeout: 20
  delegate_to: mx2.example.org
  register: probe
  failed_when: not probe.found

- name: Remove it, which is replicated as well
  mailops.dovecot_replication.mailbox_probe:
    user: probe@example.org
    token: "{{ probe_token }}"
    state: absent
  delegate_to: mx1.example.org
"""

RETURN = r"""
found:
  description: Whether the probe was there before anything was done, or at the end of waiting.
  returned: success
  type: bool
  sample: true
elapsed:
  description: Seconds waited.
  returned: when O(state=arrived)
  type: float
  sample: 0.62
unknown_users:
  description: The user, where the userdb does not have it.
  returned: when the userdb does not have O(user)
  type: list
  elements: str
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

import os
import re
import time
from email.utils import formatdate
from typing import Any, Dict, List

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.audience import controller_gone
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mail import Mail, mail_of
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session

# Dovecot's index has this header anyway. Any other would be added to the index for ever.
HEADER = "Message-ID"
# Only younger mail is searched, so that older mail is not read. Clocks and time zones may differ.
YOUNG = "2days"
# The age from which nobody waits for a probe any more.
LEFT_BEHIND = "1hours"
MARK = "dovecot-replication-probe."
PAUSE = 0.2
MAIL = """From: Dovecot replication <postmaster@%(host)s>
To: %(user)s
Subject: Replication probe
Date: %(date)s
Message-ID: <%(mark)s%(token)s@%(host)s>
Auto-Submitted: auto-generated

This mail is sent to see whether %(host)s replicates its mail. It is removed
again at once; one that stays is removed by the next probe, or may be deleted.
"""


def work(session: Session) -> Dict[str, Any]:
    params = session.params
    if not re.match(r"[A-Za-z0-9-]+\Z", params["token"]):
        raise DovecotError("Reading token", "it has other characters than letters, digits and -")
    user = session.known_to_userdb([params["user"]])[0]
    query = ["header", HEADER, params["token"]]
    if params["state"] == "absent":
        query = ["(", *query, "or", "(", "savedbefore", LEFT_BEHIND, "header", HEADER, MARK, ")", ")"]
    query = ["savedsince", YOUNG, *query]
    mail = mail_of(session.connections)
    if params["state"] == "arrived":
        return arrived(session, mail, user, query)
    found = bool(mail.search(user, query))
    changed = found != (params["state"] == "present")
    if changed and not session.check_mode:
        if found:
            mail.expunge(user, query)
        else:
            mail.save(user, probe(user, params["token"]))
    return dict(changed=changed, found=found)


def arrived(session: Session, mail: Mail, user: str, query: List[str]) -> Dict[str, Any]:
    began = time.time()
    while True:
        found = bool(mail.search(user, query))
        elapsed = time.time() - began
        if found or session.check_mode or elapsed >= session.params["wait_timeout"] or controller_gone():
            return dict(changed=False, found=found, elapsed=round(elapsed, 3))
        time.sleep(PAUSE)


def probe(user: str, token: str) -> str:
    return MAIL % dict(host=os.uname()[1], user=user, date=formatdate(), mark=MARK, token=token)


def main() -> None:
    Session.run(
        work,
        dict(
            user=dict(type="str", required=True, aliases=["name"]),
            token=dict(type="str", required=True, no_log=False),
            state=dict(type="str", choices=["present", "arrived", "absent"], default="present"),
            wait_timeout=dict(type="float", default=10),
        ),
        of_mail=True,
    )


if __name__ == "__main__":
    main()
