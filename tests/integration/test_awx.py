# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs of awx/, run through ansible-runner as AWX runs them."""

import contextlib
import json
import re
import subprocess
import time
import uuid
from pathlib import Path

import pytest
import runs
import yaml
from conftest import EVERYONE, HOSTS, MX1, MX2
from controller import PROJECT, Controller, during, read_objects
from runs import succeeded

pytestmark = [
    pytest.mark.parametrize("pair", ["bullseye"], indirect=True),
    pytest.mark.usefixtures("tidied"),
]

ALICE = "alice@example.org"
PROBE = f"ansible_collections.{runs.COLLECTION}.plugins.modules.mailbox_probe"
SECRET = f"canary-{uuid.uuid4().hex}"
# Of modules; the tests' own programs are none of them.
PROCESSES = "ps -eo args | grep '[p]ython3' | grep -v -e agent.py -e warm_server.py"
FILES = "find /root/.ansible /tmp /etc/dovecot -newer /srv/began ! -type d"
# A wait is done in slices, of which the first one lasts this long.
SLICE_SECONDS = 5


@pytest.fixture(scope="module")
def controller(pair, tmp_path_factory):
    reached = yaml.safe_load(Path(pair.lab.inventory).read_text())["all"]
    key = Path(reached["vars"].pop("ansible_ssh_private_key_file")).read_text()
    del reached["vars"]["ansible_user"]
    # Jobs come without pipelining, and so as files that need a Python of their own.
    reached["vars"]["ansible_python_interpreter"] = runs.PYTHON
    made = Controller(
        tmp_path_factory.mktemp("awx"),
        {host: {**reached["vars"], **variables} for host, variables in reached["hosts"].items()},
        {
            "Root on the mail hosts": {"username": "root", "ssh_key_data": key},
            "Replication secret of mx": {"secret": SECRET},
        },
    )
    yield made
    # Neither in its events nor in anything else that AWX keeps of it.
    secrets = [SECRET, *key.splitlines()[1:-1]]
    shown = [job.template for job in made.jobs if job.showing(secrets)]
    succeeded(pair.play("setup"))
    assert not shown


def ran(job, status="successful"):
    assert job.status == status, job.output
    assert not runs.own_deprecations(job.output)
    return job


def result_of(job):
    """What it hands over to the jobs after it."""
    return job.artifacts["replication_result"]


@contextlib.contextmanager
def leaving_nothing(pair):
    """Sees that what a job has begun in here is gone soon after it, on both hosts."""

    def shown(host):
        return pair.shell(f"{PROCESSES}; {FILES}", host, check=False).stdout

    for host in HOSTS:
        pair.shell("touch /srv/began", host)
    yield
    deadline = time.monotonic() + SLICE_SECONDS + 3
    left = HOSTS
    while left and time.monotonic() < deadline:
        time.sleep(0.5)
        left = {host: traces for host in HOSTS if (traces := shown(host))}
    assert not left


# The last release of PyPI's package of all collections that has AWX's.
AWX_PACKAGE = "ansible~=12.0"
MODULES = {
    "controller_execution_environments": "execution_environment",
    "controller_projects": "project",
    "controller_inventories": "inventory",
    "controller_hosts": "host",
    "controller_groups": "group",
    "controller_credential_types": "credential_type",
    "controller_credentials": "credential",
    "controller_templates": "job_template",
    "controller_workflows": "workflow_job_template",
}


def check_options(documented, given, path):
    """Sees that options are those that a module documents, and have the types it wants."""
    kinds = {"str": str, "dict": dict, "list": list, "bool": bool, "int": int}
    assert set(given) <= set(documented), path
    for name, option in documented.items():
        if name not in given:
            assert not option.get("required"), (path, name)
            continue
        value = given[name]
        assert isinstance(value, kinds[option.get("type", "str")]), (path, name)
        assert value in option.get("choices", [value]), (path, name)
        if option.get("suboptions"):
            for entry in value if isinstance(value, list) else [value]:
                check_options(option["suboptions"], entry, (*path, name))


@pytest.mark.rare
def test_the_modules_of_awx_take_the_objects(pair, controller):
    """As far as can be told without an AWX: the playbook is sound, and options and types are those of the modules."""
    path = runs.with_collections(AWX_PACKAGE, "awx.awx")
    environment = runs.environment(ANSIBLE_COLLECTIONS_PATH=path, ANSIBLE_CONFIG=str(PROJECT / "ansible.cfg"))

    def command(*arguments):
        return subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True).stdout

    command("ansible-playbook", "--syntax-check", PROJECT / "configure.yml")
    used = re.findall(r"awx\.awx\.(\w+): .*\n *loop: .*(controller_\w+)", (PROJECT / "configure.yml").read_text())
    assert [(module, name) for name, module in MODULES.items()] == used and set(MODULES) == set(controller.objects)
    described = json.loads(command("ansible-doc", "--json", *[f"awx.awx.{module}" for module in MODULES.values()]))
    for name, module in MODULES.items():
        for entry in controller.objects[name]:
            check_options(described[f"awx.awx.{module}"]["doc"]["options"], entry, (name, entry["name"]))


