# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/quickstart.md, word for word: its files are written and its commands run, on hosts that nobody has set up.

A fenced block of commands is one in ``console``; what stands below a command must be in its output, line by line. Any
other block is a file, named at the beginning of the paragraph above it.
"""

import os
import re
import subprocess
import sys
import tempfile

import pytest
import runs
from conftest import CHOSEN, INVENTORY
from lab import SSH_OPTIONS, Lab, mail_image
from run_all import files
from runs import succeeded

PAGE = runs.ROOT / "docs" / "quickstart.md"
RELEASE = "bookworm"
BLOCK = re.compile(r"^(?P<above>[^\n]+)\n(?P<more>(?:[^\n]+\n)*)\n```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
# Between the outputs of commands.
MARK = "\x1e"


@pytest.fixture(params=[RELEASE] if RELEASE in CHOSEN else [], ids=["newcomers"])
def newcomers(request):
    """A lab, and its hosts with Dovecot and mailboxes, and no replication."""
    lab = Lab("it-quickstart", image=mail_image)
    hosts = lab.up(request.param)
    succeeded(runs.play(lab, INVENTORY, runs.MAILHOST, "-e", "mailhost_install=true"))
    yield lab, hosts
    if not os.environ.get("MAILOPS_LAB_KEEP"):
        lab.down()


def steps():
    """The steps of the page in their order: (file name, its text), or (None, [(command, lines of its output)])."""
    for block in BLOCK.finditer(PAGE.read_text()):
        if block["kind"] == "console":
            parts = re.split(r"^\$ ", block["text"], flags=re.M)
            assert parts[0] == ""
            yield None, [(part.splitlines()[0], part.splitlines()[1:]) for part in parts[1:]]
        else:
            (name,) = re.findall(r"^`([\w./-]+)`", block["above"])
            yield name, block["text"]


def script():
    """The page as a shell script, and its commands with the lines that each must print."""
    lines, commands = ["set -euo pipefail"], []
    for name, content in steps():
        if name:
            lines.append(f"cat > {name} <<'END_OF_FILE'\n{content}END_OF_FILE")
            continue
        for command, output in content:
            lines += [f"printf '\\036'; {command}"]
            commands.append((command, output))
    return "\n".join(lines) + "\n", commands


def ssh_config(lab, hosts):
    """How ssh reaches the hosts by the names that the page uses, which is the reader's business."""
    key = lab.directory / "ssh_key"
    parts = [f"Host {host.name}\nHostName 127.0.0.1\nPort {host.port}\nIdentityFile {key}\n" for host in hosts]
    return "".join(parts) + "Host *\n" + SSH_OPTIONS.replace("=", " ").replace("-o ", "\n") + "\n"


@pytest.fixture
def sockets():
    with tempfile.TemporaryDirectory() as path:
        yield path


@pytest.mark.rare
def test_the_quickstart_word_for_word(newcomers, tmp_path, sockets):
    checkout = tmp_path / "dovecot_replication"
    for name in files():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes((runs.ROOT / name).read_bytes())
    lab, hosts = newcomers
    (tmp_path / "ssh_config").write_text(ssh_config(lab, hosts))
    text, commands = script()
    assert len(commands) >= 15
    # PYTHONPATH would have Ansible find this checkout, and install nothing.
    kept = {name: os.environ[name] for name in os.environ if not name.startswith(("ANSIBLE_", "PYTHONPATH"))}
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=tmp_path,
        env={
            **kept,
            "HOME": str(tmp_path),
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
            "ANSIBLE_SSH_ARGS": f"-F {tmp_path / 'ssh_config'} -o ControlMaster=auto -o ControlPersist=60s",
            # The path of a socket must be short.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    outputs = done.stdout.split(MARK)[1:]
    assert done.returncode == 0, f"{commands[len(outputs) - 1][0]}:\n{outputs[-1] if outputs else done.stdout}"
    for (command, expected), output in zip(commands, outputs, strict=True):
        printed = " ".join(output.split())
        for line in expected:
            assert " ".join(line.split()) in printed, f"{command}:\n{output}"
    assert (tmp_path / ".ansible" / "collections" / "ansible_collections" / "mailops").is_dir()
    # What the page takes back is gone.
    for host in hosts:
        assert lab.execute(host.name, "test", "-e", "/etc/dovecot/conf.d/11-replication.conf", check=False).returncode
