# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounts that Dovecot's auth service knows. PRIVATE to this collection.

Dovecot's own mail processes ask the ``auth-userdb`` socket. One connection answers any number of look-ups and
gives each name as Dovecot writes it, whatever the case it was asked in.
"""

import errno
import functools
import os
import re
import time
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, NamedTuple, Optional, Set, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common import rights
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    ListingFailed,
    Silence,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.line_socket import (
    NO_DOVECOT,
    LineSocket,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import mask_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.rights import AS_ROOT
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import error_log
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    decode_line,
    encode_line,
)

USERDB_SOCKET = "auth-userdb"
MAJOR = "1"
LISTING_FAILED = (
    "the userdb cannot list its users",
    "it has no way to (userdb static), or its iteration is not configured or fails",
    "run `doveadm user '*'` and look at Dovecot's log; SQL needs iterate_query, LDAP needs iterate_attrs and "
    "iterate_filter; or name the users instead of a mask",
)
# Dovecot's errors about a listing name the "iteration" or "iterate_query".
LISTING = re.compile("iterat", re.IGNORECASE)
# So many of Dovecot's errors about one listing are quoted.
QUOTED = 3
# Fields that replace settings of replication, and of where mail is and how much of it there may be.
OVERRIDING = re.compile(r"(?:mail|mail_location|mail_plugins|mail_replica|noreplicate|quota\w*|namespace/.*)\Z")
# What ends the part of a home that is the chroot.
CHROOT = "/./"
# Those of them that say where mail is.
PLACES = ("mail", "mail_location")
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


class Account(NamedTuple):
    """One account of the userdb. Build it by keyword.

    :arg username: as Dovecot writes it
    :arg noreplicate: whether the userdb field of that name, or the role's variable, keeps it off the list
    :arg uid: the system user who owns the mail, as text; None when the userdb does not say
    :arg gid: the group of the processes that change it, as text; None when the userdb does not say
    :arg mail_replica: replaces the setting of that name for this user; None when the userdb does not say
    :arg overrides: pairs of field and value that replace settings on which replication relies
    :arg is_chrooted: whether processes that change the mail run in a chroot
    """

    username: str
    noreplicate: bool = False
    uid: Optional[str] = None
    gid: Optional[str] = None
    mail_replica: Optional[str] = None
    overrides: Tuple[Tuple[str, str], ...] = ()
    is_chrooted: bool = False

    @property
    def has_place(self) -> bool:
        """Whether the userdb says where the mail is, whatever the setting mail_location."""
        return any(field in PLACES and value for field, value in self.overrides)


CURES = {
    errno.ENOENT: (
        "Dovecot is stopped, or its base_dir is elsewhere",
        "start Dovecot, or name its configuration with config_file, or leave the userdb out with check_userdb: false",
    ),
    errno.ECONNREFUSED: ("Dovecot is stopped", "start Dovecot"),
    errno.EACCES: ("the socket lets in only root, its owner and its group", AS_ROOT),
}


class Accounts:
    """The accounts that exist. Raises DovecotError. No name is looked up twice; a subclass implements the look-up."""

    def __init__(self) -> None:
        # A userdb may list an empty name. Dovecot hangs up when it is asked for one.
        self._looked_up: Dict[str, Optional[Account]] = {"": None}

    def accounts(self, names: Collection[str]) -> Dict[str, Account]:
        """Return a dict: each of the names that exists, to its Account."""
        unknown = set(names).difference(self._looked_up)
        if unknown:
            self._looked_up.update(self._look_up(unknown))
        known = ((name, self._looked_up[name]) for name in names)
        return {name: account for name, account in known if account}

    def find(self, names: Collection[str]) -> Dict[str, str]:
        """Return a dict: each of the names that exists, to the name by which Dovecot knows that user."""
        return {name: account.username for name, account in self.accounts(names).items()}

    def names(self, mask: str = "*") -> Set[str]:
        """Return all names that match the mask, a set."""
        raise NotImplementedError()

    def close(self) -> None:
        """Close the connection."""

    def _look_up(self, names: Collection[str]) -> Mapping[str, Optional[Account]]:
        """Return a dict: each of the names to its Account, or None."""
        raise NotImplementedError()


class Userdb(Accounts):
    """Dovecot's user databases, through ``auth-userdb`` of one instance.

    :arg is_kept_out: where there is no replicator, which heeds fields of the userdb: whether a user is not synced
    """

    def __init__(self, base_dir: str, timeout: float, is_kept_out: Optional[Callable[[str], bool]] = None) -> None:
        super().__init__()
        self._is_kept_out = is_kept_out
        self._path = os.path.join(base_dir, USERDB_SOCKET)
        self._timeout = timeout
        self._last_id = 0
        self._connect()

    def _connect(self) -> None:
        self._socket = LineSocket(self._path, self._timeout, CURES)
        fields: List[str] = []
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

    def find(self, names: Collection[str]) -> Dict[str, str]:
        wanted = set(names)
        found: Dict[str, str] = {}
        if len(wanted) >= LISTING_PAYS:
            try:
                found = {name: name for name in wanted & self.names() if PLAIN.match(name)}
            except DovecotError:
                pass  # a userdb that cannot be listed can still be asked
        found.update(super().find(wanted.difference(found)))
        return found

    def names(self, mask: str = "*") -> Set[str]:
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

    def _listed(self, mask: str, pause: float) -> Set[str]:
        request = self._next_id()
        # The log counts whole seconds.
        began = int(time.time())
        self._socket.write(encode_line("LIST", request, "user=*", "service=doveadm"))
        lines = self._socket.read_burst(encode_line("DONE", request, "")[:-1], pause)
        if lines is None:
            raise self._closed()
        fields = [decode_line(line) for line in lines]
        if "fail" in fields[-1][2:]:
            raise self._listing_failed(began)
        strange = [field for field in fields[:-1] if field[:2] != ["LIST", request] or len(field) < 3]
        if strange:
            raise self._nonsense(strange[0])
        names = {field[2] for field in fields[:-1]}
        return names if mask == "*" else set(filter(mask_matcher(mask), names))

    def _listing_failed(self, began: float) -> DovecotError:
        reason = rights.kept_from_others(self._path)
        if reason:
            return self._socket.failure(LISTING_FAILED[0], reason, AS_ROOT)
        answer, cause, cure = LISTING_FAILED
        said = error_log.since(
            os.path.dirname(self._path), self._timeout, began, lambda text: bool(LISTING.search(text))
        )
        said = [text for text in said if not text.startswith("replicator")][-QUOTED:]
        if said:
            answer += "; Dovecot's log says: " + " | ".join(said)
        return self._socket.failure(answer, None if said else cause, cure, ListingFailed)

    def close(self) -> None:
        self._socket.close()

    def _look_up(self, names: Collection[str]) -> Mapping[str, Optional[Account]]:
        ordered = list(names)
        sent = 0
        accounts: Dict[str, Optional[Account]] = {}
        waiting: Dict[str, str] = {}
        while waiting or sent < len(ordered):
            # Before the last answer has come, so that Dovecot has something to do while answers are read.
            if len(waiting) <= WINDOW // 2 and sent < len(ordered):
                asked = {self._next_id(): name for name in ordered[sent : sent + WINDOW - len(waiting)]}
                sent += len(asked)
                waiting.update(asked)
                requests = [encode_line("USER", request, asked[request], "service=doveadm") for request in asked]
                # In one write: one for each would take longer than all that Dovecot does.
                self._socket.write(b"".join(requests))
            self._collect(waiting, accounts)
        return accounts

    def _collect(self, waiting: Dict[str, str], accounts: Dict[str, Optional[Account]]) -> None:
        fields = self._read()
        name = waiting.pop(fields[1], None) if len(fields) > 1 else None
        if name is None or fields[0] == "USER" and len(fields) < 3:
            raise self._nonsense(fields)
        if fields[0] == "USER":
            account = account_of(fields[2], dict(field.partition("=")[::2] for field in fields[3:]))
            if self._is_kept_out is not None:
                account = account._replace(noreplicate=self._is_kept_out(account.username), mail_replica=None)
            accounts[name] = account
        elif fields[0] == "NOTFOUND":
            accounts[name] = None
        else:
            reason = rights.kept_from_others(self._path)
            raise DovecotError(
                "Looking up %s in the userdb" % name,
                " ".join(fields[2:]) or "temporary failure",
                reason,
                AS_ROOT if reason else "run `doveadm user %s` and look at Dovecot's log" % name,
            )

    def _next_id(self) -> str:
        self._last_id += 1
        return str(self._last_id)

    def _read(self) -> List[str]:
        line = self._socket.read_line()
        if line is None:
            raise self._closed()
        return decode_line(line)

    def _nonsense(self, fields: Iterable[str]) -> DovecotError:
        return self._socket.failure("cannot make sense of its answer %.200r" % "\t".join(fields), *NO_DOVECOT)

    def _closed(self) -> DovecotError:
        return self._socket.failure(
            "it closed the connection",
            "Dovecot was stopped or reloaded, or its auth process has died",
            "look at Dovecot's log, then run the task again",
        )


@functools.lru_cache(maxsize=None)
def _overrides(field: str) -> bool:
    return bool(OVERRIDING.match(field))


def account_of(username: str, fields: Mapping[str, Any]) -> Account:
    """Return the Account with these userdb fields, a dict."""
    return Account(
        username=username,
        noreplicate=is_true(fields.get("noreplicate")),
        uid=fields.get("uid"),
        gid=fields.get("gid"),
        mail_replica=fields.get("mail_replica"),
        overrides=tuple(sorted((field, str(fields[field])) for field in filter(_overrides, fields))),
        is_chrooted=bool(fields.get("chroot")) or CHROOT in fields.get("home", ""),
    )


def is_true(value: Optional[str]) -> bool:
    """Tell whether Dovecot takes the text of a userdb field for true; src/lib-storage/mail-user.c."""
    return value is not None and value[:1] not in ("n", "N", "0", "f", "F")
