# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each ansible-core that is supported, in an environment of its own, and the interpreters of this machine."""

import contextlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Core(NamedTuple):
    """The Pythons on which an ansible-core runs, and those of 3.6 to 3.13 that it manages."""

    controllers: tuple
    managed: tuple


def versions(first, last):
    return tuple(f"3.{minor}" for minor in range(first, last + 1))


CORES = {
    "2.16": Core(versions(10, 12), versions(6, 12)),
    "2.17": Core(versions(10, 12), versions(7, 12)),
    "2.18": Core(versions(11, 13), versions(8, 13)),
    "2.19": Core(versions(11, 13), versions(8, 13)),
    "2.20": Core(versions(12, 14), versions(9, 13)),
    "2.21": Core(versions(12, 14), versions(9, 13)),
}
OLDEST, *_between, NEWEST = CORES
# Pairs of ansible-core and Python on the host that run all modules on live hosts: the ends always, what is between them
# before a release. The hosts' own Pythons, 3.9 and 3.11, run everything.
ENDS = [(OLDEST, "3.6"), (OLDEST, "3.12"), (NEWEST, "3.13")]
BETWEEN = [("2.17", "3.7"), ("2.18", "3.8"), ("2.19", "3.10"), ("2.20", "3.9")]


class NoPython(Exception):
    """No interpreter of this machine will do; the text says for what."""


def find_python(version):
    """Return the path of a working interpreter of this version, or None."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for candidate in [*pyenv, f"python{version}"]:
        with contextlib.suppress(OSError):
            if subprocess.run([candidate, "-c", "import venv"], check=False, capture_output=True).returncode == 0:
                return str(candidate)
    return None


def core_bin(series):
    """Return the directory of the commands of an ansible-core of this series, installed when it is not there."""
    if metadata.version("ansible-core").startswith(f"{series}."):
        return Path(sys.executable).parent
    home = ROOT / ".build" / f"ansible-core-{series}"
    if not (home / "bin" / "ansible").exists():
        python = next(filter(None, map(find_python, CORES[series].controllers)), None)
        if python is None:
            raise NoPython(f"no Python here on which ansible-core {series} runs")
        subprocess.run([python, "-m", "venv", "--clear", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", f"ansible-core~={series}.0"], check=True)
    return home / "bin"
