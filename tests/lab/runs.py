# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible run against the hosts of a lab, for the demo and the integration tests."""

import base64
import collections
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
import zipfile
from pathlib import Path

import returned
from lab import HERE, LabError

ROOT = HERE.parents[1]
COLLECTION = "mailops.dovecot_replication"
MAILHOST = HERE / "mailhost.yml"
ARRIVAL_SECONDS = 10
PYTHON = "/usr/bin/python3"
WARM_HOME = "/srv/lab-python"
# The interpreter of hosts that are ``warm``.
WARM = f"{WARM_HOME}/python"
# Where hosts keep which lines of modules were run, and how; see tests/tools/live_coverage.py.
COVERAGE_ON_HOSTS = "/srv/coverage"
COVERAGE_SETTINGS = HERE.parent / "tools" / "coverage.ini"
# What of an ansible-core modules need on a host.
PARTS_FOR_MODULES = ("release.py", "module_utils")
# Deprecations that are not of this collection's making: of other collections, and of interpreters.
OF_OTHERS = re.compile(r"removed from (collection )?'?(?!ansible\.builtin|mailops\.)\w+\.\w+|[Pp]ython interpreter")


def environment(commands=None, **extra):
    """The environment for Ansible's commands: this collection, and settings a user would have.

    :arg commands: directory of the commands; that of the virtual environment when None
    """
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(commands or os.path.dirname(sys.executable)), os.environ["PATH"]]),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv" / "collections"),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_DEPRECATION_WARNINGS": "true",
        **extra,
    }


def with_collections(package, *names):
    """The path of collections with this one and those that are named.

    :arg package: PyPI's package of all collections, with the version to take them out of
    """
    home = ROOT / ".build" / "collections"
    paths = tuple(f"ansible_collections/{name.replace('.', '/')}/" for name in names)
    if not all((home / path).exists() for path in paths):
        home.mkdir(parents=True, exist_ok=True)
        # Processes that test other releases may do the same now.
        with tempfile.TemporaryDirectory(dir=home) as own:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", own, package]
            subprocess.run(command, check=True)
            (wheel,) = Path(own).iterdir()
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(home, [name for name in archive.namelist() if name.startswith(paths)])
    return f"{ROOT / '.venv' / 'collections'}:{home}"


def playbook_command(lab, inventory, playbook, *options, commands=None):
    """The command line of a playbook run: the user's inventory, and how the lab's hosts are reached."""
    return [
        shutil.which("ansible-playbook", path=environment(commands)["PATH"]),
        *["-i", str(inventory), "-i", str(lab.inventory)],
        str(playbook),
        *_not_warm(commands),
        *options,
    ]


def _not_warm(commands):
    """Options for commands of another ansible-core than that whose module_utils ``warm`` hosts have."""
    return [] if commands is None else ["-e", f"ansible_python_interpreter={PYTHON}"]


def play(lab, inventory, playbook, *options, commands=None, **extra):
    """Run a playbook and return the results as a list of dicts, see callback_plugins/json_lines.py."""
    command = playbook_command(lab, inventory, playbook, *options, commands=commands)
    return _results(completed(command, _json_environment(commands, **extra)))


def own_deprecations(shown):
    """The deprecation warnings in what a run has shown that the code of this collection causes."""
    # Ansible breaks long lines.
    told = [
        " ".join(part.split()) for part in re.findall(r"\[DEPRECATION WARNING\]:?(.*?)(?=\n\[|\n\n|\Z)", shown, re.S)
    ]
    return [text for text in told if not OF_OTHERS.search(text)]


def failures(results):
    """The messages of the tasks that failed in a playbook run; what the end of it repeats is there once for a host."""
    failed = [line for line in results if line["status"] == "failed"]
    return [message for _host, message in dict.fromkeys((line["host"], line["result"]["msg"]) for line in failed)]


def findings_of(results):
    """The findings that a run of verify has concluded."""
    return next(line["result"]["findings"] for line in results if line["task"].endswith(": Conclude and report"))


def reported(results):
    """The lines that a playbook run shows as its report."""
    return [line["result"]["report"] for line in results if line["result"].get("report")][-1]


def handed_over(results):
    """What a playbook has handed over with set_stats."""
    return results[-1]["result"]["replication_result"]


def changes(results):
    """The changes of a playbook run as sorted pairs of host and task."""
    return sorted((line["host"], line["task"]) for line in results if line["result"].get("changed"))


def succeeded(results):
    """The results of a playbook run, of which no task has failed."""
    failed = failures(results)
    assert not failed, failed
    return results


