# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run ansible-test sanity on a copy of the collection's files.

ansible-test wants the path ansible_collections/<namespace>/<name> and would look at .venv too,
so the files that git knows or would add are copied to .build first.

With --core it is the ansible-test of that ansible-core, with --all-pythons its import and compile tests are run on each
Python that it manages, with --some what is not SLOW.
"""

import argparse
import contextlib
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types
from importlib import metadata

import ansible_test
from ansible_test._internal.python_requirements import get_venv_packages
from run_all import files

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from cores import CORES, core_bin, find_python  # noqa: E402

COPY = ROOT / ".build/ansible_collections/mailops/dovecot_replication"
PYTHON = "{}.{}".format(*sys.version_info)
SERIES = metadata.version("ansible-core").rpartition(".")[0]

# Test names for --skip-test, each with the reason.
SKIP = []
# Takes two thirds of the time.
SLOW = ["pylint"]

# ansible-test downloads get-pip to put pip into the environments it makes. It takes this instead,
# as only the package index may be reachable. ensurepip brings a pip that can install the wanted one.
GET_PIP = """\
import subprocess
import sys

wanted = [arg for arg in sys.argv[1:] if arg not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--upgrade"] + wanted))
"""


def copy_files():
    names = files()
    shutil.rmtree(COPY, ignore_errors=True)
    for name in names:
        (COPY / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, COPY / name, follow_symlinks=False)
    # Without this ansible-test finds the repository above, which ignores .build, and tests nothing.
    subprocess.check_call(["git", "init", "--quiet"], cwd=COPY)
    return names


@contextlib.contextmanager
def get_pip():
    """Put GET_PIP where ansible-test keeps its download, unless that is there already."""
    path = pathlib.Path(ansible_test.__file__).parent / "_util/target/setup/requirements.py"
    spec = importlib.util.spec_from_file_location("requirements", path)
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)

    # ansible-test's own bootstrap() decides about the file's name and place; nothing is run.
    cached = []
    downloaded = []

    def download_file(url, target):
        pathlib.Path(target).write_text(GET_PIP)
        downloaded.append(target)

    setup.log = lambda *args, **kwargs: None
    setup.download_file = download_file
    setup.execute_command = lambda command, env: cached.append(pathlib.Path(env["GET_PIP"]))
    packages = get_venv_packages(types.SimpleNamespace(version=PYTHON))
    setup.bootstrap("", {"pip_version": packages["pip"], "packages": [], "setuptools": True, "wheel": True})
    try:
        yield
    finally:
        if downloaded:
            cached[0].unlink()


def managed_pythons():
    """Return each Python that this ansible-core manages: its version, and the directory it is in."""
    for version in CORES[SERIES].managed:
        python = find_python(version)
        if python is None:
            sys.exit(f"There is no Python {version} here.")
        yield version, os.path.dirname(shutil.which(python))


def run(all_pythons, skip):
    """Run ansible-test and return its exit code, the tests it ran and its warnings about skipped ones."""
    command = [pathlib.Path(sys.executable).parent / "ansible-test", "sanity", "--color", "no"]
    path = [os.environ["PATH"]]
    if all_pythons:
        command += ["--controller", f"origin:python=venv/{PYTHON}"]
        for version, directory in managed_pythons():
            command += ["--target-python", version]
            # Before a pyenv shim of that name, which does not work. After our own Python.
            path[:0] = [directory]
        path[:0] = [os.path.dirname(sys.executable)]
    else:
        command += ["--venv", "--python", PYTHON]
    for name in skip:
        command += ["--skip-test", name]
    tests = []
    skipped = []
    with subprocess.Popen(
        command,
        cwd=COPY,
        env={**os.environ, "PATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            match = re.match(r"Running sanity test [\"']([\w-]+)[\"']", line)
            if match and match.group(1) not in tests:
                tests.append(match.group(1))
            # ansible-test only warns when it cannot run a test, for example without shellcheck.
            if re.match(r"WARNING: (Required program|Skipping sanity test)", line) and line not in skipped:
                skipped.append(line)
    return process.returncode, tests, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", choices=CORES)
    parser.add_argument("--all-pythons", action="store_true")
    parser.add_argument("--some", action="store_true")
    arguments = parser.parse_args()
    if arguments.core not in (None, SERIES):
        python = core_bin(arguments.core) / "python"
        os.execv(python, [python, *sys.argv])
    names = copy_files()
    plugins = [name for name in names if re.match(r"plugins/.+\.py$", name)]
    if not plugins:
        sys.exit("There is no Python file in plugins: nothing to test.")
    with get_pip():
        code, tests, skipped = run(arguments.all_pythons, SKIP + (SLOW if arguments.some else []))
    if not tests:
        sys.exit("ansible-test ran no test.")
    if skipped:
        sys.exit("ansible-test could not run a test:\n" + "".join(skipped))
    print("Tests that ran: " + " ".join(tests))
    print(f"Sanity: {len(tests)} tests on {len(names)} files, {len(plugins)} of them plugin code")
    sys.exit(code)


if __name__ == "__main__":
    main()
