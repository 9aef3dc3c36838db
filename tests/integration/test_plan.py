# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks plan and apply: what reviewers read is what is there, and what is done is what they have read."""

import json
import os
import re
import subprocess

import pytest
import runs
import yaml
from conftest import EVERYONE, HOSTS, INVENTORY, MX1, MX2, commands_of
from cores import OLDEST

pytestmark = [
    pytest.mark.parametrize("pair", ["bullseye"], indirect=True),
    pytest.mark.usefixtures("tidied"),
]

CONFIG, SECRET = "/etc/dovecot/conf.d/11-replication.conf", "/etc/dovecot/replication-secret.conf.ext"
NEW = "erin@example.org"
CANARY = "canary-that-nobody-may-see"
SAMPLE = runs.ROOT / "docs" / "plan-sample.md"
EXAMPLES = runs.ROOT / "docs" / "examples"
PLAN = f"{runs.COLLECTION}.plan"
APPLY = f"{runs.COLLECTION}.apply"
# Hosts that are not as they should be, beside the pair.
BROKEN = """
dovecot_replication:
  hosts:
    {mx2}: {{replication_max_conns: 0}}
elsewhere:
  hosts:
    mx3.example.org: {{ansible_host: 127.0.0.1, ansible_port: 1}}
  vars: {{replication_group: elsewhere}}
"""


@pytest.fixture(scope="module", autouse=True)
def in_order(pair):
    """Nothing is left to be reloaded of what other tests have written."""
    runs.succeeded(pair.play("setup"))


class Run:
    """A finished run of a playbook, from a shell in a directory of its own, and the plan that is there now."""

    def __init__(self, pair, directory, playbook, *options, commands=None, environment=None, **variables):
        command = runs.playbook_command(pair.lab, INVENTORY, playbook, *options, commands=commands)
        env = runs.environment(commands, ANSIBLE_SHOW_CUSTOM_STATS="true", **(environment or {}))
        done = runs.completed([*command, "-e", json.dumps(variables)], env, directory=directory)
        self.code, self.output = done.returncode, done.stdout + done.stderr
        assert not runs.own_deprecations(self.output)
        self.files = {path.name: path.read_bytes() for path in directory.iterdir() if path.name.startswith("plan")}
        self.markdown = self.files.get("plan.md", b"").decode()
        self.plan = json.loads(self.files.get("plan.json", b"null"))
        # No secret is in any file or output of any run in these tests.
        assert b"only-for-the-lab" not in b"".join(self.files.values()) and "only-for-the-lab" not in self.output

    @property
    def result(self):
        """What the run gives to jobs that follow."""
        shown = self.output.partition("CUSTOM STATS:")[2]
        return json.loads(shown[shown.index("{") : shown.rindex("}") + 1])

    def changes(self, host):
        return {change["task"]: change for change in self.plan["hosts"][host]["changes"]}


@pytest.fixture
def run(pair, tmp_path):
    return lambda playbook, *options, **variables: Run(pair, tmp_path, playbook, *options, **variables)


def state(pair):
    """What a plan must leave alone, of both hosts: files with their times, what Dovecot runs, the replicator's list."""
    look = "find /etc/dovecot /etc/systemd -type f | sort | xargs stat -c '%n %Y %Z'; cat /run/dovecot/master.pid"
    return [(pair.shell(look, host).stdout, pair.listed(host)) for host in HOSTS]


def test_a_pair_in_order(pair, run):
    """Nothing would change: exit code 0, whatever was asked for."""
    before = state(pair)
    first = run(PLAN)
    again = run(PLAN, "--check", replication_plan_fail_on_change=True)
    assert state(pair) == before
    assert (first.code, again.code) == (0, 0), first.output + again.output
    assert first.files == again.files
    assert sorted(first.files) == ["plan.json", "plan.md"]
    assert first.plan["result"] == "no changes" and "**Nothing would change.**" in first.markdown
    assert first.plan["hosts"][MX1]["in_order"] == ["Write the configuration, which Dovecot validates"]
    assert first.plan["hosts"][MX1]["pair"] == "dovecot_replication"
    assert first.result["replication_result"]["changes"] == 0


