# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints of mailboxes and messages. Pure. PRIVATE to this collection.

A fingerprint covers what dsync keeps the same on both hosts: the name, GUID and UIDVALIDITY of each mailbox, and the
UID, GUID, flags and keywords of each message. It leaves out data of one host alone, such as ``\\Recent``,
mod-sequences and sizes on disk.
"""

import hashlib
import json
import re
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set

# Given only once, doveadm passes over namespaces with a prefix, and then over the INBOX.
ALL_MAILBOXES = ["*", "*"]
STATUS_FIELDS = ["guid", "uidvalidity", "uidnext", "vsize"]
# What tells whether a mailbox is the same one on both hosts, and whether it has changed since.
IDENTITY_FIELDS = ["guid", "uidvalidity", "uidnext", "messages"]
MESSAGE_FIELDS = ["mailbox", "uid", "guid", "flags"]
# Digits of a fingerprint; this half of a SHA-256 tells mailboxes apart with certainty.
DIGITS = 32
# In characters; a row has the name of a mailbox, a number, a GUID and flags.
LONGEST_ROW = 1 << 20
# Separators in use, and dsync_alt_char. On each host dsync writes its separator, and that for what a name cannot have.
TRANSLATED = re.compile(r"[./\\|^~_]")
OWN_FLAGS = {"\\Recent"}


class Mailbox:
    """One mailbox whose messages come in one by one, in the order of their UIDs.

    :arg row: a row of ``doveadm mailbox status`` with STATUS_FIELDS, all text
    """

    def __init__(self, row: Dict[str, Any]) -> None:
        self.name: str = row["mailbox"]
        self.guid: str = row["guid"]
        self.uidvalidity = int(row["uidvalidity"])
        self.uidnext = int(row["uidnext"])
        self.bytes = int(row["vsize"])
        self.messages = 0
        # How many of them have the GUID of an earlier one. dsync makes such a copy now and then when mail comes in
        # during a sync, and a client that copies a message within its folder makes one, too.
        self.doubled = 0
        spelling = TRANSLATED.sub("/", self.name)
        self._hash = hashlib.sha256(_line(spelling, self.guid, self.uidvalidity))

    def add(self, row: Dict[str, Any], guids: Set[str]) -> None:
        """Take in a row of ``doveadm fetch`` with MESSAGE_FIELDS.

        :arg guids: of the messages before it
        """
        flags = sorted(set(row["flags"].split()).difference(OWN_FLAGS))
        self._hash.update(_line(row["uid"], row["guid"], *flags))
        self.messages += 1
        self.doubled += row["guid"] in guids

    def fingerprint(self) -> str:
        """Return the fingerprint of this mailbox and its messages."""
        return self._hash.hexdigest()[:DIGITS]

    def described(self) -> Dict[str, Any]:
        """Return the mailbox as the module ``mailbox_info`` does."""
        return dict(
            name=self.name,
            guid=self.guid,
            uidvalidity=self.uidvalidity,
            uidnext=self.uidnext,
            messages=self.messages,
            doubled=self.doubled,
            bytes=self.bytes,
            fingerprint=self.fingerprint(),
        )


class Mailboxes:
    """The mailboxes of some users.

    :arg none_is_unknown: whether a user that seems to have no mailbox may have some that cannot be read
    """

    def __init__(self, names: Iterable[str], none_is_unknown: bool = False) -> None:
        self._none_is_unknown = none_is_unknown
        self._users: Dict[str, Dict[str, Mailbox]] = {name: {} for name in names}
        self._problems: Dict[str, str] = {}
        # Messages of one mailbox come together, so the GUIDs of one are enough.
        self._growing: Optional[Mailbox] = None
        self._guids: Set[str] = set()

    def clear(self, name: str) -> None:
        """Forget what has been read of a user."""
        self._users[name] = {}

    def add_problem(self, name: str, problem: str) -> None:
        """Take in why a user's mail cannot be read."""
        self.clear(name)
        self._problems[name] = problem

    def add_mailbox(self, name: str, row: Dict[str, Any]) -> None:
        """Take in a user's row of ``doveadm mailbox status`` with STATUS_FIELDS."""
        self._users[name][row["mailbox"]] = Mailbox(row)

    def add_message(self, name: str, row: Dict[str, Any]) -> None:
        """Take in a user's row of ``doveadm fetch`` with MESSAGE_FIELDS."""
        # A mailbox created since the listing is missing.
        mailbox = self._users[name].get(row["mailbox"])
        if not mailbox:
            return
        if self._growing is not mailbox:
            self._growing, self._guids = mailbox, set()
        mailbox.add(row, self._guids)
        self._guids.add(row["guid"])

    def described(self, with_mailboxes: bool) -> List[Dict[str, Any]]:
        """Return the users sorted by name, as the module ``mailbox_info`` does."""
        return [self._described(name, with_mailboxes) for name in sorted(self._users)]

    def _described(self, name: str, with_mailboxes: bool) -> Dict[str, Any]:
        mailboxes = [self._users[name][mailbox] for mailbox in sorted(self._users[name])]
        prints = sorted(mailbox.fingerprint() for mailbox in mailboxes)
        problem = self._problems.get(name)
        user: Dict[str, Any] = dict(
            username=name, fingerprint=None, messages=None, doubled=None, bytes=None, problem=problem
        )
        if not problem and (mailboxes or not self._none_is_unknown):
            user.update(
                fingerprint=hashlib.sha256(_line(*prints)).hexdigest()[:DIGITS],
                messages=sum(mailbox.messages for mailbox in mailboxes),
                doubled=sum(mailbox.doubled for mailbox in mailboxes),
                bytes=sum(mailbox.bytes for mailbox in mailboxes),
            )
        if with_mailboxes:
            user["mailboxes"] = [mailbox.described() for mailbox in mailboxes]
        return user


def rows_in(chunks: Iterable[str]) -> Iterator[Any]:
    """Yield the objects of one JSON array that comes in pieces of text; raise ValueError where it is none.

    The rows of many mailboxes would not fit into memory at once.
    """
    decode = json.JSONDecoder().raw_decode
    text, started, ended = "", False, False
    for chunk in chunks:
        text = (text + chunk).lstrip()
        if not started and text:
            if text[0] != "[":
                raise ValueError("no list of rows: %.100r" % text)
            text, started = text[1:], True
        while text and not ended:
            text = text.lstrip(", \r\n\t")
            if text.startswith("]"):
                ended = True
                break
            try:
                row, end = decode(text)
            except ValueError:
                if len(text) > LONGEST_ROW:
                    raise ValueError("a row that does not end: %.100r" % text) from None
                break  # the rest of it is still to come
            yield row
            text = text[end:]
    if not ended:
        raise ValueError("a list of rows that does not end: %.100r" % text)


def _line(*fields: object) -> bytes:
    return (json.dumps(fields) + "\n").encode("utf-8")
