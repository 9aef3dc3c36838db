# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading mailboxes with doveadm or over its HTTP API. PRIVATE to this collection."""

import re
import tempfile

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._http_client import ApiError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mailboxes import (
    MESSAGE_FIELDS,
    STATUS_FIELDS,
    Mailboxes,
    rows_in,
)

# Users for whom doveadm is run at once.
BATCH = 500
CHUNK = 1 << 16
COMPLAINT = re.compile(r"\b(Error|Fatal|Panic): ")
# What doveadm says when it is not run by root.
HARMLESS = "stats-writer"
# Runs a command with its output in a file: there can be more of it than fits into memory. The file comes first.
INTO_FILE = ["sh", "-c", 'file=$1; shift; exec "$@" > "$file"', "sh"]
# What timeout(1) ends with.
TIMED_OUT = 124
CURE = "run `doveadm mailbox status -u USER all '*'` for that user and look at Dovecot's log"


class DoveadmMail:
    """Two processes of doveadm for some hundred users: one lists the mailboxes, one the messages.

    :arg run_command: ``AnsibleModule.run_command`` or what behaves like it
    :arg doveadm: the command with its global options, a list; a command that limits its time may come before it
    :arg printed: list to which lines are added that doveadm prints beside its answers
    """

    def __init__(self, run_command, doveadm, printed):
        self._run_command = run_command
        self._doveadm = doveadm
        self._printed = printed

    def read(self, names):
        """Return the Mailboxes of the users, who must exist; raise DovecotError."""
        mailboxes = Mailboxes(names)
        for start in range(0, len(names), BATCH):
            with tempfile.NamedTemporaryFile() as users:
                lines = "".join(name + "\n" for name in names[start : start + BATCH])
                users.write(lines.encode("utf-8", "surrogateescape"))
                users.flush()
                status = ["mailbox", "status", "-F", users.name, " ".join(STATUS_FIELDS), "*"]
                self._take(status, mailboxes.add_mailbox)
                self._take(["fetch", "-F", users.name, " ".join(MESSAGE_FIELDS), "all"], mailboxes.add_message)
        return mailboxes

    def _take(self, arguments, take):
        """Run doveadm and hand over the rows of its answer."""
        tried = "Running doveadm %s" % " ".join(arguments)
        with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="surrogateescape") as answer:
            command = INTO_FILE + [answer.name] + self._doveadm + ["-f", "json"] + arguments
            rc, dummy, err = self._run_command(command)
            lines = err.splitlines()
            self._printed += lines
            if rc == TIMED_OUT:
                raise DovecotError(tried, "no answer in time", cure="give a longer timeout")
            errors = [line for line in lines if COMPLAINT.search(line) and HARMLESS not in line]
            # Mail that cannot be read gives an error, an empty list, and exit code 0.
            if errors or rc != 0:
                raise DovecotError(tried, " ".join(errors) or "it ended with status %s" % rc, cure=CURE)
            try:
                for row in rows_in(iter(lambda: answer.read(CHUNK), "")):
                    take(row["username"], row)
            except (ValueError, KeyError, TypeError) as error:
                raise DovecotError(tried, "cannot make sense of its answer, %r" % error, cure=CURE) from error


class HttpMail:
    """Two commands for each user over doveadm's HTTP API."""

    def __init__(self, api):
        self._api = api

    def read(self, names):
        """Return the Mailboxes of the users, who must exist; raise DovecotError."""
        # What keeps doveadm from reading a user's mail is in the log only, and the answer is an empty list.
        mailboxes = Mailboxes(names, none_is_unknown=True)
        for name in names:
            status, messages = self._api.call_all(
                [
                    ("mailboxStatus", {"user": name, "field": STATUS_FIELDS, "mailboxMask": ["*"]}),
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
            except (ValueError, KeyError, TypeError) as error:
                raise DovecotError(
                    "Asking %s" % self._api.url, "cannot make sense of its answer, %r" % error, cure=CURE
                ) from error
        return mailboxes
