# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check what a release needs beyond `make test`, and print a summary.

All but `versions`, which starts hosts in containers, needs nothing but the package index. Parts can be named: then only
those are run.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile

import run_all
import yaml

ROOT = run_all.ROOT
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from cores import NEWEST, OLDEST, core_bin  # noqa: E402

NAME = "mailops.dovecot_replication"
PLACE = ROOT / ".build" / "release"
# A collection must work with these alone.
NEEDED = {"meta", "playbooks", "plugins", "roles"}
MEGABYTES = 20

# part: what its output must contain, as in run_all.py
PARTS = {
    "lint": run_all.PARTS["lint"],
    "numbers": [(r"(\d+) places name version", "places with the version")],
    "package": [
        (r"(\d+) files in the tarball", "files"),
        (r"(\d+) plugins and roles documented", "documented"),
        (r"(\d+) playbooks", "playbooks"),
    ],
    "importer": [(r"galaxy-importer looked at (\d+) contents", "contents")],
    f"sanity-{OLDEST}": [run_all.SANITY],
    f"sanity-{NEWEST}": [run_all.SANITY],
    "versions": [run_all.PYTEST],
}


def fail(message):
    sys.exit(f"release check: {message}")


def run(*command, **extra):
    """Run a command and return what it printed; its end is ours when it fails."""
    done = subprocess.run(
        [str(word) for word in command], env={**os.environ, **extra}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        fail(f"{' '.join(done.args)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def tracked():
    """Return the names of the files that git knows."""
    names = run("git", "-C", ROOT, "ls-files", "-z").split("\0")
    return [name for name in names if name and (ROOT / name).exists()]


def galaxy():
    return yaml.safe_load((ROOT / "galaxy.yml").read_text())


def numbers():
    """Every mention of a version is that of galaxy.yml, and the changelog ends with it."""
    version = galaxy()["version"]
    if not re.fullmatch(r"[1-9]\d*\.\d+\.\d+", version):
        fail(f"{version} is no version of a release")
    releases = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text())["releases"]
    newest = max(releases, key=lambda text: [int(part) for part in text.split(".")])
    places = [("galaxy.yml", version), ("changelogs/changelog.yaml", newest)]
    if left := [name for name in tracked() if re.match(r"changelogs/fragments/.*\.ya?ml", name)]:
        fail(f"what is in {', '.join(left)} is in no release yet: `antsibull-changelog release`")
    heading = re.search(r"^## v([\d\\.]+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    places.append(("CHANGELOG.md", heading[1].replace("\\", "")))
    for name in tracked():
        if not name.startswith(("changelogs/", "tests/")) and name.endswith((".md", ".py", ".svg", ".yml")):
            # As a file (mailops-dovecot_replication-1.0.0.tar.gz), in a plan, and where one is pinned.
            found = re.findall(r"mailops[.-]dovecot_replication(?:-| |:==|:)(\d+\.\d+\.\d+)", (ROOT / name).read_text())
            places += [(name, number) for number in found]
    if wrong := [f"{name} ({number})" for name, number in places if number != version]:
        fail(f"galaxy.yml has version {version}, but not {', '.join(wrong)}")
    print(f"{len(places)} places name version {version}")


def build():
    """Build the collection as users do, and return the tarball."""
    shutil.rmtree(PLACE, ignore_errors=True)
    run(core_bin(NEWEST) / "ansible-galaxy", "collection", "build", ROOT, "--output-path", PLACE)
    (tarball,) = PLACE.glob("*.tar.gz")
    return tarball


def look_at(tarball):
    """In the tarball is what git knows and galaxy.yml does not leave out, no more and no less."""
    with tarfile.open(tarball) as archive:
        packed = {member.name for member in archive if not member.isdir()} - {"MANIFEST.json", "FILES.json"}
    left_out = tuple(f"{pattern}/" for pattern in galaxy()["build_ignore"])
    wanted = {name for name in tracked() if not f"{name}/".startswith(left_out)} - {"galaxy.yml"}
    if packed != wanted:
        fail(f"too much in {tarball.name}: {sorted(packed - wanted)}, missing: {sorted(wanted - packed)}")
    if ignored := [name for name in packed if name.startswith("tests/sanity/ignore")]:
        fail(f"ansible-test sanity is to pass without {ignored}")
    size = tarball.stat().st_size / 2**20
    if size > MEGABYTES:
        fail(f"{tarball.name} has {size:.1f} MB, Galaxy takes {MEGABYTES}")
    print(f"{len(packed)} files in the tarball, {size:.1f} MB")


def documented_names(home):
    """Return the plugins and roles of an installed copy, by type."""
    names = {"role": [path.name for path in (home / "roles").iterdir()]}
    for path in sorted((home / "plugins").glob("*/[!_]*.*")):
        kind = {"modules": "module"}.get(path.parent.name, path.parent.name)
        # An action has the documentation of its module.
        if kind not in ("action", "doc_fragments"):
            names.setdefault(kind, []).append(path.stem)
    return {kind: sorted({f"{NAME}.{name}" for name in found}) for kind, found in names.items()}


def install(tarball, series):
    """Install the tarball where nothing else is, and take away of it what must not be needed: the rest can be used."""
    paths = PLACE / f"collections-{series}"
    there = {"ANSIBLE_COLLECTIONS_PATH": str(paths), "ANSIBLE_HOME": str(PLACE / "home")}
    commands = core_bin(series)
    run(commands / "ansible-galaxy", "collection", "install", tarball, "--collections-path", paths, **there)
    home = paths / "ansible_collections" / NAME.replace(".", "/")
    for path in home.iterdir():
        if path.is_dir() and path.name not in NEEDED:
            shutil.rmtree(path)

    documented = 0
    for kind, names in documented_names(home).items():
        told = json.loads(run(commands / "ansible-doc", "--type", kind, "--json", *names, **there))
        if sorted(told) != names:
            fail(f"ansible-doc {series} told of {sorted(told)}, not of {names}")
        for name, about in told.items():
            parts = about["entry_points"].values() if kind == "role" else [about["doc"]]
            if not all(part["short_description"] and part["description"] and part["version_added"] for part in parts):
                fail(f"{name} is not documented")
            if kind != "role" and not about["examples"]:
                fail(f"{name} has no example")
        documented += len(told)

    inventory = ROOT / "tests" / "integration" / "inventory.yml"
    playbooks = sorted(path.stem for path in (home / "playbooks").glob("*.yml"))
    for name in playbooks:
        run(commands / "ansible-playbook", "--syntax-check", "-i", inventory, f"{NAME}.{name}", **there)
    print(f"ansible-core {series}: {documented} plugins and roles documented, {len(playbooks)} playbooks")


def package():
    """The tarball has what it should, and works where nothing else is, with the oldest and the newest ansible-core."""
    tarball = build()
    look_at(tarball)
    for series in (OLDEST, NEWEST):
        install(tarball, series)


def importer():
    """Galaxy and Automation Hub would take it without a warning."""
    done = run(*run_all.make("nox"), "NOX=-e build-import-check")
    print(done)
    # What it only informs of has no such word before it.
    if re.search(r"^(WARNING|ERROR|CRITICAL)", done, re.M):
        fail("galaxy-importer has something to say")
    print(f"galaxy-importer looked at {len(re.findall(r'Loading (?!doc)', done))} contents")


CHECKS = {"numbers": numbers, "package": package, "importer": importer}


def command_of(part):
    if part in CHECKS:
        return [sys.executable, __file__, "--only", part]
    if part.startswith("sanity-"):
        return [*run_all.make_all("sanity"), f"SANITY=--core {part.partition('-')[2]} --all-pythons"]
    if part == "versions":
        where = ["MAILOPS_LAB_RELEASES=bookworm", f"PYTHONPATH={ROOT / '.venv' / 'collections'}"]
        return ["env", *where, sys.executable, "-m", "pytest", "-v", "-m", "release", "tests/integration"]
    return run_all.make_all(part)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CHECKS, help="without a summary, in this process")
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    arguments = parser.parse_args()
    if arguments.only:
        CHECKS[arguments.only]()
    elif unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}")
    else:
        run_all.run_parts({part: PARTS[part] for part in arguments.parts or PARTS}, command_of)


if __name__ == "__main__":
    main()
