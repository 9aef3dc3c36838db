# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of real hosts, one for each Dovecot 2.3 that Debian gives, configured by the collection's own playbook.

MAILOPS_LAB_RELEASES: which of them, separated by blanks; all when not set. MAILOPS_LAB_KEEP: leave the hosts running.
Tests marked ``torture`` take long and are run by `make torture` alone, those marked ``release`` by
`make release-check`.
MAILOPS_ALL: each test on each release, and each transport on each release that has it, as `make torture` does; else
tests marked ``rare`` are left out, those marked ``on_one`` run on one release, as their outcome does not depend on
which, transports as in TRIED, and what is tried on a release is not tried again on one that is ALIKE.
"""

import contextlib
import json
import os
import sys
import time
import uuid
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / part) for part in ("lab", "tools")]

import runs  # noqa: E402
from cores import NoPython, core_bin  # noqa: E402
from lab import RELEASES, Lab, mail_image  # noqa: E402
from still import USERDB_SECONDS, Still  # noqa: E402

WITH_REPLICATOR = ["bullseye", "bookworm", "bookworm-backports"]
WITHOUT_REPLICATOR = ["trixie"]
CHOSEN = os.environ.get("MAILOPS_LAB_RELEASES", "").split() or WITH_REPLICATOR + WITHOUT_REPLICATOR
# The release on which modules are run by Ansible over the default transport.
BY_ANSIBLE = "bookworm"
# The one with the fewest tests of its own, for those that need no more than one.
LEAST_LOADED = "bookworm-backports"
# That of tests marked ``on_one``: the newest, or what is chosen.
ONE = LEAST_LOADED if LEAST_LOADED in CHOSEN else CHOSEN[0]
# A release whose replicator does what that of another one does: what is tried there is not tried again here.
ALIKE = {"bookworm-backports": "bookworm"}
API_URL = "http://127.0.0.1:8080"
API_KEY = "key-only-for-the-lab"
API = f"""
service doveadm {{
  inet_listener http {{
    port = 8080
  }}
}}
doveadm_api_key = {API_KEY}
"""
TRANSPORTS = {
    "socket": {},
    "doveadm": {},
    "http": {"api_url": API_URL, "api_key": API_KEY},
    "service": {},
}
# doveadm before its change in 2.3.17 and after; the API has no replicator commands before that.
TRIED = {
    "bullseye": ["socket", "doveadm"],
    "bookworm": ["socket", "http"],
    "bookworm-backports": ["socket", "doveadm"],
    # The service in place of the replicator, by its path alone.
    "trixie": ["socket"],
}
# What a service in place of a replicator has to do as well, whatever else the tests of a pair are about.
BEHAVIOUR = ["test_replicator_info", "test_replicator_replicate", "test_replicator_user", "test_replicator_wait"]
SERVICE_SOCKET = "/run/dovecot-replication/replicator-doveadm"
# Says a line to a service as doveadm does to a replicator, and prints the answer.
SAY = r"""
import socket, sys
channel = socket.socket(socket.AF_UNIX)
channel.connect(sys.argv.pop(1))
stream = channel.makefile("rwb")
stream.readline()
stream.write(b"VERSION\treplicator-doveadm-client\t1\t0\n" + "\t".join(sys.argv[1:]).encode() + b"\n")
stream.flush()
line = stream.readline()
while line.strip():
    sys.stdout.buffer.write(line)
    line = b"" if line[:1] in b"+-" else stream.readline()
