# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes long: plays killed at any moment, mail that never stops, secrets searched for everywhere, upgrades.

Run by `make torture`. docs/reliability.md tells what each shows and how much of it there was.
"""

import contextlib
import itertools
import json
import random
import re
import subprocess
import threading
import time

import pytest
import runs
from conftest import EVERYONE, HOSTS, INVENTORY, LEAST_LOADED, MX1, MX2, Pair
from lab import Lab
from runs import changes, failures, succeeded
from test_reliability import CONFIG, kill, start_play

ALICE = EVERYONE[0]
# How many plays are killed.
TURNS = 8
# For how long nothing but mail goes on.
CONTROL_SECONDS = 90
SECRET_FILE = "/etc/dovecot/replication-secret.conf.ext"

pytestmark = pytest.mark.torture
on_least_loaded = pytest.mark.parametrize("pair", [LEAST_LOADED], indirect=True)


RELOADING = [
    "mailops.dovecot_replication.replication : Reload Dovecot",
    "mailops.dovecot_replication.replication : Write the configuration, which Dovecot validates",
]


def is_sound(pair, host=MX1):
    """Dovecot runs with a configuration that it can read, and each of the role's files is a whole one."""
    pair.shell("systemctl is-active dovecot && doveconf -n > /dev/null && flock /etc/dovecot true", host)
    text = pair.shell(f"cat {CONFIG}", host).stdout
    assert text.startswith("#") and text.endswith("\nmail_plugins = $mail_plugins notify replication\n")
    assert text.count("{") == text.count("}")
    assert pair.shell(f"stat -c '%a %U' {SECRET_FILE}", host).stdout == "600 root\n"
    return int(re.search(r"replication_max_conns = (\d+)", text).group(1))


def crosses_both_ways(pair, user=ALICE):
    for here, there in (HOSTS, HOSTS[::-1]):
        token = pair.deliver(user, here)
        assert pair.arrived(user, token, there, seconds=60) is not None, (here, there)


@on_least_loaded
def test_plays_killed_at_any_moment(tidied):
    """Each would change the configuration; the next one puts right whatever the killed one has left."""
    succeeded(tidied.play("setup", replication_max_conns=3))
    value, kills = 3, 0
    rng = random.Random(8)
    began = time.monotonic()
    succeeded(tidied.play("setup", replication_max_conns=4))
    whole = time.monotonic() - began
    value = 4
    try:
        for turn in range(TURNS):
            new = 3 + turn % 5 + 5 * (turn % 2)
            play = start_play(tidied, replication_hosts="all", replication_max_conns=new)
            time.sleep(whole * (turn + rng.random()) / TURNS)
            kills += play.poll() is None
            kill(play)
            for host in HOSTS:
                assert is_sound(tidied, host) in (value, new)
            succeeded(tidied.play("setup", replication_max_conns=new))
            assert [is_sound(tidied, host) for host in HOSTS] == [new, new]
            value = new
            if turn % 4 == 3:
                assert changes(succeeded(tidied.play("setup", replication_max_conns=new))) == []
                crosses_both_ways(tidied)
        print(f"{kills} of {TURNS} plays were killed before their end, a whole one takes {whole:.1f} s")
        assert kills > TURNS / 2
    finally:
        succeeded(tidied.play("setup"))


@on_least_loaded
def test_two_controllers_at_once(tidied):
    """The same, and then one that disagrees: no torn files, no crash, each change reported once."""
    for turn, others in enumerate([0, 0, 1, 1]):
        settings = [3 + turn, 3 + turn + others * 10]
        plays = [start_play(tidied, replication_hosts="all", replication_max_conns=value) for value in settings]
        results = []
        for play in plays:
            out, dummy = play.communicate()
            results.append([json.loads(line) for line in out.decode().splitlines() if line.startswith("{")])
        for result in results:
            assert failures(result) == [], failures(result)
        # Who comes second finds the files as they should be. Until the first has reloaded both see that it is needed.
        lines = [line for result in results for line in result if line["result"].get("files")]
        if not others:
            assert sorted(line["host"] for line in lines) == list(HOSTS), lines
        for host in HOSTS:
            assert is_sound(tidied, host) in settings
        # The one that lost may find its settings replaced, and nothing else.
        repaired = changes(succeeded(tidied.play("setup", replication_max_conns=settings[0])))
        assert {task for dummy, task in repaired} <= set(RELOADING) and (others or not repaired), repaired
        assert changes(succeeded(tidied.play("setup", replication_max_conns=settings[0]))) == []
    crosses_both_ways(tidied)
    succeeded(tidied.play("setup"))


