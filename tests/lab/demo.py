# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job from nothing: two Dovecot hosts, replication set up, mail crossing both ways.

May be run again at any time; it keeps what is there, and then nothing changes.
"""

import argparse
import re
import secrets
import subprocess
import sys
import time
import uuid

from lab import HERE, Lab, LabError, run
from runs import COLLECTION, MAILHOST, ROOT, arrived, deliver, environment, playbook_command

INVENTORY = HERE / "demo-inventory.yml"
DELIVERIES = [
    ("mx1.example.org", "mx2.example.org", "alice@example.org"),
    ("mx2.example.org", "mx1.example.org", "bob@example.org"),
]


class Demo:
    def __init__(self):
        self.lab = Lab("demo")
        self.began = time.monotonic()
        self.vault = self.lab.directory / "vault.yml"
        self.vault_password = self.lab.directory / "vault-password"

    def step(self, text):
        print(f"\n=== {time.monotonic() - self.began:4.0f} s  {text}", flush=True)

    def play(self, playbook, *options):
        """Run a playbook in plain sight and return how many changes it reports."""
        command = playbook_command(self.lab, INVENTORY, playbook, *options)
        print(f"$ {' '.join(shown(word) for word in command)}", flush=True)
        changed = 0
        with subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for line in process.stdout:
                print(line, end="", flush=True)
                changed += sum(map(int, re.findall(r" changed=(\d+) ", line)))
        if process.returncode:
            raise LabError(f"{playbook} ended with status {process.returncode}; its output above says why.")
        return changed

    def make_vault(self):
        """A vault as a user keeps one, with a secret that nobody has seen."""
        if self.vault.exists():
            return
        self.vault_password.write_text(secrets.token_hex(16))
        self.vault_password.chmod(0o600)
        encrypt = [
            "ansible-vault",
            "encrypt",
            "--vault-password-file",
            str(self.vault_password),
            "--output",
            str(self.vault),
        ]
        path = environment()["PATH"]
        run("env", f"PATH={path}", *encrypt, stdin=f"vault_replication_secret: {secrets.token_urlsafe(24)}\n")

    def run(self):
        self.step("Start two Debian hosts with systemd")
        for host in self.lab.up():
            print(f"{host.name}: container {host.container}, ssh on 127.0.0.1 port {host.port}")
        self.make_vault()

        self.step("Make them mail hosts: Dovecot and two mailboxes, as you have them already")
        changed = self.play(MAILHOST, "-e", "mailhost_install=true")

        self.step("Set up replication with the collection's playbook")
        secret = ["-e", f"@{self.vault}", "--vault-password-file", str(self.vault_password)]
        changed += self.play(f"{COLLECTION}.setup", *secret)

        for sender, receiver, user in DELIVERIES:
            self.step(f"Deliver a mail to {user} on {sender}, and read it on {receiver}")
            token = f"demo-{uuid.uuid4().hex[:8]}"
            deliver(self.lab, sender, user, token)
            seconds = arrived(self.lab, receiver, user, token)
            if seconds is None:
                raise LabError(f"The mail did not arrive on {receiver}. Look at `journalctl -u dovecot` on both hosts.")
            fields = ["hdr.subject", "date.received"]
            mail = self.lab.execute(
                receiver, "doveadm", "fetch", "-u", user, " ".join(fields), "header", "Subject", token
            )
            print(f"arrived after {seconds:.1f} s; `doveadm fetch` on {receiver} shows it:")
            print("\n".join(f"    {line}" for line in mail.stdout.strip().splitlines() if line.strip("\f")))

        self.step("The replicators' status")
        self.play(f"{COLLECTION}.status", "-e", "replication_status_mask=*")

        self.step("Done")
        print("Hosts and configuration were made." if changed else "Everything was there already: no change.")
        lab = "tests/lab/lab.py"
        print(
            "\nLook around:\n"
            f"    python3 {lab} exec demo mx1                                  a shell on a host\n"
            f"    python3 {lab} exec demo mx1 doveadm replicator status '*'    what Dovecot itself says\n"
            f"    python3 {lab} exec demo mx1 cat /etc/dovecot/conf.d/11-replication.conf\n"
            "Remove it:\n"
            "    make demo-down"
        )


def shown(word):
    """A word of a command line without what makes it long."""
    return word.replace(f"{ROOT}/.venv/bin/", "").replace(f"{ROOT}/", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--down", action="store_true", help="remove the hosts again")
    arguments = parser.parse_args()
    try:
        demo = Demo()
        demo.lab.down() if arguments.down else demo.run()
    except LabError as error:
        sys.exit(f"[demo] {error}")


if __name__ == "__main__":
    main()
