#!/usr/bin/env python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes what comes from the table of conditions: rules for Prometheus, their tests for promtool, a dashboard."""

import json
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".venv" / "collections"))

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.conditions import (  # noqa: E402
    CONDITIONS,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.metrics import HELP  # noqa: E402

FOLDER = ROOT / "extensions" / "monitoring"
RULES, TESTS, DASHBOARD = FOLDER / "rules.yml", FOLDER / "rules_test.yml", FOLDER / "dashboard.json"
PAGE = yaml.safe_load((ROOT / "galaxy.yml").read_text())["repository"] + "/blob/main/docs/troubleshooting.md"
HEAD = """---
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Written by `make monitoring` from plugins/module_utils/_monitoring/conditions.py.
# yamllint disable

"""
INSTANCE = "mx1.example.org:9100"
WHERE = "{{ with $labels.instance }}{{ . }}: {{ end }}"


def lasting(seconds):
    """A duration as Prometheus writes it."""
    return f"{seconds // 3600}h" if seconds and seconds % 3600 == 0 else f"{seconds // 60}m"


def description(condition):
    finding = f" verify names it {condition.finding}." if condition.finding else ""
    return f"Run ansible-playbook mailops.dovecot_replication.verify, which tells the cause.{finding}"


def url(condition):
    return f"{PAGE}#{condition.name.lower()}"


def rules():
    """The rules for Prometheus."""
    found = []
    for condition in CONDITIONS:
        times = {"for": lasting(condition.seconds)} if condition.seconds else {}
        times |= {"keep_firing_for": lasting(condition.keep)} if condition.keep else {}
        found.append(
            {
                "alert": condition.name,
                "expr": condition.expression,
                **times,
                "labels": {"severity": condition.severity},
                "annotations": {
                    "summary": WHERE + condition.summary,
                    "description": description(condition),
                    "runbook_url": url(condition),
                },
            }
        )
    return {"groups": [{"name": "dovecot-replication", "rules": found}]}


# A healthy host for five hours, a value each minute: what its metrics are.
LENGTH = 300
HEALTHY = {
    "dovecot_replicator_up": "1x300",
    "dovecot_replicator_collected_timestamp_seconds": "0+60x300",
    "dovecot_replicator_on_hold": "0x300",
    "dovecot_replicator_full_sync_interval_seconds": "3600x300",
    "dovecot_replicator_known_users": "100x300",
    "dovecot_replicator_userdb_users": "100x300",
    "dovecot_replicator_failing_users": "0x300",
    "dovecot_replicator_longest_running_sync_seconds": "0x300",
    "dovecot_replicator_deaf": "0x300",
    'dovecot_replicator_queued_users{priority="high"}': "0x300",
    'dovecot_replicator_queued_users{priority="low"}': "0x300",
    'dovecot_replicator_running_syncs{type="full"}': "0x300",
    'dovecot_replicator_running_syncs{type="normal"}': "0x300",
    "dovecot_replicator_oldest_full_sync_timestamp_seconds": "0+60x300",
    "dovecot_replication_verified_timestamp_seconds": "0x300",
    'dovecot_replication_finding{id="peer_unreachable",severity="error"}': "0x300",
}
NO_ANSWER = {name: None for name in HEALTHY if name.startswith("dovecot_replicator_")} | {
    "dovecot_replicator_up": "0x300",
    "dovecot_replicator_collected_timestamp_seconds": "0+60x300",
    "dovecot_replicator_on_hold": "0x300",
}
HIGH, LOW = (f'dovecot_replicator_queued_users{{priority="{name}"}}' for name in ("high", "low"))
FULL, NORMAL = (f'dovecot_replicator_running_syncs{{type="{name}"}}' for name in ("full", "normal"))
FAILING, LONGEST = "dovecot_replicator_failing_users", "dovecot_replicator_longest_running_sync_seconds"
OLDEST, COLLECTED = (
    "dovecot_replicator_oldest_full_sync_timestamp_seconds",
    "dovecot_replicator_collected_timestamp_seconds",
)
# What is other than on a healthy host, and the alerts that fire after so many minutes; no others do.
SCENARIOS = {
    "a healthy host": ({}, {290: []}),
    "a busy host: always something queued, and running": (
        {HIGH: "5 80 30 2 60x296", NORMAL: "10x300", LONGEST: "4x300"},
        {60: [], 290: []},
    ),
    "a host freshly started: everyone queued for a full sync, fewer each minute": (
        {LOW: "100-2x50 0x250", FULL: "10x50 0x250", LONGEST: "30x50 0x250", OLDEST: "0x50 3000+60x250"},
        {20: [], 40: [], 290: []},
    ),
    "a passive host, which syncs nothing itself": ({OLDEST: "0+60x300"}, {290: []}),
    "a failed user for ten minutes": ({FAILING: "0x10 1x10 0x280"}, {15: [], 20: [], 40: []}),
    "one failing user, and for how long it is told": (
        {FAILING: "0x10 1x60 0x230"},
        {24: [], 27: ["UsersFailing"], 75: ["UsersFailing"], 90: []},
    ),
    "many failing users": (
        {FAILING: "30x300"},
        {9: [], 12: ["ManyUsersFailing"], 20: ["ManyUsersFailing", "UsersFailing"]},
    ),
    "one of four users fails, which is not many": (
        {FAILING: "1x300", "dovecot_replicator_known_users": "4x300", "dovecot_replicator_userdb_users": "4x300"},
        {60: ["UsersFailing"]},
    ),
    "a peer that accepts and does not answer": (
        {NORMAL: "10x300", LONGEST: "0+60x300", HIGH: "1+2x300"},
        {9: [], 12: ["SyncStuck"], 29: ["SyncStuck"], 40: ["SyncStuck", "QueueGrowing"]},
    ),
    "a full sync that takes an hour": ({FULL: "1x300", LONGEST: "0+30x300"}, {60: [], 200: [], 245: ["SyncStuck"]}),
    "a service that is not told of changes": (
        {"dovecot_replicator_deaf": "0x10 1x290"},
        {15: [], 25: ["ChangesNotTold"]},
    ),
    "a queue that stands": ({HIGH: "3x300"}, {10: [], 20: ["QueueStanding"]}),
    "a replicator that does not answer": (NO_ANSWER, {4: [], 7: ["ReplicatorDown"]}),
    "a replicator that is restarted": (
        {"dovecot_replicator_up": "1x10 0x2 1x287"},
        {11: [], 12: [], 20: []},
    ),
    "a collector that has stopped": ({COLLECTED: "0+60x30 1800x270"}, {35: [], 45: ["MetricsStale"]}),
    "no metrics at all": ({name: None for name in HEALTHY}, {0: [], 1: [], 3: ["MetricsStale"]}),
    "a scrape that fails": ({COLLECTED: "0+60x10 stale 720+60x288"}, {11: [], 12: [], 14: []}),
    "full syncs that do not run": ({OLDEST: "0x300"}, {179: [], 185: ["FullSyncOverdue"]}),
    "users who are not on the list": ({"dovecot_replicator_known_users": "90x300"}, {29: [], 32: ["UsersMissing"]}),
    "a drained host": (
        {"dovecot_replicator_on_hold": "1x300", HIGH: "1+1x300", OLDEST: "0x300"},
        {60: [], 239: [], 245: ["OnHold"]},
    ),
    "what verify has found": (
        {'dovecot_replication_finding{id="peer_unreachable",severity="error"}': "0x10 1x290"},
        {9: [], 12: ["Finding"]},
    ),
    "verify that has not run for two days": (
        {name: "_x2900" for name in HEALTHY}
        | {COLLECTED: "0+60x2900", "dovecot_replication_verified_timestamp_seconds": "0x2900"},
        {2870: [], 2890: ["VerifyOld"]},
    ),
}


def series_of(changed):
    """The series of a scenario, as promtool takes them."""
    found = []
    for name, values in {**HEALTHY, **changed}.items():
        if values is not None:
            metric, _brace, labels = name.partition("{")
            labels = f'instance="{INSTANCE}"' + ("," + labels.rstrip("}") if labels else "")
            found.append({"series": f"{metric}{{{labels}}}", "values": values})
    return found


def expected(condition, changed):
    """An alert of a scenario."""
    labels = {"severity": condition.severity, "instance": INSTANCE}
    summary = f"{INSTANCE}: {condition.summary}"
    if condition.name.endswith("Finding"):
        labels["id"] = "peer_unreachable"
        summary = summary.replace("{{ $labels.id }}", "peer_unreachable")
    if condition.name.endswith("MetricsStale") and COLLECTED in changed and changed[COLLECTED] is None:
        del labels["instance"]
        summary = condition.summary
    annotations = {"summary": summary, "description": description(condition), "runbook_url": url(condition)}
    return {"exp_labels": labels, "exp_annotations": annotations}


def short(condition):
    return condition.name.replace("DovecotReplication", "").replace("Dovecot", "")


def tests():
    """The tests for promtool: in each scenario, each alert fires when it should, and only then."""
    found = []
    for name, (changed, moments) in SCENARIOS.items():
        checks = [
            {
                "eval_time": f"{minute}m",
                "alertname": condition.name,
                "exp_alerts": [expected(condition, changed)] if short(condition) in firing else [],
            }
            for minute, firing in moments.items()
            for condition in CONDITIONS
        ]
        found.append({"name": name, "interval": "1m", "input_series": series_of(changed), "alert_rule_test": checks})
    return {"rule_files": [RULES.name], "evaluation_interval": "1m", "tests": found}


# Title, unit, description, and what is drawn: expression and legend.
PANELS = [
    (
        "Failing users",
        "short",
        "Users whose last sync failed.",
        [("dovecot_replicator_failing_users", "{{instance}}")],
    ),
    (
        "Queued users",
        "short",
        "Users with changes that wait for a sync, by host.",
        [("sum without (priority) (dovecot_replicator_queued_users)", "{{instance}}")],
    ),
    (
        "Running syncs",
        "short",
        "Syncs under way, and how many there may be.",
        [
            ("sum without (type) (dovecot_replicator_running_syncs)", "{{instance}}"),
            ("dovecot_replicator_max_connections", "{{instance}} at most"),
        ],
    ),
    (
        "Oldest sync under way",
        "s",
        "A sync that runs for more than ten minutes is stuck, a full one after two hours.",
        [("dovecot_replicator_longest_running_sync_seconds", "{{instance}}")],
    ),
    (
        "Age of the oldest full sync",
        "s",
        "It stays below the interval and two hours, on a host that takes no mail, too.",
        [
            ("time() - dovecot_replicator_oldest_full_sync_timestamp_seconds", "{{instance}}"),
            ("dovecot_replicator_full_sync_interval_seconds", "{{instance}} interval"),
        ],
    ),
    (
        "Users",
        "short",
        "Users on the replicator's list and in the userdb.",
        [
            ("dovecot_replicator_known_users", "{{instance}} on the list"),
            ("dovecot_replicator_userdb_users", "{{instance}} in the userdb"),
        ],
    ),
    (
        "Since the last verify",
        "s",
        "Time since the playbook verify ran.",
        [("time() - dovecot_replication_verified_timestamp_seconds", "{{instance}}")],
    ),
    (
        "Findings of verify",
        "short",
        "What the last run of the playbook verify found.",
        [("dovecot_replication_finding == 1", "{{instance}} {{id}}")],
    ),
]


def selected(expression):
    """An expression for the hosts that are chosen in the dashboard."""
    for name in sorted(HELP, key=len, reverse=True):
        if name in expression:
            return expression.replace(name, name + '{job=~"$job",instance=~"$instance"}')
    raise ValueError(expression)


def variable(name, label):
    query = f"label_values(dovecot_replicator_up, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": "labels"},
        "definition": query,
        "includeAll": True,
        "allValue": ".+",
        "multi": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
    }