@on_least_loaded
def test_modules_of_two_controllers_at_once(tidied):
    """Both want everyone on the list, ask for syncs and wait, again and again."""
    problems = []

    def controller():
        agent = runs.Agent(tidied.lab, MX1)
        for _turn in range(40):
            for name, options in [
                ("replicator_user", dict(users=EVERYONE, exclusive=True)),
                ("replicator_replicate", dict(users=EVERYONE, full=True, wait=True, wait_timeout=120)),
                ("replicator_user", dict(user_mask="*", wait=True, wait_timeout=120)),
            ]:
                result = agent.module(name, **options)
                # One may have taken a user off the list, for a full sync, when the other looks for it.
                if result["failed"] and not result.get("dropped_users") or "exception" in result:
                    problems.append(result)
        agent.close()

    threads = [threading.Thread(target=controller) for dummy in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert tidied.listed() == EVERYONE


# --- secrets ---


class Sampler:
    """Looks at all command lines and environments of a host, again and again, for a text."""

    SCRIPT = """
while ! test -e /srv/stop-sampling; do
  for process in /proc/[0-9]*; do
    test "$process" = /proc/$$ || cat $process/cmdline 2>/dev/null | tr '\\0' ' '
    echo
  done
  echo sample
done"""

    def __init__(self, pair, host):
        self.pair, self.host = pair, host
        pair.shell("rm -f /srv/stop-sampling", host)
        self.process = pair.lab.converse(host, "sh", "-c", self.SCRIPT)
        self.lines = []
        self.thread = threading.Thread(target=lambda: self.lines.extend(self.process.stdout))
        self.thread.start()

    def close(self):
        self.pair.shell("touch /srv/stop-sampling", self.host)
        self.thread.join()
        self.process.stdin.close()
        self.process.wait()


@on_least_loaded
def test_a_secret_is_seen_nowhere(tidied, tmp_path):
    """A canary is searched for after every kind of run: in what is printed, in results, logs, processes, files."""
    canary = "canary-5f0e7a-$x\"y'z"
    marks = [canary, "canary-5f0e7a"]
    secret = tmp_path / "secret.yml"
    secret.write_text(json.dumps({"replication_secret": canary}))
    broken = tmp_path / "broken.yml"
    broken.write_text(json.dumps({"replication_secret": "canary-5f0e7a\nbroken"}))
    facts = tmp_path / "facts"
    environment = {
        **runs.environment(ANSIBLE_CACHE_PLUGIN="jsonfile", ANSIBLE_CACHE_PLUGIN_CONNECTION=str(facts)),
        "ANSIBLE_LOG_PATH": str(tmp_path / "ansible.log"),
    }

    def run(playbook, *options):
        command = runs.playbook_command(
            tidied.lab, INVENTORY, f"{runs.COLLECTION}.{playbook}", "-vvvv", "--diff", "-e", f"@{secret}", *options
        )
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        output.append((f"{playbook} {' '.join(options)}", done.stdout + done.stderr))
        return done.returncode

    def leaks(text):
        return [mark for mark in marks if mark in text]

    output = []
    samplers = [Sampler(tidied, host) for host in HOSTS]
    try:
        assert run("plan", "-e", f"replication_plan_dir={tmp_path}") == 0
        assert (tmp_path / "plan.json").exists() and (tmp_path / "plan.md").exists()
        assert run("setup", "--check") == 0
        assert run("setup", "-e", "replication_verify=true") == 0
        assert run("setup") == 0
        assert run("verify", "-e", f"replication_probe_user={ALICE}") == 0
        assert run("status") == 0
        assert run("resync") == 0
        assert run("setup", "-e", "replication_base_dir=/run/other") != 0
        # Not by -e, which Ansible itself shows.
        assert run("setup", "-e", f"@{broken}") != 0
        tidied.lab.execute(MX1, "tee", "/etc/dovecot/conf.d/99-broken.conf", stdin="doveadm_password = other\n")
        assert run("setup") != 0
        tidied.shell("rm /etc/dovecot/conf.d/99-broken.conf")
        with tidied.stopped(MX2):
            assert run("verify") == 2
        # The syncs that MX2 has missed would stop what follows.
        assert run("resync") == 0
        assert run("decommission", "--check") == 0
    finally:
        for sampler in samplers:
            sampler.close()
        tidied.shell("rm -f /etc/dovecot/conf.d/99-broken.conf")
    samples = sum(line == "sample\n" for sampler in samplers for line in sampler.lines)
    commands = "".join(line for sampler in samplers for line in sampler.lines)
    for name, text in output:
        assert len(text) > 500 and not leaks(text), name
    assert not leaks(commands) and samples > 100
    for path in tmp_path.rglob("*"):
        if path.is_file() and path not in (secret, broken):
            assert not leaks(path.read_text(errors="replace")), path
    for host in HOSTS:
        assert not leaks(tidied.shell("journalctl --no-pager -o cat", host).stdout)
        found = tidied.shell(
            "grep -rlsF canary-5f0e7a /etc /var /srv /root /tmp /home /run /dev/shm || true", host
        ).stdout.split()
        assert found == [SECRET_FILE], found
        owners = tidied.shell(
            f"cd /run/dovecot; stat -c '%n %a %U' {SECRET_FILE} {CONFIG} replicator-doveadm replication-notify*",
            host,
        ).stdout.splitlines()
        assert owners == [
            f"{SECRET_FILE} 600 root",
            f"{CONFIG} 644 root",
            "replicator-doveadm 600 vmail",
            "replication-notify 600 vmail",
            "replication-notify-fifo 600 vmail",
        ]
    printed = sum(len(text) for dummy, text in output) >> 10
    print(f"{len(output)} runs, {printed} KiB of output, {samples} samples of processes")
    succeeded(tidied.play("setup"))


# --- mail that never stops ---


class Deliveries:
    """Mail that an MTA delivers on a host all the time, and tries again while Dovecot does not take it."""

    def __init__(self, pair, host, users, series="alone"):
        self.pair, self.host = pair, host
        self.name = f"{series}-{host.split('.')[0]}"
        script = f"""
number=0
while ! test -e /srv/stop-mail; do
  for user in {" ".join(users)}; do
    number=$((number + 1)); token="load-{self.name}-$number-end"
    until printf 'Subject: %s\\nMessage-ID: <%s@x>\\n\\nHello.\\n' $token $token | /usr/lib/dovecot/dovecot-lda -d $user
    do sleep 0.2; done 2>> /srv/deferred
    echo "$user $token"
    test -e /srv/stop-mail && break
    sleep 0.05
  done
done"""
        pair.shell("rm -f /srv/stop-mail /srv/deferred", host)
        self.process = pair.lab.converse(host, "sh", "-c", script)
        self.lines = []
        self.thread = threading.Thread(target=lambda: self.lines.extend(self.process.stdout))
        self.thread.start()

    def stop(self):
        """Return the pairs of user and token that were delivered."""
        self.pair.shell("touch /srv/stop-mail", self.host)
        self.thread.join()
        self.process.stdin.close()
        self.process.wait()
        return [tuple(line.split()) for line in self.lines]


@contextlib.contextmanager
def many_accounts(pair, users):
    """Accounts with an INBOX, in sync, on both hosts."""
    entries = "".join(f"{user}:{{PLAIN}}lab:5000:5000::/srv/vmail/{user}::\n" for user in users)
    for host in HOSTS:
        pair.shell("cp -p /etc/dovecot/users /srv/users.kept", host)
        pair.lab.execute(host, "tee", "-a", "/etc/dovecot/users", stdin=entries)
    time.sleep(2)
    # INBOXes that both hosts make for themselves would be trouble of another kind.
    pair.shell(
        f"for user in {' '.join(users)}; do printf 'Subject: first\\n\\n' | /usr/lib/dovecot/dovecot-lda -d $user; done"
    )
    agent = pair.agent()
    assert not agent.module("replicator_user", user_mask="*", wait=True, wait_timeout=300)["failed"]
    assert not agent.module("replicator_wait", until="synced", wait_timeout=300)["failed"]
    try:
        yield
    finally:
        for host in HOSTS:
            pair.shell("mv /srv/users.kept /etc/dovecot/users; rm -rf /srv/vmail/load*", host)
        time.sleep(2)
        pair.tidy()


def settle(pair):
    """Have everything synced from both sides, one after the other."""
    for host in HOSTS * 2:
        for attempt in range(5):
            options = dict(wait=True, wait_timeout=600, failed_only=attempt > 0)
            result = pair.agent(host).module("replicator_replicate", user_mask="*", **options)
            if not result["failed"]:
                break
        assert not result["failed"], result["msg"]


def check_all_there(pair, users, delivered):
    """On both hosts each mail is there, and their mailboxes are the same; return how many mails are there twice."""
    tokens = sorted(token for dummy, token in delivered)
    assert len(tokens) == len(set(tokens))
    prints = []
    for host in HOSTS:
        # Not the caches, which have the subjects as well.
        subjects = "cd /srv/vmail; grep -rhs '^Subject: load-' load*/Maildir/cur load*/Maildir/new"
        there = [line.split()[1] for line in pair.shell(subjects, host).stdout.splitlines()]
        assert sorted(set(there)) == tokens, (host, len(there), len(tokens))
        result = pair.agent(host).module("mailbox_info", users=users)
        assert not result["failed"], result
        assert sum(user["messages"] for user in result["users"]) == len(there) + len(users)
        prints.append({user["username"]: user["fingerprint"] for user in result["users"]})
    assert prints[0] == prints[1]
    return len(there) - len(tokens)


@on_least_loaded
@pytest.mark.parametrize("where", ["at one end", "at both ends"])
def test_mail_that_never_stops(tidied, where):
    """Delivered on both hosts during set-up, rotation of the secret, resync, drain and tasks for users; none is lost.

    None is doubled either where all mail of a user comes in at one end. Of mails that one user gets at both ends in
    the same seconds dsync doubles some, whether there are tasks or not: the first minutes are without any.
    """
    users = [f"load{number:03}@example.org" for number in range(200)]
    by_host = {MX1: users[::2], MX2: users[1::2]} if where == "at one end" else dict.fromkeys(HOSTS, users)
    with many_accounts(tidied, users):
        alone = []
        if where == "at both ends":
            ends = [Deliveries(tidied, host, by_host[host]) for host in HOSTS]
            time.sleep(CONTROL_SECONDS)
            alone = list(itertools.chain.from_iterable(end.stop() for end in ends))
            settle(tidied)
            doubled_alone = check_all_there(tidied, users, alone)
            print(f"without any task: {doubled_alone} of {len(alone)} mails doubled")
        ends = [Deliveries(tidied, host, by_host[host], "with") for host in HOSTS]
        troubles = 0
        try:
            succeeded(tidied.play("setup", replication_max_conns=5))
            succeeded(tidied.play("setup", replication_secret="rotated"))
            agent = tidied.agent()
            assert not agent.module("replicator_user", users=users[::2], state="absent")["failed"]
            assert not agent.module("replicator_user", user_mask="*")["failed"]
            assert not agent.module("replicator_replicate", users=users[:50], full=True)["failed"]
            # While both ends have so much to do syncs wait for each other's locks, and some give up.
            troubles += bool(failures(tidied.play("resync", replication_resync_timeout=600)))
            troubles += bool(failures(tidied.play("drain", replication_hosts=MX2, replication_drain_timeout=60)))
            succeeded(tidied.play("setup"))
            troubles += bool(failures(tidied.play("drain", replication_hosts=MX2, replication_hold=False)))
            tidied.shell("systemctl restart dovecot")
        finally:
            delivered = list(itertools.chain.from_iterable(end.stop() for end in ends))
            succeeded(tidied.play("setup"))
        settle(tidied)
        doubled = check_all_there(tidied, users, alone + delivered)
        deferred = [tidied.shell("wc -l < /srv/deferred", host).stdout.strip() for host in HOSTS]
        print(f"{where}: {len(delivered)} mails to {len(users)} users, deferred {deferred}")
        print(f"{troubles} plays with syncs that gave up")
        assert len(delivered) > 1000
        if where == "at one end":
            assert doubled == 0
        else:
            print(f"with the tasks: {doubled - doubled_alone} of {len(delivered)} mails doubled")


# --- long life ---

INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold"
MIRROR = "$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)"
UPGRADES = {
    "2.3.19.1": "sed -i 's/bullseye-security/bookworm-security/; s/bullseye/bookworm/' /etc/apt/sources.list "
    f"&& apt-get update && {INSTALL} dovecot-core dovecot-imapd dovecot-lmtpd",
    "2.3.21.1": f'echo "deb {MIRROR} bookworm-backports main" > /etc/apt/sources.list.d/backports.list '
    f"&& apt-get update && {INSTALL} -t bookworm-backports dovecot-core dovecot-imapd dovecot-lmtpd",
}


@pytest.fixture
def upgraded():
    lab = Lab("it-upgrade")
    lab.up("bullseye")
    runs.succeeded(runs.play(lab, INVENTORY, runs.MAILHOST, "-e", "mailhost_install=true"))
    pair = Pair(lab, "bullseye")
    runs.succeeded(pair.play("setup"))
    yield pair
    lab.down()


def test_from_2_3_13_to_2_3_21(upgraded):
    """Host after host, mail crossing between unequal ones; afterwards a set-up has nothing to do."""
    crosses_both_ways(upgraded)
    users = [ALICE]
    for version, upgrade in UPGRADES.items():
        for host in HOSTS:
            upgraded.shell(upgrade, host)
            assert upgraded.shell("dovecot --version", host).stdout.startswith(version)
            crosses_both_ways(upgraded)
        announced = upgraded.play("setup", "--check")
        assert changes(succeeded(announced)) == changes(succeeded(upgraded.play("setup"))) == []
        succeeded(upgraded.play("verify", replication_probe_user=ALICE))
    # The other host takes over, and gives back what it was sent meanwhile.
    with upgraded.stopped(MX1):
        token = upgraded.deliver(ALICE, MX2)
    succeeded(upgraded.play("resync"))
    assert upgraded.arrived(ALICE, token, MX1, seconds=30) is not None
    prints = [upgraded.agent(host).module("mailbox_info", users=users)["users"] for host in HOSTS]
    assert prints[0] == prints[1] and prints[0][0]["messages"] >= 11
