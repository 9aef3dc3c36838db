# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""User names and masks."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import (
    check_names,
    differing_in_case,
    enumerated,
    mask_matcher,
)


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


def test_names_that_differ_in_case_only():
    listed = ["Alice@x", "alice@x", "bob@x", "ALICE@X", "alice@y"]
    assert differing_in_case(listed, ["alice@x", "bob@x"]) == {"Alice@x", "ALICE@X"}
    assert differing_in_case(listed, []) == set()


def test_a_message_names_some_and_counts_the_rest():
    assert enumerated(["a", "b"]) == "a, b"
    assert enumerated([str(number) for number in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"


@pytest.mark.parametrize("name", ["", "*", "a*@example.org", "a?", "nul\0"])
def test_what_is_no_name(name):
    with pytest.raises(DovecotError):
        check_names(["fine@example.org", name])


def test_names_with_odd_characters_are_names():
    check_names(["-dash@example.org", "o'neil@example.org", "tab\there", "ünï", "%u", "[a]"])