@pytest.mark.rare
def test_the_oldest_ansible_core_writes_the_same(pair, run):
    oldest, newest = run(PLAN, commands=commands_of(OLDEST)), run(PLAN)
    assert (oldest.code, oldest.files) == (newest.code, newest.files) and newest.code == 0, oldest.output


def test_what_changes_and_its_exit_code(pair, run):
    """A setting, a secret, and a user who is not on the list yet. Each host has its own."""
    with pair.account(NEW, hosts=[MX1]), pair.replaced({SECRET: f"doveadm_password = {CANARY}\n"}, hosts=[MX1]):
        planned = run(PLAN, replication_max_conns=7)
        red = run(PLAN, replication_max_conns=7, replication_plan_fail_on_change=True)
        assert pair.listed() == EVERYONE
    assert CANARY not in planned.output + planned.markdown and CANARY.encode() not in planned.files["plan.json"]
    assert (planned.code, red.code) == (0, 2) and planned.files == red.files
    assert "This ends red as replication_plan_fail_on_change is set" in red.output
    one, other = planned.changes(MX1), planned.changes(MX2)
    written = one["Write the configuration, which Dovecot validates"]
    assert written["files"] == [{"path": CONFIG, "action": "changed"}, {"path": SECRET, "action": "changed"}]
    assert (
        "+replication_max_conns = 7\n" in written["diff"]
        and "+doveadm_password = ********  # changed" in written["diff"]
    )
    assert one["Reload Dovecot"]["service"] == "dovecot"
    assert one["Preview whom the reload puts on the replicator's list"]["added"] == [NEW]
    assert list(other) == ["Write the configuration, which Dovecot validates", "Reload Dovecot"]
    assert planned.plan["counts"]["files"] == 3 and planned.plan["counts"]["users_added"] == 1
    assert "2 of 2 hosts would change (3 files, 1 user added, 2 services)" in planned.markdown
    if os.environ.get("MAILOPS_UPDATE_DOCS"):
        SAMPLE.write_text(planned.markdown)
    # But for the line with version and digest.
    sample = SAMPLE.read_text().splitlines()[:-1]
    assert planned.markdown.splitlines()[:-1] == sample, (
        "the plan looks otherwise; `make samples` writes the sample anew"
    )
    result = planned.result
    assert result["replication_plan_digest"] == planned.plan["digest"]
    assert result["replication_result"]["playbook"] == "plan" and result["replication_result"]["ok"] is True
    assert result["replication_result"]["hosts"][MX1]["changes"] == 3


def test_refused_when_anything_has_moved(pair, run):
    """Nothing is done on any host, and the difference is shown."""
    run(PLAN, replication_max_conns=8)
    with pair.replaced({CONFIG: "# nothing\n"}, hosts=[MX2]):
        before = state(pair)
        drifted = run(APPLY, replication_max_conns=8, replication_plan_file="plan.json")
        assert state(pair) == before
    assert drifted.code == 2 and "What would be done now is not what was reviewed." in drifted.output
    assert f"+++ {MX2}, as it is now" in drifted.output and "-# nothing" in drifted.output
    assert f"+++ {MX1}, as it is now" not in drifted.output
    assert drifted.result["replication_result"]["ok"] is False
    nothing = run(APPLY)
    assert nothing.code == 2 and "There is no plan to apply" in nothing.output
    fewer = run(APPLY, "--limit", MX1, replication_max_conns=8, replication_plan_file="plan.json")
    assert fewer.code == 2 and f"Hosts no longer in the play: {MX2}." in fewer.output
    assert pair.shell("doveconf -h replication_max_conns").stdout.strip() == "10"


@pytest.fixture
def set_up_again(pair):
    """For tests that take replication away and may not come to their end."""
    yield
    if pair.shell(f"test -e {CONFIG}", check=False).returncode:
        runs.succeeded(pair.play("setup"))