def module(lab, host, name, /, check=False, ansible_options=(), commands=None, seen=None, **arguments):
    """Run a module of the collection on one host and return its result as a dict, with what was shown on stderr.

    :arg seen: called with each line of that, while the module runs
    """
    command = [
        *[shutil.which("ansible", path=environment(commands)["PATH"]), host, "-i", str(lab.inventory)],
        *["-m", f"{COLLECTION}.{name}", *(["-a", json.dumps(arguments)] if arguments else [])],
        *(["--check"] if check else []),
        *_not_warm(commands),
        *ansible_options,
    ]
    done = completed(command, _json_environment(commands), seen)
    (line,) = _results(done)
    return {**line["result"], "failed": line["status"] != "ok", "shown": done.stderr}


def completed(command, env, seen=None, directory=None):
    """Run one of Ansible's commands and return it completed; ``seen`` is called with each line of its stderr."""
    directory = str(directory or os.getcwd())
    if _starters is not None and seen is None:
        return _starters.completed(command, env, directory)
    shown = []
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(
            command, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, text=True
        ) as process:
            for line in process.stderr:
                shown.append(line)
                if seen:
                    seen(line)
        output.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, output.read(), "".join(shown))


def use_starters():
    """Have the runs of this process begin without the imports of Ansible, see starter.py."""
    global _starters
    _starters = _starters or Starters()


