# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of Dovecot's line protocols: bytes to values and back. Pure. PRIVATE to this collection.

The source of each fact is Dovecot's own code: src/replication/replicator/doveadm-connection.c for the replicator,
src/lib/strescape.c for the escaping.
"""

import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Set


class Moment(NamedTuple):
    """A moment in the past.

    :arg time: Unix seconds, None where a transport does not tell it
    :arg age: seconds since then, None when it is not known
    """

    time: Optional[int]
    age: Optional[int]


NEVER = Moment(None, None)


class UserStatus(NamedTuple):
    """One entry of the replicator's list. Build it by keyword.

    :arg priority: with which the user is queued, ``none`` when the user is not
    :arg fast_sync: start of the last sync
    :arg full_sync: start of the last full sync
    :arg successful_sync: end of the last sync that succeeded
    :arg failed: whether the last sync that ended has failed
    :arg next_sync: seconds until the next sync, 0 is due; None before Dovecot 2.3.20
    """

    username: str
    priority: str = "none"
    fast_sync: Moment = NEVER
    full_sync: Moment = NEVER
    successful_sync: Moment = NEVER
    failed: bool = False
    next_sync: Optional[int] = None


class DsyncSlot(NamedTuple):
    """One of the replicator's connections to the local doveadm server. Build it by keyword.

    :arg username: None when the slot is idle
    :arg type: ``full``, ``normal`` or ``incremental``; None when the slot is idle
    :arg status: what Dovecot says of it
    """

    username: Optional[str] = None
    type: Optional[str] = None
    status: str = ""


OVERVIEW_KEYS = {
    "Queued 'sync' requests": "queued_sync",
    "Queued 'high' requests": "queued_high",
    "Queued 'low' requests": "queued_low",
    "Queued 'failed' requests": "queued_failed",
    "Queued 'full resync' requests": "queued_full_resync",
    "Waiting 'failed' requests": "waiting_failed",
    "Total number of known users": "known_users",
}

PRIORITIES = ("none", "low", "high", "sync")
NUMBER = re.compile(r"-?[0-9]{1,20}\Z")
# The last second of the year 9999, beyond which nothing is a time.
LAST_TIME = 253402300799
# How far two readings of a clock may be apart that is being corrected, in seconds.
CLOCK_SKEW = 60
# Columns of a row of ``STATUS mask`` in Dovecot before 2.2.16.
FEWEST_COLUMNS = 5

# Beside the tab.
TO_BE_ESCAPED = re.compile("[\x01\0\r\n]")
_ESCAPES = [("\x01", "\x011"), ("\0", "\x010"), ("\t", "\x01t"), ("\r", "\x01r"), ("\n", "\x01n")]
ESCAPED = re.compile("\x01(.?)", re.DOTALL)
_UNESCAPED = {"0": "\0", "1": "\x01", "t": "\t", "r": "\r", "n": "\n"}


def tab_escape(text: str) -> str:
    """Return text as it may stand between tabs."""
    for raw, escaped in _ESCAPES:
        text = text.replace(raw, escaped)
    return text


def tab_unescape(text: str) -> str:
    r"""Undo :func:`tab_escape`. A lone or unknown escape keeps what follows it, as Dovecot does.

    >>> tab_unescape("tab\x01there")
    'tab\there'
    """
    return ESCAPED.sub(lambda match: _UNESCAPED.get(match.group(1), match.group(1)), text) if "\x01" in text else text


def encode_line(*fields: str) -> bytes:
    """Return the fields as one line of the protocol, bytes."""
    line = "\t".join(fields)
    if TO_BE_ESCAPED.search(line) or line.count("\t") != len(fields) - 1:
        line = "\t".join(tab_escape(field) for field in fields)
    return (line + "\n").encode("utf-8", "surrogateescape")


def decode_line(line: bytes) -> List[str]:
    """Return the fields of one line of the protocol (bytes without the newline)."""
    text = line.decode("utf-8", "surrogateescape")
    return text.split("\t") if "\x01" not in text else [tab_unescape(field) for field in text.split("\t")]


def parse_number(text: str) -> int:
    """Return the int in a decimal number; raise ValueError for anything else that int() would take."""
    if not NUMBER.match(text):
        raise ValueError("no number: %.40r" % text)
    return int(text)


def parse_count(text: str) -> int:
    """Return the int in a decimal number that is not negative; raise ValueError for anything else."""
    number = parse_number(text)
    if number < 0:
        raise ValueError("a negative number: %r" % text)
    return number


def moment_at(seconds: int, now: float) -> Moment:
    """Return the Moment of a time that the replicator gives: Unix seconds, 0 for never; raise ValueError for no time.

    An age is never less than 0: the clock may have been set back.
    """
    if not 0 <= seconds <= LAST_TIME:
        raise ValueError("no time: %d" % seconds)
    return Moment(seconds, max(0, int(now) - seconds)) if seconds else NEVER


def success_at(seconds: int, now: float) -> Moment:
    """Return the Moment of a last success; one of the future proves nothing, as the clock was set back since."""
    moment = moment_at(seconds, now)
    return moment if seconds <= now + CLOCK_SKEW else Moment(seconds, None)


def parse_user(line: bytes, now: float) -> UserStatus:
    """Return the UserStatus in a row of ``STATUS mask``; raise ValueError for anything else.

    The number of columns tells what a Dovecot knows; the protocol's version does not. The time of the last success
    came with 2.2.16 and is never before.
    """
    fields = decode_line(line)
    if len(fields) < FEWEST_COLUMNS or fields[1] not in PRIORITIES or fields[4] not in ("0", "1"):
        raise ValueError("no row of a user's status: %.200r" % line)
    numbers = [parse_number(field) for field in fields[2:7]]
    fast, full, failed = numbers[:3]
    success = numbers[3] if len(numbers) > 3 else 0
    next_sync = max(0, numbers[4]) if len(numbers) > 4 else None
    return UserStatus(
        username=fields[0],
        priority=fields[1],
        fast_sync=moment_at(fast, now),
        full_sync=moment_at(full, now),
        successful_sync=success_at(success, now),
        failed=failed != 0,
        next_sync=next_sync,
    )


def parse_users(lines: Iterable[bytes], now: float) -> Dict[str, UserStatus]:
    """Return the answer to ``STATUS mask`` as a dict of UserStatus by name."""
    return {status.username: status for status in (parse_user(line, now) for line in lines)}


def parse_names(lines: Iterable[bytes]) -> Set[str]:
    """Return the names in the answer to ``STATUS mask``, a set; many times as fast as parsing whole rows."""
    names = set()
    for line in lines:
        if line.count(b"\t") < FEWEST_COLUMNS - 1:
            raise ValueError("no row of a user's status: %.200r" % line)
        names.add(decode_line(line.partition(b"\t")[0])[0])
    return names


def parse_slots(lines: Iterable[bytes]) -> List[DsyncSlot]:
    """Return the answer to ``STATUS-DSYNC`` as a list of DsyncSlot."""
    return list(map(parse_slot, lines))


def parse_slot(line: bytes) -> DsyncSlot:
    """Return the DsyncSlot in a row of ``STATUS-DSYNC``."""
    fields = decode_line(line)
    if len(fields) < 3:
        raise ValueError("no row of a dsync's status: %.200r" % line)
    kind = None if fields[1] == "-" else fields[1]
    return DsyncSlot(username=fields[0] or None, type=kind, status=fields[2])


def parse_overview(lines: Iterable[bytes]) -> Dict[str, int]:
    """Return the counts in the rows of ``STATUS``: a dict with the values of OVERVIEW_KEYS as keys, ints."""
    counts = {}
    for line in lines:
        if line.count(b"\t") == 1:
            field, count = decode_line(line)
            counts[field] = count
    return overview_of(counts)


def overview_of(counts: Dict[str, str]) -> Dict[str, int]:
    """Return the overview in what Dovecot calls each count, a dict of texts; raise ValueError when one is missing."""
    missing = sorted(set(OVERVIEW_KEYS).difference(counts))
    if missing:
        raise ValueError("no overview: without %s" % ", ".join(missing))
    return {key: parse_count(counts[field]) for field, key in OVERVIEW_KEYS.items()}