def test_set_up_after_a_check_that_says_the_same(pair, controller):
    checked = ran(controller.launch("Replication - set up", job_type="check"))
    done = ran(controller.launch("Replication - set up", verbosity=4, replication_probe_user=ALICE))
    predicted, changed = ({name: res["changed"] for name, res in job.results(MX1).items()} for job in (checked, done))
    assert predicted.items() <= changed.items() and any(predicted.values())
    for host in HOSTS:
        assert SECRET in pair.shell("cat /etc/dovecot/replication-secret.conf.ext", host).stdout
    assert result_of(checked)["check_mode"] and not result_of(done)["check_mode"]
    assert result_of(done)["ok"] and set(result_of(done)["hosts"]) == set(HOSTS)


def test_resync_of_some(pair, controller):
    token = pair.save_unnoticed(ALICE)
    done = ran(
        controller.launch("Replication - resync", replication_user_mask="a*@example.org", replication_full="true")
    )
    assert result_of(done)["ok"] and result_of(done)["hosts"][MX1]["synced"] == 1
    assert pair.arrived(ALICE, token) is not None


@pytest.mark.torture
def test_jobs_that_are_rare(pair, controller):
    watched = ran(controller.launch("Replication - monitor"))
    assert result_of(watched)["hosts"][MX1]["state"] == "OK"
    pair.play("monitor", monitoring_state="absent")
    prepared = ran(controller.launch("Replication - prepare for Dovecot 2.4"))
    assert result_of(prepared)["hosts"][MX1]["to_convert"]
    ran(controller.launch("Replication - set up"))
    # The mail is the same on both hosts, so nothing is left to bring together.
    adopted = ran(controller.launch("Replication - adopt", replication_user_mask="a*@example.org"))
    assert result_of(adopted)["ok"] and result_of(adopted)["hosts"][MX1]["users"] == 1
    assert not any(answer["changed"] for answer in adopted.results(MX1).values())


@pytest.mark.rare
def test_a_page(pair, controller):
    """AWX keeps no files of a job, and so has the page among its artifacts."""
    job = ran(controller.launch("Replication - report", replication_hosts="mx", replication_report_names="false"))
    page = job.artifacts["replication_page"]
    assert "<h1>The pair is in order</h1>" in page and "Names of users are left out" in page
    assert result_of(job)["playbook"] == "verify" and result_of(job)["ok"]


@pytest.mark.rare
def test_a_host_in_trouble_does_not_hide_the_other(pair, controller):
    """Whether it cannot be reached or its Dovecot is down."""
    away = Controller(controller.home, {**controller.hosts, MX2: {"ansible_port": 1}}, controller.inputs)
    job = ran(away.launch("Replication - status"), "failed")
    controller.jobs += away.jobs
    assert result_of(job)["hosts"][MX1]["ok"] and not result_of(job)["hosts"][MX2]["ok"]
    assert result_of(job)["hosts"][MX1]["overview"]["known_users"] == len(EVERYONE)
    assert job.results(MX1) and "unreachable" in job.results(MX2, "runner_on_unreachable").popitem()[1]
    with pair.stopped():
        job = ran(controller.launch("Replication - resync", replication_resync_timeout=5), "failed")
    hosts = result_of(job)["hosts"]
    assert hosts[MX1]["failed"] == len(EVERYONE) and f"{len(EVERYONE)} failed" in hosts[MX1]["message"]
    assert "Dovecot" in hosts[MX2]["message"] and not result_of(job)["ok"]


@pytest.mark.rare
def test_cancelled_in_the_middle_of_a_wait(pair, controller):
    """A job is killed then. No user is lost from the list, nothing is on hold, and nothing goes on running."""

    def waiting(events):
        return ALICE in pair.shell("doveadm -f tab replicator dsync-status").stdout

    def guarded(events):
        """A shell, the module, and the process that sees to it that it loses no user."""
        return len(pair.shell(PROCESSES, check=False).stdout.splitlines()) == 3

    def resync(canceled, **answers):
        return controller.launch(
            "Replication - resync", replication_full="true", replication_from=MX1, canceled=canceled, **answers
        )

    with pair.silent():
        with leaving_nothing(pair):
            job = resync(waiting)
            assert ran(job, "canceled").artifacts == {}
        with leaving_nothing(pair):
            # A full sync of a user whose sync is running begins with a wait for its end.
            ran(resync(guarded, replication_user_mask=ALICE), "canceled")
        with leaving_nothing(pair):
            job = controller.launch("Replication - drain", canceled=during("Wait until everyone is synced"))
            ran(job, "canceled")
            assert "Hold or release replication" not in job.output
    assert pair.listed() == EVERYONE
    ran(controller.launch("Replication - resync"))