"""
HAVE_API = ["bookworm", "bookworm-backports"]
INVENTORY = HERE / "inventory.yml"
MX1, MX2 = HOSTS = ("mx1.example.org", "mx2.example.org")
# What stops when a host is to be silent. One that serves may end meanwhile; -x and not -f, which would match the very
# shell that asks.
FREEZE, THAW = (
    f"kill -{signal} $(cat /run/dovecot/master.pid) && kill -{signal} $(pgrep -x doveadm-server) 2>/dev/null; true"
    for signal in ("STOP", "CONT")
)
# The accounts that the hosts have; see inventory.yml.
EVERYONE = [f"{name}@example.org" for name in ("alice", "bob", "carol", "dave")]


# What the tests of a lab take, in seconds, where three processes share two cores; without a lab so much each.
SECONDS = 2
LONG = {
    "bullseye": 760,
    "bookworm": 690,
    "bookworm-backports": 620,
    "trixie": 190,
    "trixie-served": 130,
    "newcomers": 170,
    "trixie-mixed": 60,
}


class LabScheduling(LoadScopeScheduling):
    """Keeps the tests of a lab in one process, in their order; the lab that takes longest comes first."""

    def _assign_work_unit(self, node):
        longest = max(self.workqueue, key=lambda lab: LONG.get(lab, SECONDS * len(self.workqueue[lab])))
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid):
        test, dummy, parameters = nodeid.partition("[")
        labs = [*RELEASES, *LONG]
        release = max((lab for lab in labs if lab in parameters), key=len, default=nodeid)
        if release in WITHOUT_REPLICATOR:
            # There are three labs of these.
            served = any(f"/{name}.py" in test for name in [*BEHAVIOUR, "test_service"])
            release += "-served" if served else "-mixed" if "mixed" in test else ""
        return release


def pytest_configure(config):
    config.addinivalue_line("markers", "replicator: of what only a replicator has, not a service in its place")
    config.addinivalue_line("markers", "torture: takes long, for `make torture`")
    config.addinivalue_line("markers", "on_one: on one release, unless MAILOPS_ALL is set")
    config.addinivalue_line("markers", "release: what lies between the oldest and the newest, for `make release-check`")
    config.addinivalue_line("markers", "rare: of what few do, or what others show in part; only with MAILOPS_ALL")
    left_out = ["torture", "release"] if os.environ.get("MAILOPS_ALL") else ["torture", "release", "rare"]
    config.option.markexpr = config.option.markexpr or " and ".join(f"not {mark}" for mark in left_out)
    # For the tests alone: what the demo and the benchmarks run is as users have it.
    os.environ["ANSIBLE_CONFIG"] = str(HERE / "ansible.cfg")
    runs.use_starters()


def is_tried(item):
    """Whether a test runs on its release, and over its transport."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    release, transport = parameters.get("pair"), parameters.get("transport")
    if release is not None and release not in CHOSEN:
        return False
    if release in WITHOUT_REPLICATOR:
        behaves = item.path.stem in BEHAVIOUR and not item.get_closest_marker("replicator")
        if item.path.stem != "test_service" and not (behaves and parameters["transport"] in ("socket", "service")):
            return False
    elif parameters.get("transport") == "service":
        return False
    if os.environ.get("MAILOPS_ALL"):
        return transport != "http" or release is None or release in HAVE_API
    return release is None or transport is None or transport in TRIED[release]


def case_of(item):
    """What a test tries, whatever the release; and that, None where it has none."""
    parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    release = parameters.pop("pair", None)
    return (item.path, item.originalname, repr(sorted(parameters.items(), key=str))), release


def pytest_collection_modifyitems(config, items):
    tried, untried = [], []
    there = {case_of(item) for item in items if is_tried(item)}
    for item in items:
        case, release = case_of(item)
        other = ONE if item.get_closest_marker("on_one") else ALIKE.get(release)
        elsewhere = not os.environ.get("MAILOPS_ALL") and release not in (None, other) and (case, other) in there
        (untried if elsewhere or not is_tried(item) else tried).append(item)
    items[:] = tried
    config.hook.pytest_deselected(items=untried)


def pytest_xdist_make_scheduler(config, log):
    return LabScheduling(config, log)