@pytest.mark.usefixtures("set_up_again")
@pytest.mark.rare
def test_a_virgin_pair_and_the_way_back(pair, run):
    """Users are those of the userdb, as no replicator has a list yet. No secret shows, at whatever verbosity."""
    decommission = run(PLAN, replication_plan_of="decommission")
    written = decommission.changes(MX1)["Write the configuration, which Dovecot validates"]
    assert {item["action"] for item in written["files"]} == {"removed"}
    gone = run(APPLY, replication_plan_of="decommission", replication_plan_file="plan.json")
    assert gone.code == 0 and gone.files == decommission.files, gone.output

    planned = run(PLAN, "-vvv", replication_secret=CANARY)
    changes = planned.changes(MX2)
    assert changes["Preview whom the reload puts on the replicator's list"]["added"] == EVERYONE
    files = changes["Write the configuration, which Dovecot validates"]["files"]
    assert {item["action"] for item in files} == {"created"}
    # The plan is the same, whatever the secret is.
    done = run(APPLY, replication_plan_digest=planned.plan["digest"])
    assert done.code == 0, done.output
    assert pair.listed(MX2) == EVERYONE
    changed = run(PLAN, "-vvv", replication_secret=CANARY)
    assert "+doveadm_password = ********  # changed" in changed.markdown
    for seen in (planned, changed):
        assert CANARY not in seen.output and CANARY.encode() not in b"".join(seen.files.values())


@pytest.mark.rare
def test_a_host_without_dovecot(pair, run):
    """What nobody can know before Dovecot is there is named."""
    kept = "tar -C / -cf /srv/dovecot.tar etc/dovecot && {}"
    pair.shell(kept.format("dpkg --remove --force-depends dovecot-core && systemctl daemon-reload"), MX2)
    try:
        planned = run(PLAN, replication_install=True)
        assert planned.code == 0, planned.output
        assert planned.changes(MX2)["Install Dovecot"]["kind"] == "packages"
        reasons = {item["task"]: item["why"] for item in planned.plan["hosts"][MX2]["not_previewed"]}
        assert "Preview whom the reload puts on the replicator's list" in reasons
        assert planned.plan["hosts"][MX1]["result"] == "no changes"
    finally:
        pair.shell(
            "apt-get install -fqy dovecot-core && tar -C / -xf /srv/dovecot.tar && systemctl restart dovecot", MX2
        )


@pytest.mark.rare
def test_what_fails_hides_nothing_else(pair, run, tmp_path):
    """One host is refused, one is not reached, and the third one is planned all the same. It cannot be applied."""
    broken = tmp_path / "broken.yml"
    broken.write_text(BROKEN.format(mx2=MX2))
    options = ["-i", str(broken)]
    wanted = dict(replication_hosts="dovecot_replication:elsewhere", replication_port=12399)
    planned = run(PLAN, *options, **wanted)
    again = run(PLAN, *options, **wanted)
    assert planned.code == 4 and planned.files == again.files
    hosts = planned.plan["hosts"]
    assert {name: host["result"] for name, host in hosts.items()} == {
        MX1: "changes",
        MX2: "incomplete",
        "mx3.example.org": "incomplete",
    }
    assert "replication_max_conns is 0" in hosts[MX2]["failed"][0]["message"]
    assert "Connection refused" in hosts["mx3.example.org"]["unreachable"][0]["message"]
    assert hosts["mx3.example.org"]["pair"] == "elsewhere"
    assert "-    port = 12345" in planned.markdown and "replication_max_conns is 0" in planned.markdown
    assert planned.result["replication_result"]["ok"] is False
    before = state(pair)
    refused = run(APPLY, *options, replication_plan_file="plan.json", **wanted)
    assert refused.code != 0 and "The reviewed plan is incomplete" in refused.output
    alone = run(PLAN, *options, "--limit", f"{MX2},mx3.example.org", **wanted)
    assert alone.code in (2, 4) and "replication_max_conns is 0" in alone.markdown and MX1 not in alone.markdown
    nobody = run(PLAN, replication_hosts="nosuch")
    assert nobody.code != 0 and "No host of the inventory matches nosuch" in nobody.output
    assert state(pair) == before


OWN = """
- hosts: dovecot_replication
  become: true
  gather_facts: false
  tasks:
    - name: Have exactly these
      mailops.dovecot_replication.replicator_user: {users: "{{ wanted }}", exclusive: true}
    - name: Sync some
      mailops.dovecot_replication.replicator_replicate: {users: "{{ wanted }}"}
    - name: Keep a note
      ansible.builtin.copy: {dest: "/srv/{{ item }}", content: "api_key = hidden-key\\n", mode: "0600"}
      loop: [one, two]
    - name: Keep what nobody may see
      ansible.builtin.copy: {dest: /srv/three, content: "hidden-key", mode: "0600"}
      no_log: true
    - name: Run something
      ansible.builtin.command: echo done
"""


