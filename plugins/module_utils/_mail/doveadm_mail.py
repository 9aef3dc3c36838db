# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail with doveadm on the host. PRIVATE to this collection."""

import os
import re
import tempfile
from typing import Any, Callable, Dict, List, Optional, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.commands import (
    HARMLESS,
    TIMED_OUT,
    RunCommand,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import enumerated
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mail import (
    CURE,
    NONSENSE,
    Listing,
    Mail,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mailboxes import (
    ALL_MAILBOXES,
    IDENTITY_FIELDS,
    MESSAGE_FIELDS,
    STATUS_FIELDS,
    Mailboxes,
    rows_in,
)

# Users for each run of doveadm.
BATCH = 500
CHUNK = 1 << 16
# How doveadm names the user of an error, with a session after it or without.
ABOUT_USER = re.compile(r"doveadm\((.*?)\)(?:<[^>]*>)*: ")
# So often users are read again without those who cannot be read. A crash ends the run at its user.
MOST_RUNS = 20
# Up to so many users are read one by one where an error does not say whose it is.
ONE_BY_ONE = 20
COMPLAINT = re.compile(r"\b(Error|Fatal|Panic): ")
# Runs a command with its output in a file: there can be more of it than fits into memory. The file comes first.
INTO_FILE = ["sh", "-c", 'file=$1; shift; exec "$@" > "$file"', "sh"]
# Before this version even listing the mailboxes makes an INBOX where there is none; commit 27b25d6942 of Dovecot.
LEAVES_INBOX_ALONE = (2, 3, 15)


class Unreadable(DovecotError):
    """Errors of doveadm.

    :arg lines: of its output
    """

    def __init__(self, tried: str, answer: str, lines: List[str]) -> None:
        super().__init__(tried, answer, cure=CURE)
        self.lines = lines


class DoveadmMail(Mail):
    """Two processes of doveadm for some hundred users: one lists the mailboxes, one the messages.

    :arg run_command: ``AnsibleModule.run_command`` or what behaves like it
    :arg doveadm: the command with its global options, a list; a command that limits its time may come before it
    :arg printed: list that receives the lines which doveadm prints besides its answers
    :arg version: of Dovecot, an empty tuple when it is not known
    """

    def __init__(
        self, run_command: RunCommand, doveadm: List[str], printed: List[str], version: Tuple[int, ...]
    ) -> None:
        self._run_command = run_command
        self._doveadm = doveadm
        self._printed = printed
        self._makes_inbox = version < LEAVES_INBOX_ALONE

    def read(self, names: List[str]) -> Mailboxes:
        mailboxes = Mailboxes(names)

        def read(batch: List[str]) -> None:
            self._take(batch, ["mailbox", "status"], [" ".join(STATUS_FIELDS), *ALL_MAILBOXES], mailboxes.add_mailbox)
            self._take(batch, ["fetch"], [" ".join(MESSAGE_FIELDS), "all"], mailboxes.add_message)

        problems = self._read_all(names, read, mailboxes.clear)
        for name in problems:
            mailboxes.add_problem(name, problems[name])
        return mailboxes

    def search(self, name: str, query: List[str]) -> List[str]:
        found: List[str] = []
        if self._with_inbox([name]):
            self._take([name], ["search"], ["mailbox", "INBOX"] + query, lambda dummy, row: found.append(row["uid"]))
        return found

    def save(self, name: str, mail: str) -> None:
        self._take_rows(["save", "-u", name], None, data=mail)

    def expunge(self, name: str, query: List[str]) -> None:
        if self._with_inbox([name]):
            self._take_rows(["expunge", "-u", name, "mailbox", "INBOX"] + query, None)

    def mailboxes(self, names: List[str]) -> Listing:
        found: Dict[str, Dict[str, Dict[str, Any]]] = {name: {} for name in names}

        def add(name: str, row: Dict[str, Any]) -> None:
            numbers = {field: int(row[field]) for field in IDENTITY_FIELDS if field != "guid"}
            found[name][row["mailbox"]] = dict(numbers, guid=row["guid"])

        def read(batch: List[str]) -> None:
            self._take(batch, ["mailbox", "status"], [" ".join(IDENTITY_FIELDS), *ALL_MAILBOXES], add)

        problems = self._read_all(names, read, lambda name: found[name].clear())
        return Listing(found, problems)

    def _read_all(
        self, names: List[str], read: Callable[[List[str]], None], clear: Callable[[str], object]
    ) -> Dict[str, str]:
        """Read users, some hundred at a time, without those whose INBOX would be made by looking at it.

        Return why users cannot be read, a dict of theirs; nothing is kept of them.

        :arg clear: forgets what was read of a user
        """
        problems: Dict[str, str] = {}

        def read_all(batch: List[str]) -> None:
            having = self._with_inbox(batch) if self._makes_inbox else batch
            if having:
                read(having)

        for start in range(0, len(names), BATCH):
            problems.update(self._without_unreadable(names[start : start + BATCH], read_all, clear))
        return problems

    def _without_unreadable(
        self, names: List[str], read: Callable[[List[str]], None], clear: Callable[[str], object]
    ) -> Dict[str, str]:
        problems: Dict[str, str] = {}
        for run in range(MOST_RUNS):
            rest = [name for name in names if name not in problems]
            if not rest:
                break
            try:
                read(rest)
                break
            except Unreadable as error:
                for name in rest:
                    clear(name)
                found = by_user(error.lines, rest)
                if len(rest) == 1:
                    found = found or {rest[0]: str(error.answer)}
                elif not found and len(rest) <= ONE_BY_ONE:
                    for name in rest:
                        found.update(self._without_unreadable([name], read, clear))
                    return dict(problems, **found)
                if not found or run == MOST_RUNS - 1:
                    raise
                problems.update(found)
        return problems

    def _with_inbox(self, names: List[str]) -> List[str]:
        """Return the users who have an INBOX; doveadm would make one for the others."""
        having: List[Tuple[str, str]] = []
        # Without -t it is the path of the index, which may be elsewhere.
        command = ["mailbox", "path", "-t", "mailbox"]
        self._take(names, command, ["INBOX"], lambda name, row: having.append((name, row["path"])))
        return [name for name, path in having if is_mailbox(path)]

    def _take(
        self, names: List[str], command: List[str], arguments: List[str], take: Callable[[str, Any], object]
    ) -> None:
        """Run doveadm for some users and call ``take`` with the user and each row of its answer."""
        with tempfile.NamedTemporaryFile() as users:
            users.write("".join(name + "\n" for name in names).encode("utf-8", "surrogateescape"))
            users.flush()
            self._take_rows(command + ["-F", users.name] + arguments, take)

    def _take_rows(
        self, arguments: List[str], take: Optional[Callable[[str, Any], object]], data: Optional[str] = None
    ) -> None:
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
                raise Unreadable(tried, enumerated(errors) or "it ended with status %s" % rc, lines)
            if take is None:
                return
            try:
                with open(answer.name, encoding="utf-8", errors="surrogateescape") as text:
                    for row in rows_in(iter(lambda: text.read(CHUNK), "")):
                        take(row["username"], row)
            except NONSENSE as error:
                raise DovecotError(tried, "cannot make sense of its answer, %r" % error, cure=CURE) from error


def by_user(lines: List[str], names: List[str]) -> Dict[str, str]:
    """Return the first complaint of doveadm about each of the names, where there is one.

    >>> by_user(["doveadm(a@x)<7><s>: Error: mkdir(/Maildir) failed"], ["a@x", "b@x"])
    {'a@x': 'mkdir(/Maildir) failed'}
    """
    found: Dict[str, str] = {}
    for line in lines:
        named, complaint = ABOUT_USER.match(line), COMPLAINT.search(line)
        if named and complaint and HARMLESS not in line and named.group(1) in names:
            found.setdefault(named.group(1), line[complaint.end() :])
    return found


def is_mailbox(path: str) -> bool:
    """Tell whether there is a mailbox at a path that doveadm names: a Maildir, a dbox, or a file."""
    if os.path.basename(path) == "dbox-Mails":
        return os.path.isdir(path)
    return os.path.isdir(os.path.join(path, "cur")) or os.path.isfile(path)