class Pair:
    """Two hosts that replicate to each other, and what the tests do with them."""

    def __init__(self, lab, release):
        self.lab = lab
        self.release = release
        self.dovecot = RELEASES[release].dovecot
        self.defaults = {}
        # Of each playbook.
        self.variables = {}
        self.socket = SERVICE_SOCKET if release in WITHOUT_REPLICATOR else "/run/dovecot/replicator-doveadm"
        self._agents = {}

    def module(self, name, /, host=MX1, **options):
        """Run a module: by Ansible on one release over the default transport, else by the agent, which is faster."""
        options = {**self.defaults, **options}
        default = self.defaults.get("transport", "socket") == "socket"
        if default and self.release == BY_ANSIBLE or "ansible_options" in options:
            return runs.module(self.lab, host, name, **options)
        return self.agent(host).module(name, **options)

    def agent(self, host=MX1):
        if host not in self._agents:
            self._agents[host] = runs.Agent(self.lab, host)
        return self._agents[host]

    def play(self, playbook, *options, environment=None, **variables):
        """Run one of the collection's playbooks; return its results."""
        variables = {**self.variables, **variables}
        extra = ["-e", json.dumps(variables)] if variables else []
        return runs.play(self.lab, INVENTORY, f"{runs.COLLECTION}.{playbook}", *extra, *options, **(environment or {}))

    def shell(self, script, host=MX1, check=True):
        return self.lab.execute(host, "sh", "-c", script, check=check)

    def deliver(self, user, host=MX1):
        token = f"t-{uuid.uuid4().hex}"
        runs.deliver(self.lab, host, user, token)
        return token

    def save_unnoticed(self, user, host=MX1):
        """Put a mail into a mailbox without the replicator being told of it."""
        token = f"t-{uuid.uuid4().hex}"
        mail = f"Subject: {token}\n\nHello.\n"
        self.lab.execute(host, "doveadm", "-o", "mail_plugins=", "save", "-u", user, stdin=mail)
        return token

    def arrived(self, user, token, host=MX2, **options):
        return runs.arrived(self.lab, host, user, token, **options)

    @contextlib.contextmanager
    def account(self, name, fields="", hosts=HOSTS):
        """An account that exists, with its mail, only for a while; ``fields`` are extra ones of its userdb entry."""
        entry = f"{name}:{{PLAIN}}lab:5000:5000::/srv/vmail/{name}::{fields}\n"
        for host in hosts:
            self.lab.execute(host, "tee", "-a", "/etc/dovecot/users", stdin=entry)
        time.sleep(USERDB_SECONDS)
        try:
            yield
        finally:
            for host in hosts:
                self.lab.execute(host, "sed", "-i", f"\\|^{name}:|d", "/etc/dovecot/users")
                # A sync that is still under way writes meanwhile.
                remove = ["rm", "-rf", f"/srv/vmail/{name}"]
                deadline = time.monotonic() + 20
                while self.lab.execute(host, *remove, check=False).returncode and time.monotonic() < deadline:
                    time.sleep(0.2)
            time.sleep(USERDB_SECONDS)

    @contextlib.contextmanager
    def replaced(self, files, hosts=HOSTS):
        """Files with other contents for a while, a dict of paths to texts; Dovecot is told of neither."""
        for host in hosts:
            for path, text in files.items():
                self.shell(f"test ! -e {path} || cp -p {path} {path}.kept", host)
                self.lab.execute(host, "tee", path, stdin=text)
        try:
            yield
        finally:
            for host in hosts:
                for path in files:
                    self.shell(f"rm {path}; test ! -e {path}.kept || mv {path}.kept {path}", host)

    @contextlib.contextmanager
    def silent(self, host=MX2):
        """A host whose Dovecot lets others connect and never answers. Syncs that were asked for before have ended."""
        deadline = time.monotonic() + 10
        while any(map(self.syncing, HOSTS)) and time.monotonic() < deadline:
            time.sleep(0.1)
        with self.silent_dovecot(host):
            yield

    @contextlib.contextmanager
    def silent_dovecot(self, host=MX2):
        """As ``silent``, whatever runs."""
        self.shell(FREEZE, host)
        try:
            yield
        finally:
            self.wake(host)

    def wake(self, host=MX2):
        """Have a ``silent`` host answer again."""
        self.shell(THAW, host)

    @contextlib.contextmanager
    def cut_off(self):
        """No network between the hosts: what one sends to the other reaches nobody, and nobody tells it so."""
        neighbours = (
            "for address in $(getent ahosts {there} | cut -d ' ' -f 1 | sort -u); do ip neighbour {change}; done"
        )
        nowhere = "replace $address lladdr 02:00:00:00:00:01 dev eth0 nud permanent"
        for here, there in (HOSTS, HOSTS[::-1]):
            self.shell(neighbours.format(there=there, change=nowhere), here)
        try:
            yield
        finally:
            for here, there in (HOSTS, HOSTS[::-1]):
                self.shell(neighbours.format(there=there, change="del $address dev eth0"), here)

    @contextlib.contextmanager
    def stopped(self, host=MX2):
        """A host whose Dovecot is stopped."""
        self.shell("systemctl stop dovecot", host)
        try:
            yield
        finally:
            self.shell("systemctl start dovecot", host)

    @contextlib.contextmanager
    def later(self, seconds, script, host=MX1):
        """Run a shell script on a host so many seconds later, beside what else is done; it has ended afterwards."""
        process = self.lab.converse(host, "sh", "-c", f"sleep {seconds}; {script}")
        try:
            yield
        finally:
            process.stdin.close()
            process.wait()

    def wakes_up(self, seconds, host=MX2):
        """Have a ``silent`` host answer again so many seconds later; a context manager."""
        return self.later(seconds, THAW, host)

    def is_syncing(self, user, host=MX1):
        """Wait until a sync of the user is running, which begins some moments after it was asked for."""
        deadline = time.monotonic() + 10
        while not self.syncing(host).intersection([user, f"{user}@example.org"]) and time.monotonic() < deadline:
            time.sleep(0.1)

    def syncing(self, host=MX1):
        """The users whose syncs are under way."""
        if self.release in WITHOUT_REPLICATOR:
            lines = self.say("STATUS-DSYNC", host=host).splitlines()
        else:
            lines = self.shell("doveadm -f tab replicator dsync-status", host).stdout.splitlines()[1:]
        return {line.split("\t")[0] for line in lines}.difference([""])

    def tidy(self):
        """Have on both lists just those who have an account, all synced, whatever tests have left behind."""
        if all(map(self._is_tidy, HOSTS)):
            return
        for host in HOSTS:
            self.agent(host).module("replicator_user", users=EVERYONE, exclusive=True)
        for host in HOSTS:
            self.agent(host).module("replicator_replicate", users=EVERYONE, wait=True, wait_timeout=60)

    def _is_tidy(self, host):
        info = self.agent(host).module("replicator_info", gather=["users", "dsyncs"])
        quiet = not info["failed"] and not any(dsync["username"] for dsync in info["dsyncs"])
        return quiet and [(user["username"], user["priority"], user["failed"]) for user in info["users"]] == [
            (name, "none", False) for name in EVERYONE
        ]

    def listed(self, host=MX1):
        """The names on the replicator's list, as doveadm tells."""
        if self.release in WITHOUT_REPLICATOR:
            status = self.say("STATUS", "*", host=host)
            return sorted(line.split("\t")[0] for line in status.splitlines())
        status = self.shell("doveadm -f tab replicator status '*'", host).stdout
        return sorted(line.split("\t")[0] for line in status.splitlines()[1:])

    def say(self, *fields, host=MX1):
        """The answer of the service to a line of the replicator's protocol."""
        return self.lab.execute(host, "python3", "-c", SAY, SERVICE_SOCKET, *fields).stdout

    def replicator(self, command, name, host=MX1):
        """Have the list changed beside the modules: ``add``, ``remove`` or ``replicate``."""
        if self.release in WITHOUT_REPLICATOR:
            self.say(*{"replicate": ("REPLICATE", "low", "")}.get(command, (command.upper(),)), name, host=host)
        else:
            self.lab.execute(host, "doveadm", "replicator", command, "--", name)


