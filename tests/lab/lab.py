#!/usr/bin/env python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Debian hosts with systemd in containers, for the demo, molecule and the integration tests.

A lab is a named set of hosts on a network of its own, so several labs live side by side and use the same host names.
The hosts are reached over ssh through a port on 127.0.0.1, as real ones are. Everything made here carries the label
``mailops-lab`` and only that is ever removed. Needs nothing but Python's standard library.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
STATE = HERE.parents[1] / ".lab"
PREFIX = "mailops-lab"
DOMAIN = "example.org"
# As mailhost.yml installs it.
DOVECOT = ["dovecot-imapd", "dovecot-lmtpd"]
ENGINE_PACKAGES = "podman runc mmdebstrap netavark aardvark-dns iptables nftables uidmap".split()
SSH_OPTIONS = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
BOOT_SECONDS = 60
PULL_SECONDS = 120


class Release(NamedTuple):
    """Which Debian gives which Dovecot."""

    debian: str
    backports: bool
    dovecot: str


RELEASES = {
    "bullseye": Release("bullseye", False, "2.3.13"),
    "bookworm": Release("bookworm", False, "2.3.19.1"),
    "bookworm-backports": Release("bookworm", True, "2.3.21.1"),
    "trixie": Release("trixie", False, "2.4.1"),
}


class LabError(Exception):
    """Something a person must put right; the text says what."""


def say(text):
    """Announce a step, at once even when the output is a pipe."""
    print(f"[lab] {text}", flush=True)


def run(*argv, stdin=None, check=True, timeout=600):
    """Run a command and return it completed, with its output as text."""
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        done = subprocess.CompletedProcess(argv, 124, "", f"no answer within {error.timeout:.0f} seconds")
    if check and done.returncode:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise LabError(f"{shlex.join(argv)} ended with status {done.returncode}:\n{output}")
    return done


