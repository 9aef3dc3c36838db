# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write docs/pictures of what runs look like: real runs against a lab of its own, as a terminal shows them."""

import io
import pathlib
import re
import subprocess
import sys
import time

import rich.console
import rich.terminal_theme
import rich.text

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import runs  # noqa: E402
from lab import Lab  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
INVENTORY = ROOT / "tests" / "integration" / "inventory.yml"
COLUMNS = 118
SECRET = "only-for-the-lab"
MX1, MX2 = "mx1.example.org", "mx2.example.org"
PROBE = ["-e", "replication_probe_user=alice@example.org", "-e", "replication_verify=true"]
# In place of what is left out.
CUT = "\x1b[2m...\x1b[0m"
# The fonts that rich names would be fetched from elsewhere.
FONT = re.compile(r"@font-face \{\{.*?\}\}\s*", re.S)


def run(lab, playbook, *options):
    """Run a playbook and return its output with colours; whether it fails is part of the picture."""
    done = subprocess.run(
        runs.playbook_command(lab, INVENTORY, f"{runs.COLLECTION}.{playbook}", *options),
        env=runs.environment(ANSIBLE_FORCE_COLOR="true", COLUMNS=str(COLUMNS)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert SECRET not in done.stdout
    return done.stdout


def tasks(output):
    """Return the output in parts, each beginning with the name of a play or task."""
    return re.split(r"\n(?=(?:\x1b\[[\d;]*m)?(?:PLAY|TASK|RUNNING HANDLER) )", output.strip("\n"))


def shown(output, *wanted):
    """Return the parts that have one of the words in their first line, and a mark for what is left out between."""
    parts, left_out = [], False
    for part in tasks(output):
        if any(word in part.partition("\n")[0] for word in wanted):
            parts += ([CUT] if left_out else []) + [part.strip("\n")]
            left_out = False
        else:
            left_out = True
    return "\n\n".join(parts)


def draw(name, command, text):
    """Write one picture."""
    home = str(ROOT / ".venv" / "collections")
    text = text.replace(home, "~/.ansible/collections")
    assert str(ROOT) not in text
    console = rich.console.Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    console.print(rich.text.Text.from_ansi(f"\x1b[1m$ {command}\x1b[0m\n\n{text}"), soft_wrap=False)
    code_format = FONT.sub("", rich.console.CONSOLE_SVG_FORMAT).replace("Fira Code", "ui-monospace")
    picture = console.export_svg(title=command, code_format=code_format, theme=rich.terminal_theme.MONOKAI)
    (PICTURES / f"{name}.svg").write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")
    print(f"docs/pictures/{name}.svg: {len(text.splitlines())} lines", flush=True)


def main():
    lab = Lab("pictures")
    lab.up("bookworm")
    try:
        runs.succeeded(runs.play(lab, INVENTORY, runs.MAILHOST, "-e", "mailhost_install=true"))
        command = "ansible-playbook mailops.dovecot_replication."
        output = run(lab, "setup", "--check", "--diff", *PROBE)
        # Of the diffs one host's will do.
        output = re.sub(r"(changed: \[[^\n]*\n).*?(?=\n\n[^\n]*HANDLER )", rf"\1\n{CUT}", output, count=1, flags=re.S)
        draw("check", f"{command}setup --check --diff", shown(output, "Write the configuration", "Reload", "RECAP"))
        output = run(lab, "setup", *PROBE)
        draw(
            "setup",
            f"{command}setup",
            shown(output, "Write the configuration", "Reload", "Conclude and report", "RECAP"),
        )
        draw("status", f"{command}status", shown(run(lab, "status"), "Report", "RECAP"))
        lab.execute(MX2, "systemctl", "stop", "dovecot")
        output = run(lab, "verify", *PROBE)
        draw("verify", f"{command}verify", shown(output, "Conclude and report", "RECAP"))
        runs.deliver(lab, MX1, "alice@example.org", "for-the-picture")
        time.sleep(1)
        lab.execute(MX2, "systemctl", "start", "dovecot")
        draw("failing", f"{command}status", shown(run(lab, "status"), "Report", "Fail", "RECAP"))
    finally:
        lab.down()


if __name__ == "__main__":
    main()
