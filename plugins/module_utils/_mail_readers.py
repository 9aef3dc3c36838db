# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading mailboxes with doveadm or over its HTTP API. PRIVATE to this collection."""

import os
import re
import tempfile

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveconf import parse_version
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._http_client import ApiError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mailboxes import (
    MESSAGE_FIELDS,
    STATUS_FIELDS,
    Mailboxes,
    rows_in,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._names import enumerated

# Users for whom doveadm is run at once.
BATCH = 500
CHUNK = 1 << 16
COMPLAINT = re.compile(r"\b(Error|Fatal|Panic): ")
# What doveadm says when it is not run by root.
HARMLESS = "stats-writer"
# Runs a command with its output in a file: there can be more of it than fits into memory. The file comes first.
INTO_FILE = ["sh", "-c", 'file=$1; shift; exec "$@" > "$file"', "sh"]
# Before this version even listing the mailboxes makes an INBOX where there is none; commit 27b25d6942 of Dovecot.
LEAVES_INBOX_ALONE = (2, 3, 15)
# What timeout(1) ends with.
TIMED_OUT = 124
# What comes of rows that are none.
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
CURE = "run `doveadm mailbox status -u USER all '*'` for that user and look at Dovecot's log"


def mail_of(session):
    """Return what reads mailboxes for a Session: a DoveadmMail or an HttpMail."""
    if session.transport == "http":
        return HttpMail(session.api)
    version = parse_version(session.doveconf.version() or "") or ()
    return DoveadmMail(session.module.run_command, session.doveadm(), session.printed, version)


class DoveadmMail:
    """Two processes of doveadm for some hundred users: one lists the mailboxes, one the messages.

    :arg run_command: ``AnsibleModule.run_command`` or what behaves like it
    :arg doveadm: the command with its global options, a list; a command that limits its time may come before it
    :arg printed: list to which lines are added that doveadm prints beside its answers
    :arg version: of Dovecot, a tuple of ints
    """

    def __init__(self, run_command, doveadm, printed, version):
        self._run_command = run_command
        self._doveadm = doveadm
        self._printed = printed
        self._makes_inbox = version < LEAVES_INBOX_ALONE

    def read(self, names):
        """Return the Mailboxes of the users, who must exist; raise DovecotError."""
        mailboxes = Mailboxes(names)
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            if self._makes_inbox:
                batch = self._with_inbox(batch)
            if batch:
                self._take(batch, ["mailbox", "status"], [" ".join(STATUS_FIELDS), "*"], mailboxes.add_mailbox)
                self._take(batch, ["fetch"], [" ".join(MESSAGE_FIELDS), "all"], mailboxes.add_message)
        return mailboxes

    def search(self, name, query):
        """Return the UIDs of a user's messages in INBOX for which a query holds; without an INBOX there are none."""
        found = []
        if self._with_inbox([name]):
            self._take([name], ["search"], ["mailbox", "INBOX"] + query, lambda dummy, row: found.append(row["uid"]))
        return found

    def save(self, name, mail):
        """Put a mail into a user's INBOX as a delivery would: the replicator is told of it."""
        self._take_rows(["save", "-u", name], None, data=mail)

    def expunge(self, name, query):
        """Remove those of a user's messages in INBOX for which a query holds."""
        if self._with_inbox([name]):
            self._take_rows(["expunge", "-u", name, "mailbox", "INBOX"] + query, None)

    def mailboxes(self, names):
        """Return what each of the users has, a dict of dicts: mailbox to a dict of ``guid`` and ``messages``."""
        found = dict((name, {}) for name in names)

        def add(name, row):
            found[name][row["mailbox"]] = {"guid": row["guid"], "messages": int(row["messages"])}

        if self._makes_inbox:
            names = self._with_inbox(names)
        if names:
            self._take(names, ["mailbox", "status"], ["messages guid", "*"], add)
        return found

    def _with_inbox(self, names):
        """Return those who have an INBOX; doveadm would make one for the others."""
        having = []
        self._take(names, ["mailbox", "path"], ["INBOX"], lambda name, row: having.append((name, row["path"])))
        return [name for name, path in having if is_mailbox(path)]

    def _take(self, names, command, arguments, take):
        """Run doveadm for some users and hand over the rows of its answer, each with the name of the user."""
        with tempfile.NamedTemporaryFile() as users:
            users.write("".join(name + "\n" for name in names).encode("utf-8", "surrogateescape"))
            users.flush()
            self._take_rows(command + ["-F", users.name] + arguments, take)

    def _take_rows(self, arguments, take, data=None):
        tried = "Running doveadm %s" % " ".join(arguments)
        with tempfile.NamedTemporaryFile() as answer:
            command = INTO_FILE + [answer.name] + self._doveadm + ["-f", "json"] + arguments
            rc, dummy, err = self._run_command(command, data=data)
            lines = err.splitlines()
            self._printed += lines
            if rc == TIMED_OUT:
                raise DovecotError(tried, "no answer in time", cure="give a longer timeout")
            errors = [line for line in lines if COMPLAINT.search(line) and HARMLESS not in line]
            # Mail that cannot be read gives an error, an empty list, and exit code 0.
            if errors or rc != 0:
                raise DovecotError(tried, enumerated(errors) or "it ended with status %s" % rc, cure=CURE)
            if take is None:
                return
            try:
                with open(answer.name, encoding="utf-8", errors="surrogateescape") as text:
                    for row in rows_in(iter(lambda: text.read(CHUNK), "")):
                        take(row["username"], row)
            except NONSENSE as error:
                raise DovecotError(tried, "cannot make sense of its answer, %r" % error, cure=CURE) from error


def is_mailbox(path):
    """Tell whether there is a mailbox at a path that doveadm names: a Maildir, a dbox, or a file."""
    if os.path.basename(path) == "dbox-Mails":
        return os.path.isdir(path)
    return os.path.isdir(os.path.join(path, "cur")) or os.path.isfile(path)


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
            except NONSENSE as error:
                raise DovecotError(
                    "Asking %s" % self._api.url, "cannot make sense of its answer, %r" % error, cure=CURE
                ) from error
        return mailboxes
