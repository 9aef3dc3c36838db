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

# Beside the tab.
TO_BE_ESCAPED = re.compile("[\x01\0\r\n]")
_ESCAPES = [("\x01", "\x011"), ("\0", "\x010"), ("\t", "\x01t"), ("\r", "\x01r"), ("\n", "\x01n")]
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
    if "\x01" not in text:
        return text
    head, *parts = text.split("\x01")
    pieces = [head]
    for part in parts:
        pieces.append(_UNESCAPED.get(part[:1], part[:1]) + part[1:])
    return "".join(pieces)


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


def moment_at(seconds, now):
    """Return the Moment of a time that the replicator gives: Unix seconds, 0 for never.

    An age is never less than 0: the clock may have been set back.
    """
    return Moment(seconds, max(0, int(now) - seconds)) if seconds else NEVER


def parse_user(line, now):
    """Return the UserStatus in a row of ``STATUS mask``; raise ValueError for anything else.

    The number of columns tells what a Dovecot knows; the protocol's version does not. The time of the last success
    came with 2.2.16 and is never before.
    """
    fields = decode_line(line)
    if len(fields) < 5:
        raise ValueError("a status row of %d columns: %r" % (len(fields), line))
    numbers = [int(field) for field in fields[2:7]]
    fast, full, failed = numbers[:3]
    success = numbers[3] if len(numbers) > 3 else 0
    next_sync = numbers[4] if len(numbers) > 4 else None
    return UserStatus(
        fields[0],
        fields[1],
        moment_at(fast, now),
        moment_at(full, now),
        failed != 0,
        moment_at(success, now),
        next_sync,
    )


def parse_users(lines, now):
    """Return the answer to ``STATUS mask`` as a dict of UserStatus by name."""
    return {status.username: status for status in (parse_user(line, now) for line in lines)}


def parse_names(lines):
    """Return the names in the answer to ``STATUS mask``, a set; many times as fast as parsing whole rows."""
    names = set()
    for line in lines:
        name, tab = line.partition(b"\t")[:2]
        if not tab:
            raise ValueError("a status row of one column: %r" % line)
        names.add(decode_line(name)[0])
    return names


def parse_slots(lines):
    """Return the answer to ``STATUS-DSYNC`` as a list of DsyncSlot."""
    return list(map(parse_slot, lines))


def parse_slot(line):
    """Return the DsyncSlot in a row of ``STATUS-DSYNC``."""
    fields = decode_line(line)
    if len(fields) < 3:
        raise ValueError("a dsync row of %d columns: %r" % (len(fields), line))
    return DsyncSlot(fields[0] or None, None if fields[1] == "-" else fields[1], fields[2])


def parse_overview(lines):
    """Return the counts in the rows of ``STATUS``: a dict with the values of OVERVIEW_KEYS as keys, ints."""
    overview = {}
    for line in lines:
        fields = decode_line(line)
        if len(fields) == 2 and fields[0] in OVERVIEW_KEYS:
            overview[OVERVIEW_KEYS[fields[0]]] = int(fields[1])
    if "known_users" not in overview:
        raise ValueError("no overview: %r" % (lines,))
    return overview
