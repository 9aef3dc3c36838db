# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as they are written and as doveconf 2.3.19.1 prints them."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.spelling import is_same


@pytest.mark.parametrize(
    "written, printed",
    [
        ("1", "yes"),
        ("Y", "yes"),
        ("NO", "no"),
        ("10MB", "10 M"),
        ("10MiB", "10 M"),
        ("10485760", "10 M"),
        ("1024", "1 k"),
        ("2048B", "2 k"),
        ("1500", "1500 B"),
        ("1 kB", "1 k"),
        ("1T", "1 T"),
        ("60s", "1 mins"),
        ("60seconds", "1 mins"),
        ("2 m", "2 mins"),
        ("2minutes", "2 mins"),
        ("7d", "1 weeks"),
        ("24 hours", "1 days"),
        ("36h", "36 hours"),
        ("1000ms", "1 secs"),
        ("500ms", "500 ms"),
        ("0s", "0"),
        ("0", "00"),
        ("0600", "0600"),
        ("00600", "0600"),
        ("007", "7"),
        (" a b ", "a b"),
    ],
)
def test_same(written, printed):
    assert is_same(written, printed)


@pytest.mark.parametrize(
    "written, printed",
    [
        ("600", "01130"),
        ("1", "0"),
        ("1", "no"),
        ("10M", "10 k"),
        ("60s", "2 mins"),
        ("a", ""),
        ("", "0"),
        ("A", "a"),
        ("a  b", "a b"),
        ("x1 m", "x1 mins"),
        ("²", "2"),
    ],
)
def test_different(written, printed):
    assert not is_same(written, printed)