def test_a_probe_that_a_killed_job_has_left_behind(pair):
    """The next one removes it, once nobody can be waiting for it any more."""
    probe = pair.agent().module
    probe("mailbox_probe", user=ALICE, token="killed")
    assert probe("mailbox_probe", user=ALICE, token="next", state="absent")["found"] is False
    time.sleep(1.1)
    later = {"fault": f"import {PROBE} as probe; probe.LEFT_BEHIND = '0secs'"}
    assert probe("mailbox_probe", user=ALICE, token="next", state="absent", **later)["changed"] is True
    assert probe("mailbox_probe", user=ALICE, token="killed", state="arrived", wait_timeout=0)["found"] is False


@pytest.mark.rare
def test_a_pair_is_patched(pair, controller):
    done = ran(controller.launch("Mail hosts - patch"))
    assert {host: said["ok"] for host, said in done.artifacts["patch_result"]["hosts"].items()} == dict.fromkeys(
        HOSTS, True
    )
    outcome = ran(controller.launch("Mail hosts - outcome of patching", artifacts=done.artifacts))
    assert f"{MX1} is patched." in outcome.output and f"{MX2} is patched." in outcome.output
    assert ran(controller.launch("Mail hosts - outcome of patching"), "failed")


@pytest.mark.torture
def test_a_patch_that_fails(pair, controller):
    """Replication is released all the same, and the workflow is red, as a host was not patched."""
    with pair.replaced({"/etc/apt/apt.conf.d/99-broken": 'APT::Get::List-Cleanup "maybe'}, hosts=[MX1]):
        successful, jobs = controller.launch_workflow("Mail hosts - patch a pair")
    assert not successful
    assert {node: job.status for node, job in jobs.items()} == {
        **dict.fromkeys(["verify before", "drain", "release", "verify after"], "successful"),
        **dict.fromkeys(["patch", "outcome"], "failed"),
    }
    # Each has its own result, though it is given those of the jobs before it.
    handed_over = {node: result_of(job) for node, job in jobs.items() if "replication_result" in job.artifacts}
    assert {node: result["playbook"] for node, result in handed_over.items()} == {
        "verify before": "verify",
        "drain": "drain",
        "release": "drain",
        "verify after": "verify",
    }
    assert [handed_over[node]["hosts"][MX2]["hold"] for node in ("drain", "release")] == [True, False]
    assert f"{MX1} was not patched: " in jobs["outcome"].output
    assert f"{MX2} was not patched: its turn did not come." in jobs["outcome"].output


@pytest.mark.torture
def test_a_plan_is_approved_and_applied(pair, controller):
    """Denied, nothing is done; approved, just that is done; without a plan the job is refused."""
    workflow = "Replication - plan, approve and apply"
    settings = "/etc/dovecot/conf.d/11-replication.conf"
    pair.shell(f"sed -i 's/process_min_avail = 1/process_min_avail = 0/' {settings}; systemctl reload dovecot")
    seen = []

    def decide(answer):
        def approve(jobs):
            seen.append(ran(jobs["plan"]).artifacts["replication_plan"])
            return answer

        return approve

    successful, jobs = controller.launch_workflow(workflow, approve=decide(False))
    assert not successful and list(jobs) == ["plan"]
    assert "process_min_avail = 0" in pair.shell(f"cat {settings}").stdout
    successful, jobs = controller.launch_workflow(workflow, approve=decide(True))
    assert successful and "process_min_avail = 1" in pair.shell(f"cat {settings}").stdout
    assert result_of(jobs["apply"])["playbook"] == "setup" and result_of(jobs["apply"])["ok"]
    assert seen[0] == seen[1] and "process_min_avail" in seen[0]
    assert "There is no plan to apply" in ran(controller.launch("Replication - apply"), "failed").output


@pytest.mark.rare
def test_decommission(pair, controller):
    """What a check says; test_playbooks.py does it."""
    checked = ran(controller.launch("Replication - decommission", job_type="check", replication_hosts="mx"))
    assert all(host["ok"] and host["changed"] for host in result_of(checked)["hosts"].values())


def test_each_job_is_launched_by_a_test():
    """On its own or in a workflow; no job has shown a secret, the fixture sees to that."""
    objects = read_objects()
    text = Path(__file__).read_text()
    called = set(re.findall(r'launch\(\s*"([^"]+)"', text))
    for workflow in objects["controller_workflows"]:
        if f'"{workflow["name"]}"' in text:
            jobs = [node["unified_job_template"] for node in workflow["workflow_nodes"]]
            called |= {job["name"] for job in jobs if job["type"] != "workflow_approval"}
    # Those over the API are in test_api.py.
    assert {entry["name"] for entry in objects["controller_templates"] if "API" not in entry["name"]} == called
