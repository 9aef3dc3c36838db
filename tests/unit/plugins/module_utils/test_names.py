# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""User names and masks."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._names import check_names, mask_matcher


@pytest.mark.parametrize(
    "mask, name, expected",
    [
        ("*", "alice@example.org", True),
        ("*", "", True),
        ("*@example.org", "alice@example.org", True),
        ("*@example.org", "alice@example.org.evil", False),
        ("*@example.org", "alice@exampleXorg", False),
        ("a?ice@*", "alice@example.org", True),
        ("a?ice@*", "allice@example.org", False),
        ("ALICE@*", "alice@example.org", False),
        ("alice", "alice@example.org", False),
        ("new*line", "new\nline", True),
        ("?", "ü", False),
        ("??", "ü", True),
        ("[a]*", "abc", False),
        ("[a]*", "[a]bc", True),
        ("a\\*", "a\\b", True),
        ("alice@example.org", "alice@example.org\n", False),
    ],
)
def test_masks(mask, name, expected):
    assert mask_matcher(mask)(name) is expected


@pytest.mark.parametrize("name", ["", "*", "a*@example.org", "a?", "nul\0"])
def test_what_is_no_name(name):
    with pytest.raises(DovecotError):
        check_names(["fine@example.org", name])


def test_names_with_odd_characters_are_names():
    check_names(["-dash@example.org", "o'neil@example.org", "tab\there", "ünï", "%u", "[a]"])