def commands_of(series):
    """The directory of the commands of an ansible-core; a test is skipped where none of its Pythons is here."""
    try:
        return core_bin(series)
    except NoPython as error:
        pytest.skip(str(error))


def start_lab(name, release, others=None):
    """A lab for tests that share it: Dovecot is installed, and modules begin without the time of their imports."""
    lab = Lab(name, python=runs.WARM, image=mail_image)
    lab.up(release, others=others)
    runs.warm(lab, HOSTS)
    for host in HOSTS:
        # With its own name, as where its package was installed on it.
        lab.execute(host, "make-ssl-cert", "generate-default-snakeoil", "--force-overwrite")
    return lab


@pytest.fixture(scope="session", params=[release for release in RELEASES if release in CHOSEN])
def pair(request):
    if request.param in WITHOUT_REPLICATOR:
        # With a service in place of a replicator.
        lab = start_lab(f"served-{request.param}", request.param)
        yield from set_up(lab, request.param, mailhost_syntax="2.4", setup={"replication_engine": "service"})
        return
    lab = start_lab(f"it-{request.param}", request.param)
    runs.succeeded(runs.play(lab, INVENTORY, runs.MAILHOST, "-e", "mailhost_install=true"))
    for host in HOSTS:
        lab.execute(host, "tee", "/etc/dovecot/conf.d/96-api.conf", stdin=API)
    hosts = Pair(lab, request.param)
    runs.succeeded(hosts.play("setup"))
    yield hosts
    if not os.environ.get("MAILOPS_LAB_KEEP"):
        lab.down()


