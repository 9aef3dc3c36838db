# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of awx/ put to work without an AWX: its jobs, as ansible-runner runs them there.

As in the source of AWX 24: which values of a survey become variables, how a type of credentials injects its inputs,
which files and arguments a job is given, and which way a workflow takes.
"""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import ansible_runner
import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment
from runs import ROOT, environment

PROJECT = ROOT / "awx"
# Of the types of questions, those that are asked.
TYPES = {"text": str, "multiplechoice": str, "integer": int}


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


# As AWX writes extra variables: none of them is a template, whoever launches a job.
_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("!unsafe", text))


def read_objects(directory=PROJECT / "controller"):
    """The objects of AWX that the files describe: a dict of lists by the names of their variables."""
    objects = {}
    for path in sorted(directory.glob("*.yml")):
        found = yaml.load(path.read_text(), _Loader)
        objects.update({name: value for name, value in found.items() if name.startswith("controller_")})
    return objects


def answers_to(survey, given):
    """The variables that a job gets from a survey; raises ValueError where AWX would refuse to launch it.

    Answers to what is not asked are ignored, as AWX ignores them.
    """
    variables = {}
    for question in survey["spec"]:
        name = question["variable"]
        if name in given:
            value = given[name]
        elif "default" in question:
            value = question["default"]
        elif question["required"]:
            raise ValueError(f"{name} value missing")
        else:
            continue
        if not isinstance(value, TYPES[question["type"]]):
            raise ValueError(f"{name}: {value!r} is no {question['type']}")
        size = value if question["type"] == "integer" else len(value)
        if size < question.get("min", size) or size > question.get("max", size):
            raise ValueError(f"{name}: {value!r} is out of bounds")
        if question["type"] == "multiplechoice" and value not in question["choices"]:
            raise ValueError(f"{name}: {value!r} is not among the choices")
        variables[name] = value
    return variables


def inventory_script(objects, name, host_variables):
    """What AWX's inventory script prints for an inventory; with variables for hosts that the files do not have."""
    groups = {
        group["name"]: {
            "hosts": group.get("hosts", []),
            "children": group.get("children", []),
            "vars": group.get("variables", {}),
        }
        for group in objects["controller_groups"]
        if group["inventory"] == name
    }
    hosts = {
        host["name"]: {**host.get("variables", {}), **host_variables[host["name"]]}
        for host in objects["controller_hosts"]
        if host["inventory"] == name
    }
    return {**groups, "all": {"hosts": list(hosts), "children": list(groups)}, "_meta": {"hostvars": hosts}}


class Job(NamedTuple):
    """A job that has ended: ``status`` as AWX calls it, and what it has left."""

    template: str
    status: str
    events: list
    directory: Path

    @property
    def artifacts(self):
        """What it has set with set_stats."""
        # A job that was cancelled has not come to that.
        return {
            name: value
            for event in self.events_of("playbook_on_stats")
            for name, value in event["event_data"]["artifact_data"].items()
        }

    @property
    def output(self):
        return "\n".join(event["stdout"] for event in self.events)

    def events_of(self, *kinds):
        return [event for event in self.events if event["event"] in kinds]

    def results(self, host=None, *kinds):
        """The results of tasks on a host, by the task's name."""
        kinds = kinds or ("runner_on_ok", "runner_on_failed", "runner_on_unreachable")
        data = [event["event_data"] for event in self.events_of(*kinds)]
        return {entry["task"].split(" : ")[-1]: entry["res"] for entry in data if host in (None, entry["host"])}

    def showing(self, secrets):
        """Which of the files that are kept of the job, each event in one, have a secret in them."""
        texts = {path.name: path.read_text() for path in (self.directory / "artifacts").rglob("*") if path.is_file()}
        assert {"stdout", "stderr", "command"} <= set(texts)
        assert sum(name.endswith(".json") for name in texts) == len(self.events) > 5
        return [name for name, text in texts.items() if any(secret in text for secret in secrets)]


