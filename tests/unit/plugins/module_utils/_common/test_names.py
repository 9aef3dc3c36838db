# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""User names and masks."""

import re

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import (
    check_names,
    differing_in_case,
    enumerated,
    mask_matcher,
    names_in_file,
    packed,
    unpacked,
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


def test_names_in_a_file():
    content = (
        "\ufeff# exactly these\nalice@example.org  # in the office\r\n\n  jürgen@example.org\n#bob\na#b\nJohn Doe\n"
    )
    names = ["alice@example.org", "jürgen@example.org", "a#b", "John Doe"]
    assert names_in_file(content.encode(), "users.txt") == names
    assert names_in_file(content.rstrip().encode(), "users.txt") == names


@pytest.mark.parametrize(
    "content, told",
    [
        (b"a\nb\xff\n", "line 2 is no UTF-8"),
        (b"a\n\n*@example.org\n", "'*@example.org' in line 3 is a mask"),
        (b"a\nb\tc\n", "'b\\tc' in line 2 has a character that cannot be printed"),
        (b"a\0\n", "in line 1 has a character"),
        (b"a\nb\na # again\n", "'a' in line 3 is in line 1 already"),
        (b"", "no line has a name"),
        (b"# a\n\n", "no line has a name"),
    ],
)
def test_a_file_that_is_not_right(content, told):
    with pytest.raises(DovecotError, match=re.escape(told)) as raised:
        names_in_file(content, "users.txt")
    assert str(raised.value).startswith("Reading users_file users.txt failed: ")


def test_packed_names_are_the_same():
    names = [f"user{number}@example.org" for number in range(5000)] + ["ü", "a\nb", "\udc80"]
    assert unpacked(packed(names)) == names and len(packed(names)) < 40000
