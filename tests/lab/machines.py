# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab hosts as virtual machines, with kernel, disk and power switch of their own: for what containers cannot show.

When a container is killed, the kernel below it still has what was not yet on the disk, and the boot has the same id.
Here both are lost. The machines have the image of the lab hosts, with Debian's kernel for clouds. They use KVM where it
works, else they are emulated, and slow. They reach each other over loopback and nothing else.
"""

import contextlib
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from lab import (
    BOOT_SECONDS,
    DOMAIN,
    PREFIX,
    RELEASES,
    SSH_OPTIONS,
    Host,
    Lab,
    LabError,
    exclusive_lock,
    extended_image,
    install_packages,
    run,
    say,
)

PACKAGES = {"qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs", "ssh": "openssh-client"}
NAMES = [f"mx1.{DOMAIN}", f"mx2.{DOMAIN}"]
# Of the network between the two.
ADDRESSES = ["198.51.100.1", "198.51.100.2"]
PATIENT = "-o ConnectTimeout=5 -o ServerAliveInterval=5 -o ServerAliveCountMax=6"
DISK_SIZE = "3G"
MEGABYTES = 1024
KVM, EMULATION = ["-accel", "kvm", "-cpu", "host"], ["-accel", "tcg"]
# An emulated machine.
SLOWER = 10
SCREENLESS = ["-display", "none", "-nodefaults", "-no-user-config"]
KERNEL = """
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends linux-image-cloud-amd64 initramfs-tools
systemctl enable systemd-networkd
"""
NETWORK = "[Match]\nMACAddress={mac}\n[Network]\n{address}\nLinkLocalAddressing=no\n"


def free_ports(kind, number):
    """So many ports of loopback that nothing uses now."""
    with contextlib.ExitStack() as held:
        found = [held.enter_context(socket.socket(socket.AF_INET, kind)) for dummy in range(number)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]


def machine_image(engine, release_name):
    """The image of a lab host that has a kernel, too."""
    return extended_image(engine, release_name, "machine", "a kernel", KERNEL)


class Machines(Lab):
    """Two hosts. Needs root, as the files of a host belong to many users."""

    def __init__(self, name):
        super().__init__(name, image=machine_image)
        self._ports = dict(zip(NAMES, free_ports(socket.SOCK_STREAM, len(NAMES))))
        self._wires = free_ports(socket.SOCK_DGRAM, len(NAMES))
        self._running = {}
        self._accelerator = EMULATION

    def up(self, release="trixie"):
        """Make the machines anew and start them; return them as a list of Host."""
        missing = [package for command, package in PACKAGES.items() if not shutil.which(command)]
        if missing:
            install_packages(missing, f"Virtual machines need {' '.join(missing)}: install it.")
        self._key()
        say(f"making the disks of two machines with {release} (a minute)")
        with exclusive_lock(RELEASES[release].debian):
            image = self._image(self.engine, release)
        with tempfile.TemporaryDirectory(prefix=PREFIX) as directory:
            root = Path(directory) / "root"
            root.mkdir()
            self._unpack(image, root)
            for kind in ("vmlinuz", "initrd.img"):
                shutil.copyfile(next(root.glob(f"boot/{kind}-*")), self.directory / kind)
            for number, name in enumerate(NAMES):
                self._write_disk(root, number, name)
        self._accelerator = KVM if self._boots_with_kvm() else EMULATION
        self.power_on(*NAMES)
        hosts = [Host(name, "", port) for name, port in self._ports.items()]
        self._write_inventory(hosts)
        return hosts

    def down(self):
        for name in NAMES:
            self.cut_power(name)
        shutil.rmtree(self.directory, ignore_errors=True)

    def cut_power(self, *hosts):
        """Of these hosts, all at once."""
        running = [self._running.pop(host) for host in hosts if host in self._running]
        for machine in running:
            machine.send_signal(signal.SIGKILL)
        for machine in running:
            machine.wait()

    def power_on(self, *hosts):
        """Start these hosts, and wait until they have booted."""
        for host in hosts:
            self._running[host] = self._start(host)
        for host in hosts:
            self._wait_booted(host)

    def reboot(self, *hosts):
        """In order, as by ``systemctl reboot``, and wait until they have booted."""
        before = {host: self.boot_id(host) for host in hosts}
        for host in hosts:
            self.execute(host, "systemctl", "reboot", check=False)
        for host in hosts:
            deadline = time.monotonic() + self._patience()
            while self.boot_id(host) in ("", before[host]) and time.monotonic() < deadline:
                time.sleep(0.5)
            self._wait_booted(host)

    def boot_id(self, host):
        """Of the kernel; empty where the host does not answer."""
        return self.execute(host, "cat", "/proc/sys/kernel/random/boot_id", check=False).stdout.strip()

    def execute(self, host, *argv, **kwargs):
        return run(*self._entrance(host), shlex.join(argv), **kwargs)

    def converse(self, host, *argv):
        return super().converse(host, shlex.join(argv))

    def _entrance(self, host):
        identity = ["-i", str(self._key()), "-p", str(self._ports[host])]
        return ["ssh", *identity, *SSH_OPTIONS.split(), *PATIENT.split(), "root@127.0.0.1", "--"]

    def _patience(self):
        return BOOT_SECONDS * (1 if self._accelerator == KVM else SLOWER)

    def _boots_with_kvm(self):
        """Whether a kernel comes to life by KVM; where it is nested, it is sometimes there and does not work."""
        argv = [
            "qemu-system-x86_64",
            *KVM,
            *SCREENLESS,
            "-m",
            str(MEGABYTES),
            "-kernel",
            str(self.directory / "vmlinuz"),
        ]
        # It finds no disk and ends.
        trial = run(
            *argv, "-append", "console=ttyS0 panic=-1", "-no-reboot", "-serial", "stdio", check=False, timeout=20
        )
        return trial.returncode == 0 and "Linux version" in trial.stdout

    def _wait_booted(self, name):
        deadline = time.monotonic() + self._patience()
        asked = None
        while time.monotonic() < deadline:
            if self._running[name].poll() is not None:
                raise LabError(f"{name} has ended: {self._running[name].stderr.read()}")
            asked = self.execute(name, "systemctl", "is-system-running", check=False, timeout=30)
            if asked.stdout.strip() in ("running", "degraded"):
                return
            time.sleep(0.5)
        raise LabError(f"{name} has not booted: {asked.stdout}{asked.stderr}; {self.directory / name}.log")

    def _unpack(self, image, root):
        container = self.engine("create", "--label", PREFIX, image, "true").stdout.strip()
        try:
            exported = subprocess.Popen([self.engine.command, "export", container], stdout=subprocess.PIPE)
            unpacked = subprocess.run(["tar", "-x", "-C", str(root)], stdin=exported.stdout, check=False)
            if exported.wait() or unpacked.returncode:
                raise LabError(f"the files of {image} cannot be unpacked")
        finally:
            self.engine("rm", container)

    def _write_disk(self, root, number, name):
        etc = root / "etc"
        (etc / "hostname").write_text(f"{name}\n")
        hosts = [f"{address} {other} {other.split('.')[0]}" for address, other in zip(ADDRESSES, NAMES)]
        (etc / "hosts").write_text("\n".join(["127.0.0.1 localhost", *hosts, ""]))
        (etc / "machine-id").write_text("")
        (etc / "fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
        keys = root / "root/.ssh/authorized_keys"
        keys.write_text(self._key().with_suffix(".pub").read_text())
        keys.chmod(0o600)
        for card, address in (("outer", "DHCP=yes"), ("pair", f"Address={ADDRESSES[number]}/24")):
            text = NETWORK.format(mac=self._mac(card, number), address=address)
            (etc / f"systemd/network/{card}.network").write_text(text)
        disk = self.directory / f"{name}.disk"
        disk.unlink(missing_ok=True)
        run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), DISK_SIZE)

    @staticmethod
    def _mac(card, number):
        return f"52:54:00:00:{0 if card == 'outer' else 1:02x}:{number + 1:02x}"

    def _start(self, name):
        number = NAMES.index(name)
        here, there = self._wires[number], self._wires[1 - number]
        # What runs in it reaches no one by the first card; only our ssh comes in there.
        outer = f"user,id=outer,restrict=on,hostfwd=tcp:127.0.0.1:{self._ports[name]}-:22"
        pair = f"socket,id=pair,udp=127.0.0.1:{there},localaddr=127.0.0.1:{here}"
        cards = [
            option
            for card, network in (("outer", outer), ("pair", pair))
            for option in ("-netdev", network, "-device", f"virtio-net-pci,netdev={card},mac={self._mac(card, number)}")
        ]
        return subprocess.Popen(
            [
                *["qemu-system-x86_64", *self._accelerator, *SCREENLESS, "-m", str(MEGABYTES)],
                *["-device", "virtio-rng-pci"],
                *["-kernel", str(self.directory / "vmlinuz"), "-initrd", str(self.directory / "initrd.img")],
                *["-append", "root=/dev/vda rw console=ttyS0 panic=-1"],
                *["-drive", f"file={self.directory / name}.disk,format=raw,if=virtio"],
                *["-serial", f"file:{self.directory / name}.log", *cards],
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