class Starters:
    """The idle starters of this process; one runs one command at a time, and serves one environment."""

    def __init__(self):
        self._idle = collections.defaultdict(list)
        self._lock = threading.Lock()

    def completed(self, command, env, directory):
        """Run a command in a directory and return it completed."""
        # Each test has another one.
        env = {name: value for name, value in env.items() if name != "PYTEST_CURRENT_TEST"}
        key = (os.path.dirname(command[0]), tuple(sorted(env.items())))
        with self._lock:
            starter = self._idle[key].pop() if self._idle[key] else None
        starter = starter or subprocess.Popen(
            [os.path.join(key[0], "python"), str(HERE / "starter.py")],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with tempfile.NamedTemporaryFile("r") as output, tempfile.NamedTemporaryFile("r") as errors:
            wanted = {"command": os.path.basename(command[0]), "arguments": command[1:], "directory": directory}
            starter.stdin.write(json.dumps({**wanted, "output": output.name, "errors": errors.name}) + "\n")
            starter.stdin.flush()
            answer = starter.stdout.readline()
            if not answer:
                raise LabError(f"the starter of {command} has died")
            with self._lock:
                self._idle[key].append(starter)
            return subprocess.CompletedProcess(command, json.loads(answer)["rc"], output.read(), errors.read())


_starters = None


class Agent:
    """A host that runs modules without a controller, and so many times faster; see agent.py.

    :arg python: interpreter on the host
    :arg ansible: directory of the ansible-core whose module_utils the modules are to run with
    """

    def __init__(self, lab, host, python="python3", ansible=None):
        home = f"/srv/agent-{uuid.uuid4().hex}"
        plugins = {f"ansible_collections/{COLLECTION.replace('.', '/')}/plugins": ROOT / "plugins"}
        _send(lab, host, home, {"agent.py": HERE / "agent.py", **plugins}, ansible)
        variables = ["env", *_variables(home)]
        self._process = lab.converse(host, *variables, python, f"{home}/agent.py")
        self.python = self._read()["python"]

    def module(self, name, /, check=False, fault="", **arguments):
        """Run a module and return its result as ``module`` does. ``fault`` is Python that breaks its code first."""
        arguments = {key: value for key, value in arguments.items() if value is not None}
        arguments["_ansible_check_mode"] = check
        result = self._answer(module=name, arguments=arguments, fault=fault)
        see_no_deprecation(result)
        returned.check(f"{COLLECTION}.{name}", result)
        # Since ansible-core 2.19 a module gives its warnings as objects, which a controller turns into text.
        texts = [text if isinstance(text, str) else text["event"]["msg"] for text in result.pop("warnings", [])]
        return {"failed": False, "changed": False, **result, **({"warnings": texts} if texts else {})}

    def shell(self, script):
        """Run a shell script and return its output; raise LabError when it fails."""
        answer = self._answer(script=script)
        if answer["rc"]:
            raise LabError(f"{script} ended with status {answer['rc']}: {answer['output']}")
        return answer["output"]

    def _answer(self, **request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self):
        self._process.stdin.close()
        self._process.wait()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise LabError("the agent has died")
        return json.loads(line)


def warm(lab, hosts):
    """Have hosts run modules without the time of their imports, where WARM is their interpreter; see warm_python.py."""
    files = {name: HERE / name for name in ("warm_python.py", "warm_server.py")}
    interpreter = f"(echo '#!{PYTHON} -IS'; cat {WARM_HOME}/warm_python.py) > {WARM} && chmod 755 {WARM}"
    for host in hosts:
        # Of a lab that was kept.
        lab.execute(host, "sh", "-c", f"systemctl stop lab-python; rm -rf {WARM_HOME}", check=False)
        _send(lab, host, WARM_HOME, files)
        lab.execute(host, "sh", "-c", interpreter)
        variables = [f"--setenv={variable}" for variable in _variables(WARM_HOME)]
        command = [PYTHON, f"{WARM_HOME}/warm_server.py"]
        lab.execute(host, "systemd-run", "--collect", "--unit", "lab-python", *variables, *command)


def _variables(home):
    """The environment of a Python on a host that runs modules, with what ``_send`` has unpacked there."""
    variables = [f"PYTHONPATH={home}"]
    if os.environ.get("MAILOPS_COVERAGE"):
        settings = f"{home}/{COVERAGE_SETTINGS.name}"
        variables += [f"COVERAGE_PROCESS_START={settings}", f"COVERAGE_FILE={COVERAGE_ON_HOSTS}/data"]
    return variables


def _send(lab, host, home, files, ansible=None):
    """Unpack files on a host, with the module_utils of an ansible-core.

    :arg files: a dict of their paths there to those here
    :arg ansible: directory of that ansible-core; ours when None
    """
    ansible = Path(ansible or importlib.util.find_spec("ansible").submodule_search_locations[0])
    files = {**files, **{f"ansible/{part}": ansible / part for part in PARTS_FOR_MODULES}}
    if os.environ.get("MAILOPS_COVERAGE"):
        # Python imports a module of that name when it starts.
        files.update({"sitecustomize.py": HERE / "coverage_start.py", COVERAGE_SETTINGS.name: COVERAGE_SETTINGS})
        files["coverage"] = importlib.util.find_spec("coverage").submodule_search_locations[0]
        lab.execute(host, "mkdir", "-p", "-m", "1777", COVERAGE_ON_HOSTS)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        # Its own __init__.py is for controllers; Ansible sends an empty one, too.
        tar.addfile(tarfile.TarInfo("ansible/__init__.py"))
        for there, here in files.items():
            tar.add(here, there)
    unpack = f"mkdir {home} && base64 -d | tar -xz -C {home}"
    lab.execute(host, "sh", "-c", unpack, stdin=base64.b64encode(archive.getvalue()).decode())


def _json_environment(commands=None, **extra):
    return environment(
        commands,
        ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback_plugins"),
        ANSIBLE_STDOUT_CALLBACK="json_lines",
        ANSIBLE_LOAD_CALLBACK_PLUGINS="true",
        **extra,
    )


def _results(done):
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not results:
        raise LabError(f"no result from {done.args}:\n{done.stdout}\n{done.stderr}")
    assert not (deprecations := own_deprecations(done.stderr)), deprecations
    for line in results:
        see_no_deprecation(line["result"])
        if line["status"] in ("ok", "failed"):
            returned.check(line["action"], {**line["result"], "failed": line["status"] == "failed"})
    return results


def see_no_deprecation(result):
    """Fail when a result of a module holds a deprecation that the code of this collection causes."""
    for part in [result, *result.get("results", [])]:
        told = part.get("deprecations", []) if isinstance(part, dict) else []
        own = [entry for entry in told if deprecator(entry) in ("", "ansible.builtin", COLLECTION)]
        assert not own, own


def deprecator(entry):
    """The collection that announces a deprecation in a result, empty where that is not said."""
    return entry.get("collection_name") or (entry.get("deprecator") or {}).get("resolved_name") or ""


def deliver(lab, host, user, token):
    """Deliver a mail on a host as an MTA does, through dovecot-lda. The token is its subject."""
    mail = f"From: postmaster@{host}\nTo: {user}\nSubject: {token}\nMessage-ID: <{token}@{host}>\n\nHello.\n"
    lab.execute(host, "/usr/lib/dovecot/dovecot-lda", "-d", user, stdin=mail)


def arrived(lab, host, user, token, seconds=ARRIVAL_SECONDS):
    """Wait until a host has the mail; return the seconds it took, or None.

    Looks into the files first: opening the mailbox before its first mail has come would create an INBOX with a GUID of
    its own there, and dsync can stumble over that.
    """
    began = time.monotonic()
    home = lab.execute(host, "doveadm", "user", "-f", "home", user).stdout.strip()
    while time.monotonic() - began < seconds:
        if lab.execute(host, "grep", "-rlqs", f"^Subject: {token}", home, check=False).returncode == 0:
            break
        time.sleep(0.05)
    else:
        return None
    took = time.monotonic() - began
    fetch = ["doveadm", "fetch", "-u", user, "uid", "mailbox", "INBOX", "header", "Subject", token]
    # A file that dsync has just put there may not be in the index yet (2 of 969).
    for _look in range(10):
        if "uid:" in lab.execute(host, *fetch).stdout:
            return took
        time.sleep(0.2)
    return None
