# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pipelines in docs/examples are what GitHub and GitLab accept. The integration tests run their main commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / "docs" / "examples" / "github" / "replication-plan.yml"
GITLAB = ROOT / "docs" / "examples" / "gitlab" / ".gitlab-ci.yml"


def tool(name):
    return os.path.join(os.path.dirname(sys.executable), name)


@pytest.mark.parametrize("schema, path", [("vendor.github-workflows", GITHUB), ("vendor.gitlab-ci", GITLAB)])
def test_valid_for_the_vendor(schema, path):
    command = [tool("check-jsonschema"), "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def scripts():
    github = yaml.safe_load(GITHUB.read_text())
    for step in github["jobs"]["replication"]["steps"]:
        if "run" in step:
            yield f"github: {step['name']}", step["run"]
    gitlab = yaml.safe_load(GITLAB.read_text())
    for job in ("default", "plan", "apply"):
        lines = [line for part in ("before_script", "script", "after_script") for line in gitlab[job].get(part, [])]
        yield f"gitlab: {job}", "\n".join(lines)


@pytest.mark.parametrize("script", [pytest.param(text, id=name) for name, text in scripts()])
def test_shell(script):
    # An expression of GitHub in a script would let whoever opens a pull request run what they want.
    assert "${{" not in script
    command = [tool("shellcheck"), "--shell", "bash", "--exclude", "SC2154", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