@pytest.fixture
def tidied(pair):
    pair.tidy()
    return pair


@pytest.fixture(scope="session", params=[release for release in WITHOUT_REPLICATOR if release in CHOSEN])
def host_without_replicator(request):
    lab = start_lab(f"it-{request.param}", request.param)
    lab.execute(MX1, "tee", "/etc/dovecot/conf.d/96-api.conf", stdin=API)
    lab.execute(MX1, "systemctl", "restart", "dovecot")
    yield Pair(lab, request.param)
    if not os.environ.get("MAILOPS_LAB_KEEP"):
        lab.down()


@pytest.fixture(scope="session", params=[release for release in WITHOUT_REPLICATOR if release in CHOSEN])
def timed(request):
    """A pair whose Dovecot has no replicator, so that a timer starts the syncs."""
    lab = start_lab(f"timed-{request.param}", request.param)
    yield from set_up(lab, request.param, mailhost_syntax="2.4")


@pytest.fixture(scope="session", params=[release for release in WITHOUT_REPLICATOR if release in CHOSEN])
def mixed(request):
    """A pair on its way: mx1 has a replicator, and mx2 has none any more."""
    lab = start_lab(f"mixed-{request.param}", "bookworm", others={"mx2": request.param})
    runs.succeeded(runs.play(lab, INVENTORY, runs.MAILHOST, "-e", "mailhost_install=true", "--limit", MX1))
    yield from set_up(lab, request.param, mailhost_syntax="2.4", limit=MX2)


def set_up(lab, release, limit="all", setup=None, **mailhost):
    options = ["-e", json.dumps({"mailhost_install": True, **mailhost}), "--limit", limit]
    runs.succeeded(runs.play(lab, INVENTORY, runs.MAILHOST, *options))
    hosts = Pair(lab, release)
    hosts.variables = setup or {}
    runs.succeeded(hosts.play("setup"))
    yield hosts
    if not os.environ.get("MAILOPS_LAB_KEEP"):
        lab.down()


@pytest.fixture(scope="module")
def still(pair):
    dovecot = Still(pair.lab, MX1)
    yield dovecot
    dovecot.stop()
    dovecot.agent.close()


@pytest.fixture(params=TRANSPORTS)
def transport(pair, request):
    """The modules behave the same whatever way they talk to the replicator."""
    pair.defaults = {"transport": request.param, **TRANSPORTS[request.param]}
    if pair.release in WITHOUT_REPLICATOR and request.param == "socket":
        pair.defaults["socket_path"] = SERVICE_SOCKET
    yield request.param
    pair.defaults = {}