def dashboard():
    """A dashboard for Grafana."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels = [
        {
            "id": number,
            "title": title,
            "description": told,
            "type": "timeseries",
            "datasource": source,
            "gridPos": {"h": 8, "w": 12, "x": (number - 1) % 2 * 12, "y": (number - 1) // 2 * 8},
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
            "targets": [
                {"refId": chr(65 + index), "expr": selected(expression), "legendFormat": legend, "datasource": source}
                for index, (expression, legend) in enumerate(drawn)
            ],
        }
        for number, (title, unit, told, drawn) in enumerate(PANELS, 1)
    ]
    chosen = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return {
        "title": "Dovecot replication",
        "uid": "dovecot-replication",
        "tags": ["dovecot"],
        "editable": True,
        "schemaVersion": 39,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [chosen, variable("job", "Job"), variable("instance", "Host")]},
        "panels": panels,
    }


def written():
    """The files, with the texts that they should have."""
    options = {"sort_keys": False, "width": 118, "allow_unicode": True}
    return {
        RULES: HEAD + yaml.safe_dump(rules(), **options),
        TESTS: HEAD + yaml.safe_dump(tests(), **options),
        DASHBOARD: json.dumps(dashboard(), indent=2) + "\n",
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in written().items():
        path.write_text(text)