@pytest.mark.rare
def test_a_playbook_of_ones_own(pair, run, tmp_path):
    playbook = tmp_path / "site.yml"
    playbook.write_text(OWN)
    enabled = {"ANSIBLE_CALLBACKS_ENABLED": f"{runs.COLLECTION}.plan"}
    wanted = [EVERYONE[0], EVERYONE[1]]
    seen = run(playbook, "--check", "--diff", environment=enabled, wanted=wanted)
    assert seen.code == 0, seen.output
    changes = seen.plan["hosts"][MX1]["changes"]
    assert changes[0]["removed"] == EVERYONE[2:] and changes[0]["added"] == []
    assert changes[1]["requested"] == wanted
    assert [change["item"] for change in changes[2:4]] == ["one", "two"]
    assert changes[4]["note"] == "the output is hidden by no_log"
    assert b"hidden-key" not in b"".join(seen.files.values())
    assert seen.plan["hosts"][MX1]["not_previewed"] == [
        {"task": "Run something", "why": "Command would have run if not in check mode"}
    ]
    assert seen.plan["of"] == "site" and seen.plan["counts"]["syncs"] == 4
    assert pair.listed() == EVERYONE
    for name in seen.files:
        (tmp_path / name).unlink()
    assert run(PLAN, environment=enabled).plan["of"] == "setup"


def repository(pair, directory):
    """What the examples want to find: an inventory that reaches the hosts, a vault and its password."""
    inventory = yaml.safe_load(INVENTORY.read_text())
    del inventory["dovecot_replication"]["vars"]["replication_secret"]
    inventory.update(yaml.safe_load(pair.lab.inventory.read_text()))
    (directory / "inventory.yml").write_text(yaml.safe_dump(inventory))
    (directory / ".vault-password").write_text("password\n")
    (directory / "vault.yml").write_text("replication_secret: only-for-the-lab\n")
    command = ["ansible-vault", "encrypt", "--vault-password-file", ".vault-password", "vault.yml"]
    subprocess.run(command, cwd=directory, env=runs.environment(), check=True, capture_output=True)


@pytest.mark.rare
def test_the_commands_of_the_examples(pair, tmp_path):
    """The examples' own commands for the plan and its application, in a shell as theirs is."""
    repository(pair, tmp_path)
    github = yaml.safe_load((EXAMPLES / "github" / "replication-plan.yml").read_text())
    steps = {step.get("name"): step.get("run") for step in github["jobs"]["replication"]["steps"]}
    gitlab = yaml.safe_load((EXAMPLES / "gitlab" / ".gitlab-ci.yml").read_text())
    plan, apply = gitlab["plan"]["script"][-1], gitlab["apply"]["script"][-1]
    assert (plan, apply.replace("reviewed.json", "reviewed/plan.json")) == (steps["Plan"], steps["Apply"])
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join([steps["Plan"], "cp plan.json reviewed.json", apply])],
        env=runs.environment(ANSIBLE_VAULT_PASSWORD_FILE=".vault-password"),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("PLAY RECAP", done.stdout)) == 2


def test_the_exit_codes_of_the_documentation(pair, tmp_path):
    """The lines of docs/review.md for those who want 0, 1 and 2; but for the first one with plans of each result."""
    repository(pair, tmp_path)
    (script,) = re.findall("```sh\n(.*?)```", (runs.ROOT / "docs" / "review.md").read_text(), re.DOTALL)
    rest = script.partition("\n")[2]

    def code_of(text):
        done = subprocess.run(
            ["sh", "-c", text],
            env=runs.environment(ANSIBLE_VAULT_PASSWORD_FILE=".vault-password"),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return done.returncode

    assert code_of(script) == 0
    for result, code in (("changes", 2), ("no changes", 0), ("incomplete", 1)):
        (tmp_path / "plan.json").write_text(json.dumps({"result": result}))
        assert code_of(rest) == code
