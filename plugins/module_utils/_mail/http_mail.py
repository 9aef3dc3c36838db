# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail over doveadm's HTTP API. PRIVATE to this collection."""

from typing import List

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mail import CURE, NONSENSE, Mail
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mailboxes import (
    ALL_MAILBOXES,
    MESSAGE_FIELDS,
    STATUS_FIELDS,
    Mailboxes,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.http_client import (
    ApiError,
    HttpApi,
)


class HttpMail(Mail):
    """Two commands for each user."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api

    def read(self, names: List[str]) -> Mailboxes:
        # The reason why doveadm cannot read a user's mail is in the log only, and the answer is an empty list.
        mailboxes = Mailboxes(names, none_is_unknown=True)
        for name in names:
            status, messages = self._api.call_all(
                [
                    ("mailboxStatus", {"user": name, "field": STATUS_FIELDS, "mailboxMask": ALL_MAILBOXES}),
                    ("fetch", {"user": name, "field": MESSAGE_FIELDS, "query": ["ALL"]}),
                ]
            )
            for answer in (status, messages):
                if isinstance(answer, ApiError):
                    raise self._api.refusal("mailboxStatus and fetch for %s" % name, answer)
            try:
                for row in status:
                    mailboxes.add_mailbox(name, row)
                for row in messages:
                    mailboxes.add_message(name, row)
            except NONSENSE as error:
                raise DovecotError(
                    "Asking %s" % self._api.url, "cannot make sense of its answer, %r" % error, cure=CURE
                ) from error
        return mailboxes
