# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a report is shown."""

import pytest
from ansible import constants as C

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _report as report

LINES = [
    "ERROR    mx1: no sync can start.  [peer_unreachable]",
    "         fix:      start it",
    "WARNING  mx1: slow",
    "2",
]


@pytest.fixture
def displayed(monkeypatch):
    calls = []

    class Recorder:
        def display(self, text, **about):
            calls.append((text, about))

    monkeypatch.setattr(report, "Display", Recorder)
    return calls


def test_lines_are_shown_as_they_are(displayed):
    report.show(LINES)
    assert [text for text, about in displayed] == LINES
    assert [about["color"] for text, about in displayed] == [C.COLOR_ERROR, None, C.COLOR_CHANGED, None]


@pytest.mark.parametrize(
    "callback, on_stderr",
    [("default", False), ("ansible.builtin.minimal", False), ("json", True), ("ansible.posix.jsonl", True)],
)
def test_what_a_program_reads_is_not_disturbed(displayed, monkeypatch, callback, on_stderr):
    monkeypatch.setattr(C, "DEFAULT_STDOUT_CALLBACK", callback)
    report.show(["a"])
    assert displayed[0][1]["stderr"] is on_stderr
