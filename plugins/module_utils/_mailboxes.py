# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what doveadm tells of mailboxes and messages to fingerprints of them. Pure. PRIVATE to this collection.

A fingerprint covers what dsync keeps the same on both hosts: the name, GUID and UIDVALIDITY of each mailbox, and the
UID, GUID, flags and keywords of each message. It leaves out what each host has for itself, such as ``\\Recent``,
mod-sequences and sizes on disk.
"""

import hashlib
import json

STATUS_FIELDS = ["guid", "uidvalidity", "uidnext", "vsize"]
MESSAGE_FIELDS = ["mailbox", "uid", "guid", "flags"]
# Of 64 digits, so many tell mailboxes apart with certainty.
DIGITS = 32
# In characters; a row has the name of a mailbox, a number, a GUID and flags.
LONGEST_ROW = 1 << 20
OWN_FLAGS = {"\\Recent"}


class Mailbox:
    """One mailbox whose messages come in one by one, in the order of their UIDs.

    :arg row: a row of ``doveadm mailbox status`` with STATUS_FIELDS, all text
    """

    def __init__(self, row):
        self.name = row["mailbox"]
        self.guid = row["guid"]
        self.uidvalidity = int(row["uidvalidity"])
        self.uidnext = int(row["uidnext"])
        self.bytes = int(row["vsize"])
        self.messages = 0
        self._hash = hashlib.sha256(_line(self.name, self.guid, self.uidvalidity))

    def add(self, row):
        """Take in a row of ``doveadm fetch`` with MESSAGE_FIELDS."""
        flags = sorted(set(row["flags"].split()).difference(OWN_FLAGS))
        self._hash.update(_line(row["uid"], row["guid"], *flags))
        self.messages += 1

    def fingerprint(self):
        return self._hash.hexdigest()[:DIGITS]

    def described(self):
        return dict(
            name=self.name,
            guid=self.guid,
            uidvalidity=self.uidvalidity,
            uidnext=self.uidnext,
            messages=self.messages,
            bytes=self.bytes,
            fingerprint=self.fingerprint(),
        )


class Mailboxes:
    """The mailboxes of some users.

    :arg none_is_unknown: whether a user that seems to have no mailbox may have some that cannot be read
    """

    def __init__(self, names, none_is_unknown=False):
        self._none_is_unknown = none_is_unknown
        self._users = {name: {} for name in names}

    def add_mailbox(self, name, row):
        self._users[name][row["mailbox"]] = Mailbox(row)

    def add_message(self, name, row):
        # One that was made since the mailboxes were listed is not there.
        mailbox = self._users[name].get(row["mailbox"])
        if mailbox:
            mailbox.add(row)

    def described(self, with_mailboxes):
        """Return the users sorted by name, as the module ``mailbox_info`` does."""
        return [self._described(name, with_mailboxes) for name in sorted(self._users)]

    def _described(self, name, with_mailboxes):
        mailboxes = [self._users[name][mailbox] for mailbox in sorted(self._users[name])]
        prints = [mailbox.fingerprint() for mailbox in mailboxes]
        user = dict(username=name, fingerprint=None, messages=None, bytes=None)
        if mailboxes or not self._none_is_unknown:
            user.update(
                fingerprint=hashlib.sha256(_line(*prints)).hexdigest()[:DIGITS],
                messages=sum(mailbox.messages for mailbox in mailboxes),
                bytes=sum(mailbox.bytes for mailbox in mailboxes),
            )
        if with_mailboxes:
            user["mailboxes"] = [mailbox.described() for mailbox in mailboxes]
        return user


def rows_in(chunks):
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


def _line(*fields):
    return (json.dumps(fields) + "\n").encode("utf-8")