class Controller:
    """Launches the job templates and workflows of awx/.

    :arg home: directory for what the jobs leave
    :arg hosts: a dict of variables for each host of the inventory: how it is reached
    :arg inputs: a dict with the inputs of each credential, in place of those in the files
    """

    def __init__(self, home, hosts, inputs):
        self.home = home
        self.hosts = hosts
        self.inputs = inputs
        self.objects = read_objects()
        # Those that have ended, in their order.
        self.jobs = []
        self._templates = self._by_name("controller_templates")

    def _by_name(self, kind):
        return {entry["name"]: entry for entry in self.objects[kind]}

    def launch(self, name, job_type="run", verbosity=0, artifacts=None, canceled=None, **answers):
        """Run a job template.

        :arg artifacts: what jobs before it in a workflow have set
        :arg canceled: function that tells by the events so far, a few times each second, whether the job is cancelled
        :arg answers: to the survey
        """
        template = self._templates[name]
        directory = Path(tempfile.mkdtemp(dir=self.home, prefix="job-"))
        for part in ("env", "inventory", "cp"):
            (directory / part).mkdir(mode=0o700)
        shutil.copytree(PROJECT, directory / "project")
        variables = answers_to(template["survey_spec"], answers) if template.get("survey_enabled") else {}
        # Who may write a job template may use templates in it.
        written = yaml.safe_dump(template["extra_vars"]) if "extra_vars" in template else ""
        given = {**variables, **(artifacts or {})}
        _write(directory / "env" / "extravars", written + (yaml.dump(given, Dumper=_Dumper) if given else ""))
        script = inventory_script(self.objects, template["inventory"], self.hosts)
        script = f"#!/usr/bin/env python3\nprint({json.dumps(script)!r})\n"
        _write(directory / "inventory" / "hosts", script, mode=0o700)
        command_line, ssh_key = self._inject(template["credentials"], directory)
        command_line += ["--check"] if job_type == "check" else []
        command_line += ["--diff"] if template.get("diff_mode") else []
        command_line += [f"-{'v' * verbosity}"] if verbosity else []
        _write(directory / "env" / "cmdline", " ".join(command_line))
        settings = {"suppress_ansible_output": True, "suppress_output_file": False, "pexpect_timeout": 0.2}
        _write(directory / "env" / "settings", json.dumps(settings))
        events = []
        killed = []

        def is_canceled():
            # The runner asks again until it sees that the job has ended, and goes by the last answer.
            if not killed and canceled and canceled(events):
                _kill_all(directory)
                killed.append(True)
            return bool(killed)

        run = ansible_runner.run(
            private_data_dir=str(directory),
            ident="1",
            playbook=template["playbook"],
            inventory=str(directory / "inventory" / "hosts"),
            envvars={
                "PATH": environment()["PATH"],
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv" / "collections"),
                # AWX finds it in the directory of the project; the tests have one of their own in their environment.
                "ANSIBLE_CONFIG": str(directory / "project" / "ansible.cfg"),
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory / "cp"),
                "ANSIBLE_HOST_KEY_CHECKING": "False",
                "ANSIBLE_RETRY_FILES_ENABLED": "False",
            },
            ssh_key=ssh_key,
            suppress_env_files=True,
            fact_cache_type="",
            event_handler=lambda event: events.append(event) or True,
            cancel_callback=is_canceled,
            quiet=True,
        )
        self.jobs.append(Job(name, run.status, events, directory))
        return self.jobs[-1]

    def _inject(self, names, directory):
        """What credentials bring into a job: arguments of the command, and a key for ssh."""
        arguments, ssh_key = [], None
        credentials, types = self._by_name("controller_credentials"), self._by_name("controller_credential_types")
        for name in names:
            inputs = self.inputs[name]
            kind = credentials[name]["credential_type"]
            if kind == "Machine":
                arguments += ["-u", inputs["username"]]
                ssh_key = inputs["ssh_key_data"]
                continue
            missing = set(types[kind]["inputs"]["required"]) - set(inputs)
            assert not missing and set(inputs) <= {field["id"] for field in types[kind]["inputs"]["fields"]}
            injectors = types[kind]["injectors"]
            assert set(injectors) <= {"file", "extra_vars"}
            files = {}
            namespace = {**inputs, "tower": {"filename": files}}
            for label, template in injectors.get("file", {}).items():
                files[label.partition(".")[2]] = _write_any(directory / "env", _render(template, namespace))
            extra = {key: _render(text, namespace) for key, text in injectors["extra_vars"].items()}
            arguments += ["-e", f"@{_write_any(directory / 'env', yaml.dump(extra, Dumper=_Dumper))}"]
        return arguments, ssh_key

    def launch_workflow(self, name, approve=None, **answers):
        """Run a workflow; return whether AWX would call it successful, and its jobs by the names of their nodes.

        :arg approve: function that decides at an approval, given the jobs so far
        """
        workflow = self._by_name("controller_workflows")[name]
        given = answers_to(workflow["survey_spec"], answers)
        artifacts, jobs = {}, {}

        def run(node, before):
            """Run a node with what all before it have set, of those next to it last."""
            set_before = artifacts[node["identifier"]] = {}
            for parent in before:
                set_before.update(artifacts[parent])
                set_before.update(jobs[parent].artifacts if parent in jobs else {})
            if node["unified_job_template"]["type"] == "workflow_approval":
                return approve(jobs)
            template = node["unified_job_template"]["name"]
            job = self.launch(template, artifacts=set_before, **{**node.get("extra_data", {}), **given})
            jobs[node["identifier"]] = job
            return job.status == "successful"

        successful, dummy = run_nodes(workflow["workflow_nodes"], run)
        return successful, jobs


