# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations and times."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.durations import (
    iso_time,
    parse_duration,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("90", 90),
        (90, 90),
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1d", 86400),
        ("1w", 604800),
        (" 3 m ", 180),
        ("0", 0),
    ],
)
def test_durations(text, seconds):
    assert parse_duration("max_age", text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1.5h", "1y", "m", "1h30m", "1H"])
def test_what_is_no_duration(text):
    with pytest.raises(DovecotError, match="max_age"):
        parse_duration("max_age", text)


def test_times():
    assert iso_time(1795434689) == "2026-11-23T11:51:29Z"
    assert iso_time(None) is None
