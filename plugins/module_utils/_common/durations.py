# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations and times as people write them. Pure. PRIVATE to this collection."""

import re
from datetime import datetime, timezone
from typing import Optional, Union

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(option: str, text: Union[str, int]) -> int:
    """Return the seconds in a duration such as ``90``, ``15m`` or ``1d``.

    :arg option: name of the option, for the message of the DovecotError that any other text raises
    """
    match = re.match(r"\s*([0-9]{1,12})\s*([smhdw]?)\s*\Z", str(text))
    if not match:
        raise DovecotError(
            "Reading %s" % option,
            "%r is not a duration" % text,
            cure="write seconds, or a number with a unit: 90, 90s, 15m, 2h, 1d, 1w",
        )
    return int(match.group(1)) * SECONDS[match.group(2)]


def iso_time(seconds: Optional[int]) -> Optional[str]:
    """Return Unix seconds as ISO 8601 in UTC, None as None.

    >>> iso_time(1795434689)
    '2026-11-23T11:51:29Z'
    """
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
