# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which deprecations fail a live test: those that the code of this collection causes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

import runs  # noqa: E402

WARNING = "[DEPRECATION WARNING]: {}. This feature will be removed\nfrom {}. Deprecation warnings can be disabled."


@pytest.mark.parametrize(
    "origin, is_own",
    [
        ("ansible-core version 2.23", True),
        ("ansible.builtin version 2.23", True),
        ("mailops.dovecot_replication in version 2.0.0", True),
        ("collection 'mailops.dovecot_replication' version 2.0.0", True),
        ("a future release", True),
        ("community.general in version 13.0.0", False),
        ("collection 'ansible.posix' version 3.0.0", False),
    ],
)
def test_what_is_shown(origin, is_own):
    shown = f"ok\n{WARNING.format('It is old', origin)}\n[WARNING]: other\n"
    assert bool(runs.own_deprecations(shown)) is is_own


def test_several_and_none():
    shown = "\n\n".join(WARNING.format(text, "ansible-core version 2.23") for text in ("One", "Two"))
    assert [text[:3] for text in runs.own_deprecations(shown)] == ["One", "Two"]
    assert runs.own_deprecations("[WARNING]: something else\n") == []


@pytest.mark.parametrize(
    "entry, is_own",
    [
        ({"msg": "m", "collection_name": "mailops.dovecot_replication"}, True),
        ({"msg": "m", "collection_name": None}, True),
        ({"event": {"msg": "m"}, "deprecator": {"resolved_name": "ansible.builtin"}}, True),
        ({"msg": "m", "collection_name": "community.general"}, False),
        ({"event": {"msg": "m"}, "deprecator": {"resolved_name": "community.general"}}, False),
    ],
)
def test_what_is_in_a_result(entry, is_own):
    for result in {"deprecations": [entry]}, {"results": [{}, {"deprecations": [entry]}]}:
        if is_own:
            with pytest.raises(AssertionError):
                runs.see_no_deprecation(result)
        else:
            runs.see_no_deprecation(result)
