# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of awx/ agree with each other, with the playbooks they run and with the pattern that is made of them."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from controller import PROJECT, answers_to, read_objects, run_nodes  # noqa: E402

OBJECTS = read_objects()
TEMPLATES = {template["name"]: template for template in OBJECTS["controller_templates"]}
PATCH, APPLY = OBJECTS["controller_workflows"]
IMPORTED = re.compile(r"import_playbook: mailops\.dovecot_replication\.(\w+)")
# What only a workflow can run, which patterns do not have.
IN_WORKFLOW = ("Replication - apply",)
PATTERN = ROOT / "extensions" / "patterns" / "replicate_mail"


def names(kind):
    return [entry["name"] for entry in OBJECTS[f"controller_{kind}"]]


def playbook_of(template):
    """The text of the playbook that a job template runs, that of this collection where it only imports that."""
    text = (PROJECT / template["playbook"]).read_text()
    imported = IMPORTED.search(text)
    return text + ((ROOT / "playbooks" / f"{imported[1]}.yml").read_text() if imported else "")


def test_each_playbook_has_a_job_template():
    run = [IMPORTED.findall((PROJECT / template["playbook"]).read_text()) for template in TEMPLATES.values()]
    assert set(sum(run, [])) == {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    assert {PROJECT / template["playbook"] for template in TEMPLATES.values()} == set(PROJECT.glob("playbooks/*.yml"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_job_template_refers_to_what_there_is(name):
    template = TEMPLATES[name]
    assert template["project"] in names("projects") and template["inventory"] in names("inventories")
    assert set(template["credentials"]) <= set(names("credentials"))
    # Else the survey would not be shown.
    assert template["survey_enabled"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_survey_asks_for_what_the_playbook_knows(name):
    specs = yaml.safe_load((ROOT / "roles" / "replication" / "meta" / "argument_specs.yml").read_text())
    options = {key: value for spec in specs["argument_specs"].values() for key, value in spec["options"].items()}
    playbook = playbook_of(TEMPLATES[name])
    for question in TEMPLATES[name]["survey_spec"]["spec"]:
        variable = question["variable"]
        assert variable in options or variable in playbook, variable
        if "choices" in options.get(variable, {}):
            assert question["choices"] == options[variable]["choices"]
        # AWX hands values over as !unsafe, which ansible-core since 2.19 cannot read where the value is one of these.
        assert question.get("default") not in ("*", "&", "!", "=")
        assert question["required"] != (question.get("default") == "")
    assert answers_to(TEMPLATES[name]["survey_spec"], {"replication_hosts": "mx"})["replication_hosts"] == "mx"


def test_credentials_have_the_inputs_of_their_types():
    types = {entry["name"]: entry for entry in OBJECTS["controller_credential_types"]}
    for credential in OBJECTS["controller_credentials"]:
        if credential["credential_type"] != "Machine":
            kind = types[credential["credential_type"]]["inputs"]
            assert set(kind["required"]) <= set(credential["inputs"]) <= {field["id"] for field in kind["fields"]}
        # A template, so that nobody writes a secret into these files.
        for name, value in credential["inputs"].items():
            assert name == "username" or re.fullmatch(r"\{\{ vault_\w+ \}\}", value)


@pytest.mark.parametrize("workflow", [PATCH, APPLY], ids=lambda workflow: workflow["name"])
def test_a_workflow_refers_to_what_there_is(workflow):
    nodes = {node["identifier"]: node for node in workflow["workflow_nodes"]}
    for node in nodes.values():
        if node["unified_job_template"]["type"] == "workflow_approval":
            continue
        spec = TEMPLATES[node["unified_job_template"]["name"]]["survey_spec"]["spec"]
        asked = {question["variable"] for question in spec}
        # AWX drops what is not asked for.
        assert {"replication_hosts", *node.get("extra_data", {})} <= asked
        for targets in node.get("related", {}).values():
            assert {target["identifier"] for target in targets} <= set(nodes)


SURVEY = {
    "spec": [
        {"variable": "text", "type": "text", "required": True, "min": 1},
        {"variable": "blank", "type": "text", "required": False, "default": ""},
        {"variable": "number", "type": "integer", "required": True, "min": 1, "max": 9, "default": 5},
        {"variable": "choice", "type": "multiplechoice", "required": True, "choices": ["a", "b"], "default": "a"},
    ]
}


def test_answers():
    assert answers_to(SURVEY, {"text": "x", "other": 1}) == {"text": "x", "blank": "", "number": 5, "choice": "a"}


@pytest.mark.parametrize(
    "given", [{}, {"text": ""}, {"text": "x", "number": "5"}, {"text": "x", "number": 10}, {"text": "x", "choice": "c"}]
)
def test_answers_that_are_refused(given):
    with pytest.raises(ValueError):
        answers_to(SURVEY, given)


# What fails, the nodes that run, and whether the workflow is green.
COURSES = [
    ([], "verify before, drain, patch, release, verify after, outcome", True),
    (["verify before"], "verify before", False),
    (["drain"], "verify before, drain, release, verify after, outcome", False),
    (["patch"], "verify before, drain, patch, release, verify after, outcome", False),
    (["release"], "verify before, drain, patch, release", False),
    (["verify after"], "verify before, drain, patch, release, verify after", False),
]


@pytest.mark.parametrize("failing, run, green", COURSES)
def test_the_way_that_the_workflow_takes(failing, run, green):
    ended = {}

    def end(node, before):
        # That the outcome is red when not all was patched is shown on live hosts.
        name = node["identifier"]
        ended[name] = name not in failing and (name != "outcome" or ended.get("patch", False))
        return ended[name]

    successful, said = run_nodes(PATCH["workflow_nodes"], end)
    assert (", ".join(ended), successful) == (run, green) and said == ended


def pattern():
    """Of the objects, what a pattern can have: templates that run a playbook of the collection, without variables."""
    (project,) = OBJECTS["controller_projects"]
    templates = []
    for name, template in TEMPLATES.items():
        ours = IMPORTED.search((PROJECT / template["playbook"]).read_text()) and name not in IN_WORKFLOW
        if ours and "extra_vars" not in template:
            spec = [
                {key: str(value) if key == "default" else value for key, value in question.items()}
                for question in template["survey_spec"]["spec"]
            ]
            templates.append(
                {
                    "name": name,
                    "description": template["description"],
                    "playbook": Path(template["playbook"]).name,
                    "primary": not templates,
                    "ask_inventory_on_launch": True,
                    "ask_credential_on_launch": True,
                    "ask_verbosity_on_launch": template["ask_verbosity_on_launch"],
                    "survey": {**template["survey_spec"], "spec": spec},
                }
            )
    return {
        "schema_version": "1.0",
        "name": PATTERN.name,
        "title": "Replicate mail between two Dovecot servers",
        "short_description": "Set up, watch and operate the replication of mail between two Dovecot 2.3 servers",
        "description": (
            "This pattern sets up Dovecot 2.3 replication on a pair of hosts and proves that mail arrives in both "
            "directions. Further jobs show its state, have users synced, hold it for maintenance and take it down."
        ),
        "tags": yaml.safe_load((ROOT / "galaxy.yml").read_text())["tags"],
        "aap_resources": {
            "controller_project": {"name": project["name"], "description": "The playbooks of the collection"},
            "controller_job_templates": templates,
        },
    }


def test_the_pattern_is_made_of_the_same_objects():
    path = PATTERN / "meta" / "pattern.json"
    if os.environ.get("MAILOPS_UPDATE_DOCS"):
        path.write_text(json.dumps(pattern(), indent=2) + "\n")
    assert json.loads(path.read_text()) == pattern()
    for template in pattern()["aap_resources"]["controller_job_templates"]:
        assert (PATTERN / "playbooks" / template["playbook"]).is_file()
