# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is generated for monitoring is what the code says, and leads to pages that exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "tools"))

import monitoring  # noqa: E402
import standalone  # noqa: E402

WRITTEN = {**monitoring.written(), **{path: standalone.generated(path) for path in standalone.PROGRAMS}}
COLLECTOR, ROUNDS = standalone.PROGRAMS


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_files_are_what_is_written(path):
    assert path.read_text() == WRITTEN[path], f"{path} is not what `make monitoring` writes"


def test_the_collector_is_one_file_that_runs():
    asked = subprocess.run(
        [sys.executable, "-I", COLLECTOR, "--config", "/nonexistent", "--check"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert asked.returncode == 3 and asked.stdout.startswith("UNKNOWN - FileNotFoundError") and not asked.stderr


def test_two_modules_with_one_name_are_refused(monkeypatch):
    monkeypatch.setattr(standalone, "defined", lambda tree: ["same"])
    with pytest.raises(standalone.Clash, match="same is defined in"):
        standalone.generated(COLLECTOR)


def test_each_alert_leads_to_a_section_and_has_a_test():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    sections = re.findall(r"^### (Dovecot\w+)$", page, re.M)
    assert sections == sorted(sections, key=page.index)
    assert set(sections) == {condition.name for condition in monitoring.CONDITIONS}
    firing = {name for dummy, moments in monitoring.SCENARIOS.values() for names in moments.values() for name in names}
    assert firing == {monitoring.short(condition) for condition in monitoring.CONDITIONS}
    quiet = [name for name, (dummy, moments) in monitoring.SCENARIOS.items() if not any(moments.values())]
    assert len(quiet) >= 6


def test_the_dashboard_is_as_grafanas_linter_wants_it():
    """Its docs/index.md: sources by a variable, titles, units, descriptions, job and instance."""
    board = json.loads(monitoring.DASHBOARD.read_text())
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "job", "instance"]
    for panel in board["panels"]:
        assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert 'job=~"$job",instance=~"$instance"' in target["expr"] and target["legendFormat"]
