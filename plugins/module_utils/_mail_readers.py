# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading mailboxes with doveadm or over its HTTP API. PRIVATE to this collection."""

import codecs
import os
import re
import select
import subprocess
import tempfile

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._http_client import ApiError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mailboxes import (
    MESSAGE_FIELDS,
    STATUS_FIELDS,
    Mailboxes,
    rows_in,
)

CHUNK = 1 << 16
COMPLAINT = re.compile(r"\b(Error|Fatal|Panic): ")
# What doveadm says when it is not run by root.
HARMLESS = "stats-writer"
CURE = "run `doveadm mailbox status -u USER all '*'` for that user and look at Dovecot's log"


class DoveadmMail:
    """Two processes of doveadm for any number of users: one lists the mailboxes, one the messages.

    :arg doveadm: the command with its global options, a list
    :arg silence: longest time without output, in seconds
    :arg printed: list to which lines are added that doveadm prints beside its answers
    """

    def __init__(self, doveadm, silence, printed):
        self._doveadm = doveadm
        self._silence = silence
        self._printed = printed

    def read(self, names):
        """Return the Mailboxes of the users, who must exist; raise DovecotError."""
        mailboxes = Mailboxes(names)
        with tempfile.NamedTemporaryFile() as users:
            users.write("".join(name + "\n" for name in names).encode("utf-8", "surrogateescape"))
            users.flush()
            status = ["mailbox", "status", "-F", users.name, " ".join(STATUS_FIELDS), "*"]
            self._run(status, lambda row: mailboxes.add_mailbox(row["username"], row))
            fetch = ["fetch", "-F", users.name, " ".join(MESSAGE_FIELDS), "all"]
            self._run(fetch, lambda row: mailboxes.add_message(row["username"], row))
        return mailboxes

    def _run(self, arguments, take):
        """Run doveadm and hand over each row of its answer. run_command would hold all of them in memory."""
        tried = "Running doveadm %s" % " ".join(arguments)
        malformed = None
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                self._doveadm + ["-f", "json"] + arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=dict(os.environ, LC_ALL="C"),
            )
            try:
                for row in rows_in(self._output(process, tried)):
                    take(row)
            except (ValueError, KeyError, TypeError) as error:
                malformed = "cannot make sense of its answer, %r" % error
            finally:
                process.stdout.close()
                status = process.wait()
            complaints.seek(0)
            lines = complaints.read().decode("utf-8", "replace").splitlines()
        self._printed += lines
        errors = [line for line in lines if COMPLAINT.search(line) and HARMLESS not in line]
        # Mail that cannot be read gives an error, an empty list, and exit code 0.
        if errors or malformed or status:
            raise DovecotError(tried, " ".join(errors) or malformed or "it ended with status %s" % status, cure=CURE)

    def _output(self, process, tried):
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        while True:
            ready = select.select([process.stdout], [], [], self._silence)[0]
            if not ready:
                process.kill()
                raise DovecotError(tried, "no output for %g seconds" % self._silence, cure="give a longer timeout")
            chunk = os.read(process.stdout.fileno(), CHUNK)
            if not chunk:
                return
            yield decoder.decode(chunk)


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
