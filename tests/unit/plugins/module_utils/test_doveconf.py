# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of Dovecot."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveconf import parse_version


@pytest.mark.parametrize(
    "text, version",
    [
        ("2.3.19.1 (9b53102964)", (2, 3, 19, 1)),
        ("2.3.21 (47349e2482)", (2, 3, 21)),
        ("2.4.1-4 (7d8c0e5759)", (2, 4, 1, 4)),
        ("2.3.rc1", (2, 3)),
        ("", None),
        ("unknown", None),
    ],
)
def test_versions(text, version):
    assert parse_version(text) == version
