# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of Dovecot's line protocols: bytes to values and back. Pure. PRIVATE to this collection.

The source of each fact is Dovecot's own code: src/replication/replicator/doveadm-connection.c for the replicator,
src/lib/strescape.c for the escaping.
"""

import re
from collections import namedtuple

# A moment in the past: ``time`` in Unix seconds, None where a transport does not tell it; ``age`` in seconds.
Moment = namedtuple("Moment", ["time", "age"])
NEVER = Moment(None, None)

# One entry of the replicator's list. ``full_sync`` and ``fast_sync`` are the Moments at which a sync started,
# ``successful_sync`` is when one ended. ``next_sync`` is seconds from now, 0 is due; None before Dovecot 2.3.20.
UserStatus = namedtuple(
    "UserStatus", ["username", "priority", "fast_sync", "full_sync", "failed", "successful_sync", "next_sync"]
)

# One of the replicator's connections to the local doveadm server. ``username`` and ``type`` are None when it is idle.
DsyncSlot = namedtuple("DsyncSlot", ["username", "type", "status"])

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


def tab_escape(text):
    """Return text as it may stand between tabs."""
    for raw, escaped in _ESCAPES:
        text = text.replace(raw, escaped)
    return text


def tab_unescape(text):
    r"""Undo :func:`tab_escape`. A lone or unknown escape keeps what follows it, as Dovecot does.

    >>> tab_unescape("tab\x01there")
    'tab\there'
    """
    return ESCAPED.sub(lambda match: _UNESCAPED.get(match.group(1), match.group(1)), text) if "\x01" in text else text


def encode_line(*fields):
    """Return the fields as one line of the protocol, bytes."""
    line = "\t".join(fields)
    if TO_BE_ESCAPED.search(line) or line.count("\t") != len(fields) - 1:
        line = "\t".join(tab_escape(field) for field in fields)
    return (line + "\n").encode("utf-8", "surrogateescape")


def decode_line(line):
    """Return the fields of one line of the protocol (bytes without the newline)."""
    text = line.decode("utf-8", "surrogateescape")
    return text.split("\t") if "\x01" not in text else [tab_unescape(field) for field in text.split("\t")]


def parse_number(text):
    """Return the int in a decimal number; raise ValueError for anything else that int() would take."""
    if not NUMBER.match(text):
        raise ValueError("no number: %.40r" % text)
    return int(text)


def parse_count(text):
    """Return the int in a decimal number that is not negative; raise ValueError for anything else."""
    number = parse_number(text)
    if number < 0:
        raise ValueError("a negative number: %r" % text)
    return number


def moment_at(seconds, now):
    """Return the Moment of a time that the replicator gives: Unix seconds, 0 for never; raise ValueError for no time.

    An age is never less than 0: the clock may have been set back.
    """
    if not 0 <= seconds <= LAST_TIME:
        raise ValueError("no time: %d" % seconds)
    return Moment(seconds, max(0, int(now) - seconds)) if seconds else NEVER


def success_at(seconds, now):
    """Return the Moment of a last success; one of the future proves nothing, as the clock was set back since."""
    moment = moment_at(seconds, now)
    return moment if seconds <= now + CLOCK_SKEW else Moment(seconds, None)


def parse_user(line, now):
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
        fields[0],
        fields[1],
        moment_at(fast, now),
        moment_at(full, now),
        failed != 0,
        success_at(success, now),
        next_sync,
    )


def parse_users(lines, now):
    """Return the answer to ``STATUS mask`` as a dict of UserStatus by name."""
    return {status.username: status for status in (parse_user(line, now) for line in lines)}


def parse_names(lines):
    """Return the names in the answer to ``STATUS mask``, a set; many times as fast as parsing whole rows."""
    names = set()
    for line in lines:
        if line.count(b"\t") < FEWEST_COLUMNS - 1:
            raise ValueError("no row of a user's status: %.200r" % line)
        names.add(decode_line(line.partition(b"\t")[0])[0])
    return names


def parse_slots(lines):
    """Return the answer to ``STATUS-DSYNC`` as a list of DsyncSlot."""
    return list(map(parse_slot, lines))


def parse_slot(line):
    """Return the DsyncSlot in a row of ``STATUS-DSYNC``."""
    fields = decode_line(line)
    if len(fields) < 3:
        raise ValueError("no row of a dsync's status: %.200r" % line)
    return DsyncSlot(fields[0] or None, None if fields[1] == "-" else fields[1], fields[2])


def parse_overview(lines):
    """Return the counts in the rows of ``STATUS``: a dict with the values of OVERVIEW_KEYS as keys, ints."""
    counts = dict(decode_line(line)[:2] for line in lines if line.count(b"\t") == 1)
    return overview_of(counts)


def overview_of(counts):
    """Return the overview in what Dovecot calls each count, a dict of texts; raise ValueError when one is missing."""
    missing = sorted(set(OVERVIEW_KEYS).difference(counts))
    if missing:
        raise ValueError("no overview: without %s" % ", ".join(missing))
    return {key: parse_count(counts[field]) for field, key in OVERVIEW_KEYS.items()}