@contextlib.contextmanager
def exclusive_lock(debian=None):
    """Let one process at a time prepare what labs share: packages and networks, or the images of a Debian.

    A newcomer waits for images, so those of several Debians are made at the same time.
    """
    STATE.mkdir(exist_ok=True)
    with open(STATE / (f"{debian}.lock" if debian else "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Engine:
    """podman or docker, and the options it takes here to run systemd in a container."""

    def __init__(self, command):
        self.command = command
        self.is_podman = Path(command).name == "podman"
        self._options = None

    @classmethod
    def find(cls):
        """The engine named by MAILOPS_LAB_ENGINE, else podman, else docker, else podman freshly installed."""
        wanted = os.environ.get("MAILOPS_LAB_ENGINE")
        tried = []
        for name in [wanted] if wanted else ["podman", "docker"]:
            if not shutil.which(name):
                tried.append(f"there is no {name} command")
                continue
            asked = run(name, "info", check=False)
            if asked.returncode == 0:
                return cls(name)
            tried.append(f"`{name} info` says: {' '.join(asked.stderr.split()) or 'nothing'}")
        missing = f"The lab needs a container engine, and {'; '.join(tried)}."
        if wanted:
            raise LabError(f"{missing} MAILOPS_LAB_ENGINE asked for it.")
        install_packages(
            ENGINE_PACKAGES,
            f"{missing}\nInstall podman, or docker and the right to use it; or run this as root on Debian or Ubuntu, "
            "where podman is installed for you.",
        )
        return cls("podman")

    def __call__(self, *argv, **kwargs):
        return run(self.command, *argv, **kwargs)

    def exists(self, kind, name):
        return self(kind, "inspect", name, check=False).returncode == 0

    def run_options(self, image):
        """Options for ``run``: none extra where the engine works as it is, else the ones for a confined root.

        Where root lacks CAP_SYS_RESOURCE, raising limits is refused, and crun does not know a hybrid cgroup mount.
        """
        if self._options is None:
            confined = ["--ulimit", "nofile=1024:20000", "--ulimit", "nproc=1024:1024"]
            runtimes = [[], ["--runtime", "runc"]] if self.is_podman else [[]]
            tried = []
            for candidate in [*runtimes, *[runtime + confined for runtime in runtimes]]:
                # --runtime belongs before the sub-command.
                trial = self(*before(candidate), "run", "--rm", *after(candidate), image, "true", check=False)
                if trial.returncode == 0:
                    self._options = candidate
                    break
                tried.append(trial.stderr.strip().splitlines()[-1:])
            else:
                raise LabError(f"{self.command} cannot start a container of {image}: {tried}")
        return self._options

    def start(self, image, name, *options, command):
        """Start a detached container."""
        how = self.run_options(image)
        self(*before(how), "run", "-d", "--name", name, *after(how), *options, image, *command)

    def systemd_options(self):
        """What lets systemd be process 1."""
        if self.is_podman:
            return ["--systemd=always", "--tmpfs", "/tmp"]
        return [
            *[
                "--cap-add",
                "SYS_ADMIN",
                "--security-opt",
                "seccomp=unconfined",
                "--security-opt",
                "apparmor=unconfined",
            ],
            *["--cgroupns=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw"],
            *["--tmpfs", "/tmp", "--tmpfs", "/run", "--tmpfs", "/run/lock"],
        ]


def before(options):
    return options[:2] if options[:1] == ["--runtime"] else []


def after(options):
    return options[2:] if options[:1] == ["--runtime"] else options


def install_packages(packages, otherwise):
    """Install Debian packages, or raise LabError(otherwise) where that is not ours to do."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError(otherwise)
    say(f"installing {' '.join(packages)}")
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    run(*environment, "apt-get", "update")
    run(*environment, "apt-get", "install", "-y", "--no-install-recommends", *packages)


def base_image(engine, debian):
    """A bare Debian: from a registry where one answers, else made with mmdebstrap."""
    tag = f"localhost/{PREFIX}-base:{debian}"
    if engine.exists("image", tag):
        return tag
    # By its short name: the engine's own configuration says which registries have it.
    public = f"debian:{debian}"
    say(f"pulling {public}")
    if engine("pull", public, check=False, timeout=PULL_SECONDS).returncode == 0:
        engine("tag", public, tag)
        return tag
    say(f"no registry answers; making Debian {debian} with mmdebstrap (half a minute)")
    if not shutil.which("mmdebstrap"):
        with exclusive_lock():
            install_packages(
                ["mmdebstrap", "debian-archive-keyring"],
                f"{public} cannot be pulled, and making it needs mmdebstrap. {self_help(tag)}",
            )
    if os.geteuid() != 0:
        raise LabError(f"{public} cannot be pulled, and mmdebstrap needs root here. {self_help(tag)}")
    with tempfile.TemporaryFile("w+") as told:
        make = ["mmdebstrap", "--variant=minbase", debian, "-", *own_mirror()]
        made = subprocess.Popen(make, stdout=subprocess.PIPE, stderr=told)
        imported = subprocess.run(
            [engine.command, "import", "-", tag], stdin=made.stdout, stdout=told, stderr=told, check=False
        )
        if made.wait() or imported.returncode:
            engine("rmi", tag, check=False)
            told.seek(0)
            raise LabError(f"{' '.join(make)} | {engine.command} import - {tag} failed:\n{told.read()}")
    return tag


def own_mirror():
    """The mirror of Debian that this machine's own sources name, in a list; an empty one where they name none."""
    if not shutil.which("apt-get"):
        return []
    of_debian = ["Origin: Debian", "Label: Debian"]
    targets = run("apt-get", "indextargets", "--format", "$(REPO_URI)", *of_debian, check=False)
    return targets.stdout.split()[:1]


def self_help(tag):
    return f"Run this as root on Debian or Ubuntu, or give the engine a Debian image of that release as {tag}."


def host_image(engine, release_name):
    """The image of a lab host; made once and kept under a tag that changes with its recipe."""
    release = RELEASES[release_name]
    recipe = HERE / "provision.sh"
    version = hashlib.sha256(recipe.read_bytes() + repr(release).encode()).hexdigest()[:12]
    tag = f"localhost/{PREFIX}:{release_name}-{version}"
    if engine.exists("image", tag):
        return tag
    base = base_image(engine, release.debian)
    say(f"preparing the image of a {release_name} host with Dovecot {release.dovecot} at hand (half a minute)")
    arguments = [release.debian] + (["backports"] if release.backports else [])
    build_image(engine, base, tag, f"{PREFIX}-build-{release_name}", recipe.read_text(), *arguments)
    return tag


def mail_image(engine, release_name):
    """The image of a lab host on which Dovecot is installed, too."""
    script = f"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {' '.join(DOVECOT)}"
    return extended_image(engine, release_name, "mail", f"Dovecot {RELEASES[release_name].dovecot}", script)


def extended_image(engine, release_name, kind, what, script):
    """The image of a lab host to which a shell script has added something; made once.

    :arg kind: a part of its name
    :arg what: what is added, to be said
    """
    base = host_image(engine, release_name)
    tag = base.replace(f"{PREFIX}:", f"{PREFIX}-{kind}:")
    if not engine.exists("image", tag):
        say(f"installing {what} into it")
        build_image(engine, base, tag, f"{PREFIX}-build-{kind}-{release_name}", script)
    return tag


def build_image(engine, base, tag, builder, script, *arguments):
    """Run a shell script in a container of an image, and keep what that makes of it under a tag."""
    engine("rm", "-f", builder, check=False)
    engine.start(base, builder, "--label", PREFIX, command=["sleep", "3600"])
    try:
        engine("exec", "-i", builder, "sh", "-s", *arguments, stdin=script)
        engine("commit", builder, tag)
    finally:
        engine("rm", "-f", builder, check=False)


class Host(NamedTuple):
    """One running host and how ssh reaches it."""

    name: str
    container: str
    port: int


class Lab:
    """The hosts of one name. ``up`` may be called again at any time; it keeps what is sound.

    Labs of two checkouts do not meet when MAILOPS_LAB_SUFFIX makes their names differ.

    :arg python: the interpreter that Ansible uses on the hosts
    :arg image: function of the engine and a release that gives the image of a host
    """

    def __init__(self, name, python="/usr/bin/python3", image=host_image):
        self.name = name + os.environ.get("MAILOPS_LAB_SUFFIX", "")
        with exclusive_lock():
            self.engine = Engine.find()
        self.network = f"{PREFIX}-{self.name}"
        self.directory = STATE / self.name
        self.python = python
        self._image = image
        self._entrances = {}

    @property
    def inventory(self):
        """Path of the inventory that says how the hosts are reached, and nothing else."""
        return self.directory / "connection.yml"

    def container(self, host):
        return f"{PREFIX}-{self.name}-{host.split('.')[0]}"

    def up(self, release="bookworm", hosts=("mx1", "mx2"), others=None):
        """Start the hosts (short names) and return them as a list of Host.

        :arg others: dict of hosts that are to have another release, to that
        """
        others = others or {}
        images = {}
        for name in {release, *others.values()}:
            with exclusive_lock(RELEASES[name].debian):
                images[name] = self._image(self.engine, name)
        with exclusive_lock():
            if not self.engine.exists("network", self.network):
                self._create_network()
        names = [f"{host}.{DOMAIN}" for host in hosts]
        for host, name in zip(hosts, names):
            image = images[others.get(host, release)]
            if not self._is_sound(name, image):
                self._create(name, image)
        for name in names:
            self._wait_booted(name)
        running = [Host(name, self.container(name), self._reach(name)) for name in names]
        self._write_inventory(running)
        return running

    def down(self):
        """Remove the hosts, their network and what was written about them."""
        for container in self._containers(f"label={PREFIX}={self.name}"):
            # An orderly end would take half a minute, and may be given up in the middle.
            self.engine("kill", container, check=False)
            self.engine("rm", "-f", container, check=False)
        self.engine("network", "rm", self.network, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def execute(self, host, *argv, **kwargs):
        """Run a command on a host and return it completed."""
        return run(*self._entrance(host), *argv, **kwargs)

    def converse(self, host, *argv):
        """Start a command on a host and return its Popen, with pipes for text to and from it."""
        return subprocess.Popen(
            [*self._entrance(host), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _entrance(self, host):
        """What runs a command on a host: nsenter where it can, which takes a tenth of the time of the engine's exec."""
        container = self.container(host)
        through_engine = [self.engine.command, "exec", "-i", container]
        if container not in self._entrances and os.geteuid() == 0 and shutil.which("nsenter"):
            asked = self.engine("inspect", "--format", "{{.State.Pid}}", container, check=False)
            variables = run(*through_engine, "env", "-0", check=False).stdout.split("\0")[:-1]
            namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
            enter = ["nsenter", "--target", asked.stdout.strip(), *namespaces, "env", "-i", *variables]
            if run(*enter, "true", check=False, timeout=10).returncode == 0:
                self._entrances[container] = enter
        return self._entrances.get(container, through_engine)

    def _create_network(self):
        """Make the network, with IPv6 where the engine can."""
        create = ["network", "create", "--label", f"{PREFIX}={self.name}"]
        if self.engine(*create, "--ipv6", self.network, check=False).returncode:
            self.engine(*create, self.network)

    def _containers(self, condition):
        return self.engine("ps", "-a", "--filter", condition, "--format", "{{.Names}}").stdout.split()

    def _is_sound(self, name, image):
        """Whether the host runs, really, and from this image.

        After a killed run the engine may believe that containers run whose processes are gone; asking one of them to
        do something tells.
        """
        container = self.container(name)
        inspected = self.engine(
            *["container", "inspect", "--format", '{{index .Config.Labels "mailops-lab-image"}}', container],
            check=False,
        )
        if inspected.returncode or inspected.stdout.strip() != image:
            return False
        return self.engine("exec", container, "true", check=False, timeout=10).returncode == 0

    def _create(self, name, image):
        container = self.container(name)
        self._entrances.pop(container, None)
        say(f"starting {name} (container {container})")
        self.engine("rm", "-f", container, check=False)
        self.engine.start(
            image,
            container,
            *["--label", f"{PREFIX}={self.name}", "--label", f"{PREFIX}-image={image}"],
            *["--hostname", name, "--network", self.network, "--network-alias", name],
            # For the firewalls of the hosts.
            *["--cap-add", "NET_ADMIN"],
            *["--publish", "127.0.0.1::22", *self.engine.systemd_options()],
            command=["/sbin/init"],
        )

    def _wait_booted(self, name):
        deadline = time.monotonic() + BOOT_SECONDS
        state = ""
        while time.monotonic() < deadline:
            state = self.execute(name, "systemctl", "is-system-running", check=False, timeout=10).stdout.strip()
            if state in ("running", "degraded"):
                return
            time.sleep(0.3)
        raise LabError(
            f"{name} has not booted within {BOOT_SECONDS} s (systemd says {state!r}). All hosts share the inotify "
            "instances of this machine (fs.inotify.max_user_instances), and each takes six: `lab.py list` names the "
            "labs that run, `lab.py down NAME` removes one."
        )

    def _reach(self, name):
        """Let our key in, wait until sshd answers, and return its port on 127.0.0.1."""
        script = "cat > ~/.ssh/authorized_keys && chmod 600 ~/.ssh/authorized_keys"
        self.execute(name, "sh", "-c", script, stdin=self._key().with_suffix(".pub").read_text())
        port = int(self.engine("port", self.container(name), "22/tcp").stdout.split()[0].rsplit(":", 1)[1])
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    connection.settimeout(5)
                    if connection.recv(4) == b"SSH-":
                        return port
            except OSError:
                pass
            time.sleep(0.2)
        raise LabError(f"sshd of {name} does not answer on 127.0.0.1:{port}")

    def _key(self):
        key = self.directory / "ssh_key"
        if not key.exists():
            if not shutil.which("ssh-keygen"):
                install_packages(
                    ["openssh-client"],
                    "The lab reaches its hosts over ssh: install an OpenSSH client (ssh, ssh-keygen).",
                )
            self.directory.mkdir(parents=True, exist_ok=True)
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{PREFIX}-{self.name}", "-f", str(key))
        return key

    def _write_inventory(self, hosts):
        lines = ["# How the hosts of this lab are reached; written anew by each start.", "all:", "  hosts:"]
        for host in hosts:
            lines += [f"    {host.name}:", f"      ansible_port: {host.port}"]
        lines += [
            "  vars:",
            "    ansible_host: 127.0.0.1",
            "    ansible_user: root",
            f"    ansible_ssh_private_key_file: {self._key()}",
            f"    ansible_ssh_common_args: {SSH_OPTIONS}",
            f"    ansible_python_interpreter: {self.python}",
        ]
        self.directory.mkdir(parents=True, exist_ok=True)
        self.inventory.write_text("\n".join(lines) + "\n")


def list_labs(engine):
    """Print a line per container of any lab."""
    wanted = ["--filter", f"label={PREFIX}", "--format", "{{.Names}}\t{{.Status}}\t{{.Image}}"]
    print(engine("ps", "-a", *wanted).stdout, end="")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the hosts of a lab, or keep those that run")
    up.add_argument("name")
    up.add_argument("--release", choices=sorted(RELEASES), default="bookworm")
    up.add_argument("--hosts", nargs="+", default=["mx1", "mx2"], metavar="HOST")
    down = commands.add_parser("down", help="remove a lab")
    down.add_argument("name")
    execute = commands.add_parser("exec", help="run a command, or a shell, on a host of a lab")
    execute.add_argument("name")
    execute.add_argument("host")
    execute.add_argument("argv", nargs=argparse.REMAINDER)
    commands.add_parser("list", help="list the hosts of all labs")
    arguments = parser.parse_args()
    try:
        if arguments.command == "list":
            return list_labs(Engine.find())
        lab = Lab(arguments.name)
        if arguments.command == "down":
            return lab.down()
        if arguments.command == "exec":
            terminal = ["-it"] if sys.stdin.isatty() else ["-i"]
            argv = arguments.argv or ["bash"]
            command = lab.engine.command
            os.execvp(command, [command, "exec", *terminal, lab.container(arguments.host), *argv])
        for host in lab.up(arguments.release, arguments.hosts):
            say(f"{host.name} runs; ssh port {host.port}, container {host.container}")
        say(f"inventory: {os.path.relpath(lab.inventory)}")
    except LabError as error:
        sys.exit(f"[lab] {error}")


if __name__ == "__main__":
    main()
