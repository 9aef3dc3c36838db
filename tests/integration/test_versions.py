# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is supported of Python on the managed host, and of ansible-core on the controller.

The interpreters are those of this machine, copied to the host; a test whose interpreter is not here is skipped.
"""

import base64
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
import runs
from conftest import INVENTORY, MX1, commands_of
from cores import BETWEEN, ENDS, find_python

PAIRINGS = [
    pytest.param(*pairing, id="core-{}-python-{}".format(*pairing), marks=marks)
    for pairings, marks in [(ENDS, ()), (BETWEEN, pytest.mark.release)]
    for pairing in pairings
]
LEFT_OUT = {"test", "tests", "site-packages", "__pycache__", "idlelib", "ensurepip", "tkinter", "include", "share"}
ALICE, BOB = "alice@example.org", "bob@example.org"

pytestmark = pytest.mark.on_one


def send_python(lab, version):
    """Copy an interpreter with its standard library to the host, and return its path there."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} here to send to the host")
    prefix = Path(
        subprocess.run(
            [python, "-c", "import sys; print(sys.base_prefix)"], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for part in [f"bin/python{version}", f"lib/python{version}"]:
            tar.add(prefix / part, part, filter=wanted)
        for library in (prefix / "lib").glob("libpython*.so*"):
            tar.add(library, f"lib/{library.name}")
    # To where it was on this machine, as it may look for its own library there.
    unpack = f"mkdir -p {prefix} && base64 -d | tar -xz -C {prefix}"
    lab.execute(MX1, "sh", "-c", unpack, stdin=base64.b64encode(archive.getvalue()).decode())
    return f"{prefix}/bin/python{version}"


def wanted(member):
    parts = member.name.split("/")
    return None if LEFT_OUT.intersection(parts) or parts[-1].endswith(".a") else member


@pytest.mark.parametrize("series, version", PAIRINGS)
def test_everything_runs_on(pair, series, version, tmp_path):
    if pair.release != "bookworm":
        pytest.skip("once is enough, and older releases have an older C library than this machine")
    commands = commands_of(series)
    python = send_python(pair.lab, version)
    assert pair.shell(f"{python} -V").stdout.startswith(f"Python {version}.")

    def module(name, **options):
        on = ["-e", f"ansible_python_interpreter={python}"]
        result = runs.module(pair.lab, MX1, name, commands=commands, ansible_options=on, **options)
        assert not result["failed"], result
        return result

    pair.shell(f"doveadm replicator add '*'; doveadm replicator remove {BOB}")
    predicted = module("replicator_user", users=[ALICE, BOB], check=True)
    assert module("replicator_user", users=[ALICE, BOB], wait=True)["added"] == predicted["added"] == [BOB]
    assert module("replicator_user", users=[ALICE, BOB])["changed"] is False
    token = pair.save_unnoticed(ALICE)
    assert module("replicator_replicate", users=[ALICE], full=True, wait=True)["synced_users"] == [ALICE]
    assert pair.arrived(ALICE, token, seconds=1) is not None
    (alice,) = module("replicator_info", users=[ALICE])["users"]
    assert alice["failed"] is False
    assert ALICE in module("replicator_info", user_mask="a*", transport="doveadm")["users"][0]["username"]
    assert ALICE in module("replicator_wait", until="synced")["synced_users"]
    assert module("mailbox_info", users=[ALICE])["users"][0]["messages"] > 0
    assert module("node_info")["peer"]["stage"] == "ok"
    assert module("mailbox_probe", user=ALICE, token="version", state="arrived", wait_timeout=0)["found"] is False
    written = dict(
        files=[dict(path="/etc/dovecot/conf.d/50-version.conf", content="mail_max_userip_connections = 11\n")]
    )
    assert module("dovecot_config", check=True, **written)["changed"] is True
    # With the host's own Python, as both hosts take part.
    verified = runs.play(
        *[pair.lab, INVENTORY, f"{runs.COLLECTION}.verify"],
        *["-e", f"replication_probe_user={ALICE}"],
        commands=commands,
    )
    assert runs.succeeded(verified)
    for playbook in (["setup", "--check"], ["plan", "-e", f"replication_plan_dir={tmp_path}"]):
        used = runs.play(
            *[pair.lab, INVENTORY, f"{runs.COLLECTION}.{playbook[0]}", *playbook[1:]],
            *["-e", f"ansible_python_interpreter={python}", "--limit", MX1],
            commands=commands,
        )
        assert not [line for line in used if line["status"] == "failed"]
    assert json.loads((tmp_path / "plan.json").read_text())["hosts"][MX1]["result"] == "no changes"
