# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that Dovecot reads as the same. PRIVATE to this collection.

``doveconf`` prints numbers, sizes, intervals and booleans in a spelling of its own (measured on 2.3.19.1, some of it on
2.3.13). A number of permissions is octal: ``mode = 600``, without a zero in front, means another one to Dovecot, and is
printed as 01130.
"""

import re
from typing import Optional

AMOUNT = re.compile(r"(\d+)\s*([a-z]+)\Z")
BOOLEANS = {"yes": "yes", "y": "yes", "1": "yes", "no": "no"}
SIZES = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
# Milliseconds. Dovecot takes any beginning of these words; the first that fits.
INTERVALS = (
    ("secs", 1000),
    ("seconds", 1000),
    ("mins", 60 * 1000),
    ("minutes", 60 * 1000),
    ("msecs", 1),
    ("ms", 1),
    ("milliseconds", 1),
    ("hours", 3600 * 1000),
    ("days", 24 * 3600 * 1000),
    ("weeks", 7 * 24 * 3600 * 1000),
)


def is_same(written: str, printed: str) -> bool:
    """Tell whether a value that was written is the one that doveconf prints.

    >>> is_same("24 hours", "1 days"), is_same("10M", "10 M"), is_same("Yes", "yes"), is_same("600", "0600")
    (True, True, True, True)
    >>> is_same("600", "01130"), is_same("a", "A")
    (False, False)
    """
    written, printed = written.strip(), printed.strip()
    if written == printed:
        return True
    if printed in ("yes", "no") and written.lower() in BOOLEANS:
        return BOOLEANS[written.lower()] == printed
    return any(
        meaning(written) is not None and meaning(written) == meaning(printed)
        for meaning in (_number, _size, _milliseconds)
    )


def seconds_in(text: str) -> Optional[int]:
    """Return the seconds in an interval of Dovecot's, None in anything else.

    >>> seconds_in("1 days"), seconds_in("90 mins"), seconds_in("soon")
    (86400, 5400, None)
    """
    milliseconds = _milliseconds(text.strip())
    return None if milliseconds is None else milliseconds // 1000


def _number(text: str) -> Optional[str]:
    return text.lstrip("0") or "0" if text.isdecimal() else None


def _size(text: str) -> Optional[int]:
    amount = AMOUNT.match(text.lower())
    if not amount:
        return int(text) if text.isdecimal() else None
    unit = re.sub(r"(?<=[kmgt])i?b\Z", "", amount.group(2))
    return int(amount.group(1)) * SIZES[unit] if unit in SIZES else None


def _milliseconds(text: str) -> Optional[int]:
    amount = AMOUNT.match(text.lower())
    if not amount:
        return 0 if text == "0" else None
    factors = [factor for word, factor in INTERVALS if word.startswith(amount.group(2))]
    return int(amount.group(1)) * factors[0] if factors else None
