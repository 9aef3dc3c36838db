# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which users exist, as Dovecot's auth service knows it. PRIVATE to this collection.

The ``auth-userdb`` socket is what Dovecot's own mail processes ask. One connection answers any number of look-ups and
gives each name as Dovecot writes it, whatever the case it was asked in.
"""

import errno
import os
import re
from collections import namedtuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError, Silence
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._line_socket import (
    NO_DOVECOT,
    LineSocket,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._names import mask_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._protocol import decode_line, encode_line

USERDB_SOCKET = "auth-userdb"
MAJOR = "1"
LISTING_FAILED = (
    "the userdb cannot list its users",
    "it has no way to (userdb static), or its iteration is not configured or fails",
    "run `doveadm user '*'` and look at Dovecot's log; SQL needs iterate_query, LDAP needs iterate_attrs and "
    "iterate_filter; or name the users instead of a mask",
)
# Look-ups under way at once. More would let both sides fill their buffers and wait for each other.
WINDOW = 100
# From so many names on, one listing of all users is cheaper for the userdb than a look-up of each.
LISTING_PAYS = 100
# A listing that has begun and is silent for so many seconds has stopped.
LISTING_PAUSE = 3
# How many lines there may be in its greeting, which has two.
GREETING_LINES = 20
# Names that a look-up gives back as they are. A listed name may be spelt otherwise, or refused by auth_username_chars.
PLAIN = re.compile(r"[a-z0-9._@-]+\Z")

# One account.
#   username: as Dovecot writes it
#   noreplicate: whether the userdb field of that name keeps it off the replicator's list
#   uid: the system user who owns the mail, as text, None when the userdb does not say
#   mail_replica: where to sync to instead of what the configuration says, None when the userdb does not say
Account = namedtuple("Account", ["username", "noreplicate", "uid", "mail_replica"])

CURES = {
    errno.ENOENT: (
        "Dovecot is stopped, or its base_dir is elsewhere",
        "start Dovecot, or name its configuration with config_file, or leave the userdb out with check_userdb: false",
    ),
    errno.ECONNREFUSED: ("Dovecot is stopped", "start Dovecot"),
    errno.EACCES: ("the socket belongs to another user", "run the task as root (become: true)"),
}


class Accounts:
    """Who exists. Raises DovecotError. No name is looked up twice; a subclass says how it is done."""

    def __init__(self):
        self._looked_up = {}

    def accounts(self, names):
        """Return a dict: each of the names that exists, to its Account."""
        unknown = set(names).difference(self._looked_up)
        if unknown:
            self._looked_up.update(self._look_up(unknown))
        return {name: self._looked_up[name] for name in names if self._looked_up[name]}

    def find(self, names):
        """Return a dict: each of the names that exists, to the name by which Dovecot knows that user."""
        return {name: account.username for name, account in self.accounts(names).items()}

    def names(self, mask="*"):
        """Return all names that match the mask, a set."""
        raise NotImplementedError()

    def close(self):
        """Let the connection go."""

    def _look_up(self, names):
        """Return a dict: each of the names to its Account, or None."""
        raise NotImplementedError()


class Userdb(Accounts):
    """Dovecot's user databases, through ``auth-userdb`` of one instance."""

    def __init__(self, base_dir, timeout):
        super(Userdb, self).__init__()
        self._path = os.path.join(base_dir, USERDB_SOCKET)
        self._timeout = timeout
        self._last_id = 0
        self._connect()

    def _connect(self):
        self._socket = LineSocket(self._path, self._timeout, CURES)
        for _line in range(GREETING_LINES):
            fields = self._read()
            if fields[0] == "VERSION" and fields[1:2] != [MAJOR]:
                raise self._socket.failure(
                    "it speaks version %s of the protocol, not %s" % (" ".join(fields[1:]), MAJOR)
                )
            if fields[0] == "SPID":
                break
        else:
            raise self._socket.failure("it greets with %.100r" % "\t".join(fields), *NO_DOVECOT)
        self._socket.write(encode_line("VERSION", MAJOR, "0"))

    def find(self, names):
        names = set(names)
        found = {}
        if len(names) >= LISTING_PAYS:
            try:
                found = {name: name for name in names & self.names() if PLAIN.match(name)}
            except DovecotError:
                pass  # a userdb that cannot be listed can still be asked
        found.update(super(Userdb, self).find(names.difference(found)))
        return found

    def names(self, mask="*"):
        """Return all names that match the mask, a set.

        Dovecot stops a listing whose reader is slow, and up to 2.3.21 may forget to go on: worker_input_resume() in
        src/auth/auth-worker-server.c reads the socket of its worker, and where nothing new has come leaves the lines
        that it had read before. That lasts a minute, until the worker is found idle. So nothing is done while the
        list is read, and one that stops is asked for again.
        """
        try:
            return self._listed(mask, LISTING_PAUSE)
        except Silence:
            self._socket.close()
            self._connect()
            return self._listed(mask, self._timeout)

    def _listed(self, mask, pause):
        request = self._next_id()
        self._socket.write(encode_line("LIST", request, "service=doveadm"))
        lines = self._socket.read_burst(encode_line("DONE", request, "")[:-1], pause)
        if lines is None:
            raise self._closed()
        fields = [decode_line(line) for line in lines]
        if "fail" in fields[-1][2:]:
            raise self._socket.failure(*LISTING_FAILED)
        strange = [field for field in fields[:-1] if field[:2] != ["LIST", request] or len(field) < 3]
        if strange:
            raise self._nonsense(strange[0])
        names = {field[2] for field in fields[:-1]}
        return names if mask == "*" else set(filter(mask_matcher(mask), names))

    def close(self):
        self._socket.close()

    def _look_up(self, names):
        names, accounts = list(names), {}
        for start in range(0, len(names), WINDOW):
            waiting = {self._next_id(): name for name in names[start : start + WINDOW]}
            requests = [encode_line("USER", request, waiting[request], "service=doveadm") for request in waiting]
            # In one write: one for each would take longer than all that Dovecot does.
            self._socket.write(b"".join(requests))
            while waiting:
                self._collect(waiting, accounts)
        return accounts

    def _collect(self, waiting, accounts):
        fields = self._read()
        name = waiting.pop(fields[1], None) if len(fields) > 1 else None
        if name is None or fields[0] == "USER" and len(fields) < 3:
            raise self._nonsense(fields)
        if fields[0] == "USER":
            extra = dict(field.partition("=")[::2] for field in fields[3:])
            accounts[name] = account_of(fields[2], extra)
        elif fields[0] == "NOTFOUND":
            accounts[name] = None
        else:
            raise DovecotError(
                "Looking up %s in the userdb" % name,
                " ".join(fields[2:]) or "temporary failure",
                cure="run `doveadm user %s` and look at Dovecot's log" % name,
            )

    def _next_id(self):
        self._last_id += 1
        return str(self._last_id)

    def _read(self):
        line = self._socket.read_line()
        if line is None:
            raise self._closed()
        return decode_line(line)

    def _nonsense(self, fields):
        return self._socket.failure("cannot make sense of its answer %.200r" % "\t".join(fields), *NO_DOVECOT)

    def _closed(self):
        return self._socket.failure(
            "it closed the connection",
            "Dovecot was stopped or reloaded, or its auth process has died",
            "look at Dovecot's log, then run the task again",
        )


def account_of(username, fields):
    """Return the Account with these userdb fields, a dict."""
    return Account(username, is_true(fields.get("noreplicate")), fields.get("uid"), fields.get("mail_replica"))


def is_true(value):
    """Tell whether Dovecot takes the text of a userdb field for true; src/lib-storage/mail-user.c."""
    return value is not None and value[:1] not in ("n", "N", "0", "f", "F")