def run_nodes(nodes, run):
    """Go the way through a workflow that AWX would go.

    :arg run: function that runs a node, given the identifiers of those before it that have run, and tells its success
    :return: whether the workflow is successful, and of each node that was run, in their order, whether it was
    """
    nodes = {node["identifier"]: node for node in nodes}
    ended = {}
    waiting = list(nodes)
    while waiting:
        name = next(name for name in waiting if not set(_parents(nodes, name)) & set(waiting))
        waiting.remove(name)
        parents = _parents(nodes, name)
        before = [parent for parent in parents if parent in ended]
        ways = {parent: {"always_nodes", "success_nodes" if ended[parent] else "failure_nodes"} for parent in before}
        if not parents or any(parents[parent] & ways[parent] for parent in before):
            ended[name] = run(nodes[name], before)
    # A failure with a way on is taken for handled.
    handled = {"failure_nodes", "always_nodes"}
    lost = [name for name, ok in ended.items() if not ok and not handled & set(nodes[name].get("related", {}))]
    return not lost, ended


def _parents(nodes, child):
    """The nodes that lead to a node: a dict of names to the kinds of their edges."""
    found = {}
    for name, node in nodes.items():
        for edge, targets in node.get("related", {}).items():
            if child in [target["identifier"] for target in targets]:
                found.setdefault(name, set()).add(edge)
    return found


def _render(template, namespace):
    return ImmutableSandboxedEnvironment().from_string(template).render(**namespace)


def _kill_all(directory):
    """End all processes of a job at once, as those of its container end; the runner would kill just the first one."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        # Some are gone by then, and those of others cannot be read.
        with contextlib.suppress(OSError):
            if os.fsencode(directory) in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def _write(path, text, mode=0o600):
    path.touch(mode=mode)
    path.write_text(text)


def _write_any(directory, text):
    """Write a file of any name; return its path."""
    path = Path(directory, uuid.uuid4().hex)
    _write(path, text)
    return str(path)


def during(task, seconds=2):
    """A function for ``canceled``: true some seconds after a task has begun."""

    def canceled(events):
        begun = [event for event in events if event.get("event_data", {}).get("task", "").endswith(task)]
        return bool(begun) and time.time() > datetime.fromisoformat(begun[0]["created"]).timestamp() + seconds

    return canceled
