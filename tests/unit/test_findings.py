# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of all findings is what the rules say. MAILOPS_UPDATE_DOCS=1 writes it."""

import os
import re
from pathlib import Path

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._diagnosis import (
    COMES_LATER,
    PAIR_RULES,
    RULES,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "findings.md"
PLACEHOLDER = re.compile(r"%[(]\w+[)]s")
HEAD = """# All findings

`verify`, and `setup` with `replication_verify`, report these. An error makes the run fail, a warning does so with
`replication_fail_on: warning`. A finding comes with its evidence and its fix. In the sentences below `...` stands for
what varies.

The unit tests compare this page with the rules in `plugins/plugin_utils/_diagnosis.py`.

| finding | severity | what is wrong |
|---|---|---|
"""


def test_each_finding_is_on_the_page_once():
    rules = [*RULES, *PAIR_RULES, COMES_LATER]
    rows = {f"| `{rule.id}` | {rule.severity} | {PLACEHOLDER.sub('...', rule.summary)} |" for rule in rules}
    assert len({rule.id for rule in rules}) == len(rows)
    text = HEAD + "".join(f"{row}\n" for row in sorted(rows))
    if os.environ.get("MAILOPS_UPDATE_DOCS"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text
