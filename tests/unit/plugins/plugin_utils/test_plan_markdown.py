# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as a comment: it fits, says what it leaves out, and nothing in it becomes markup."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_file as model
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._plan_markdown import block, code, markdown

COLLECTION = {"name": "mailops.dovecot_replication", "version": "1.2.3"}
LIMIT_OF_A_COMMENT = 65536


def shown(**hosts):
    return markdown(model.build("setup", COLLECTION, {name: {**model.empty_host(), **hosts[name]} for name in hosts}))


def users(names):
    return {"task": "List", "action": "m.d.replicator_user", "kind": "users", "added": names, "removed": []}


def test_long_lists_are_cut_with_a_note():
    text = shown(mx1={"changes": [users([f"user{number:06}" for number in range(100_000)])]})
    assert len(text.encode()) < 5000
    assert "100000 users added" in text and "+ user000049" in text and "user000050" not in text
    assert "... and 99950 more names, see plan.json" in text


def test_long_diffs_are_cut_with_a_note():
    diff = "".join(f"+line {number}\n" for number in range(1000))
    text = shown(mx1={"changes": [{"task": "W", "action": "copy", "kind": "files", "diff": diff}]})
    assert "+line 149\n" in text and "+line 150\n" not in text and "... and 850 more lines" in text


@pytest.mark.parametrize("letter", ["x", "ü", "\N{GRINNING FACE}"])
def test_many_hosts_fit_into_a_comment_and_those_that_failed_come_first(letter):
    change = {
        "task": "W",
        "action": "copy",
        "kind": "files",
        "diff": "".join(f"+{letter * 70}\n" for dummy in range(120)),
    }
    hosts = {f"mx{number:03}": {"changes": [change]} for number in range(150)}
    hosts["mx149"] = {"failed": [{"task": "T", "message": "\n".join(["refused because"] + [letter * 90] * 30)}]}
    text = shown(**hosts)
    assert len(text) <= len(text.encode()) < LIMIT_OF_A_COMMENT
    assert "refused because" in text
    whole, brief = text.count("<details>"), text.count("\n- <code>W</code>: 1 file\n")
    assert whole > 0 and brief > 0
    assert f"{brief} of 150 hosts are shown without details, {149 - whole - brief} not at all" in text
    assert "50 more hosts are in `plan.json`" in text
    assert text.count("<details>") == text.count("</details>")
    assert text.index("### `mx000`") < text.index("### `mx149`")


def test_nothing_is_left_out_of_a_short_one():
    text = shown(mx1={"changes": [users(["a"])]}, mx2={"in_order": ["Write"]})
    assert "Too long" not in text and "plan.json" not in text and "| `mx2` |  | in order |" in text


def test_what_is_said_beside_a_change():
    change = {"task": "W", "action": "copy", "kind": "files", "diff": "+x\n", "delegated_to": "mx2", "done": True}
    text = shown(
        mx1={"changes": [change], "not_previewed": [{"task": "T", "why": "it is a command"}], "left_out": ["Reload"]}
    )
    assert "on <code>mx2</code>, already done, as this task runs in check mode too" in text
    assert "- **Not previewed**: `T`: `it is a command`" in text
    assert "Only done for real: 1" in text and "- `Reload`" in text


@pytest.mark.parametrize(
    "text, inline",
    [
        ("plain", "`plain`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("a|b\nc", "`a\\|b c`"),
    ],
)
def test_inline_code(text, inline):
    assert code(text) == inline


def test_a_block_ends_where_it_should():
    assert block("```\nx\n", "diff") == "````diff\n```\nx\n````\n"


def test_names_are_no_markup():
    hostile = "</details><img src=x> @somebody\n# title"
    change = {"task": hostile, "action": "copy", "kind": "files", "diff": f"+{hostile}\n```\n", "item": hostile}
    text = shown(mx1={"changes": [change, users([hostile])], "failed": [{"task": hostile, "message": hostile}]})
    outside, fence = [], None
    for line in text.splitlines():
        if fence:
            fence = None if line == fence else fence
        elif line.startswith("```"):
            fence = line.rstrip("dif")
        else:
            outside.append(line)
    assert fence is None
    assert not [line for line in outside if "@somebody" in line and "`" not in line and "<code>" not in line]
    assert not [line for line in outside if "<img" in line and "`" not in line]
    assert "# title" not in outside
    assert outside.count("</details>") == sum(line.startswith("<details><summary>") for line in outside) == 2
