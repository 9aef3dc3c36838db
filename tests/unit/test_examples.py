# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pipelines in docs/examples and our own are what GitHub and GitLab accept.

The integration tests run the main commands of the examples.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / "docs" / "examples" / "github" / "replication-plan.yml"
GITLAB = ROOT / "docs" / "examples" / "gitlab" / ".gitlab-ci.yml"
OWN = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("lab", "tools")]

from cores import CORES  # noqa: E402
from lab import RELEASES  # noqa: E402
from run_molecule import MATRIX  # noqa: E402


def tool(name):
    return os.path.join(os.path.dirname(sys.executable), name)


@pytest.mark.parametrize(
    "schema, path",
    [
        *[("vendor.github-workflows", path) for path in (GITHUB, *OWN)],
        ("vendor.gitlab-ci", GITLAB),
        ("vendor.dependabot", ROOT / ".github" / "dependabot.yml"),
    ],
    ids=lambda value: getattr(value, "stem", None),
)
def test_valid_for_the_vendor(schema, path):
    command = [tool("check-jsonschema"), "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def scripts():
    for where, path in [("github", GITHUB), *(("own", path) for path in OWN)]:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job["steps"]:
                if "run" in step:
                    yield f"{where}: {step['name']}", step["run"]
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


def test_our_own_runs_sanity_on_each_ansible_core():
    own = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert own["jobs"]["sanity"]["strategy"]["matrix"]["core"] == list(CORES)
    assert own["on"]["schedule"] and "pull_request" in own["on"]


def test_our_own_runs_everything_that_make_test_runs():
    own = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    releases = " ".join(own["integration"]["strategy"]["matrix"]["releases"]).split()
    assert sorted(releases) == sorted(RELEASES)
    runs = " ".join(step.get("run", "") for job in own.values() for step in job["steps"])
    assert all(part in runs for part in ("lint", "docs", "units", "sanity", "integration", "molecule"))


def test_our_own_runs_what_there_is():
    """Each molecule scenario, on a release that it is for, and targets of the Makefile."""
    own = [yaml.safe_load(path.read_text())["jobs"] for path in OWN]
    scenarios = own[0]["molecule"]["strategy"]["matrix"]["scenario"]
    named = [tuple(scenario.split(":")) for scenario in scenarios]
    assert set(named) <= set(MATRIX) and {name for name, _release in named} == {name for name, _release in MATRIX}
    steps = [step.get("run", "") for jobs in own for job in jobs.values() for step in job["steps"]]
    targets = [
        word for step in steps for words in re.findall(r"^make ((?:[a-z-]+ ?)+)", step, re.M) for word in words.split()
    ]
    makefile = (ROOT / "Makefile").read_text()
    assert len(targets) > 8 and [name for name in targets if not re.search(rf"^{name}:", makefile, re.M)] == []
