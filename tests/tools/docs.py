# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the site of docs/ into .build/site, with the reference of modules, plugins and role from the code.

The Markdown files are read in the repository, too. So the lists in docs/index.md are the navigation, and what pages
link to outside of docs/ becomes a page of the site where there is one, else a link to the repository. Each link is
checked.
"""

import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / ".build" / "site-source"
SITE = ROOT / ".build" / "site"
COLLECTION = "mailops.dovecot_replication"
# Whose lists are the navigation.
INDEXES = ("index.md", "reference.md")
# Pages from elsewhere in the repository.
GUESTS = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
REFERENCE = {f"roles/{role}/README.md": f"reference/{role}_role.rst" for role in ("replication", "monitoring")}
LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(#[^)\s]*)?(?=\))")


def run(*command):
    """Run a command of the environment that this runs in, and end with its exit code when it fails."""
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv" / "collections")}
    done = subprocess.run(
        [pathlib.Path(sys.executable).parent / command[0], *command[1:]], env=environment, check=False
    )
    if done.returncode:
        sys.exit(f"{command[0]} ended with status {done.returncode}")


def page_of(path):
    """Return where a file of the repository is in the site, None when it is no page of it."""
    name = path.relative_to(ROOT).as_posix()
    if name in GUESTS or name in REFERENCE:
        return GUESTS.get(name) or REFERENCE[name]
    module = re.fullmatch(r"plugins/(modules|filter|lookup|callback)/([a-z]\w+)\.(?:py|yml)", name)
    if module:
        return f"reference/{module[2]}_{module[1].removesuffix('s')}.rst"
    return path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) and path.suffix != ".yml" else None


def rewritten(text, origin, page, repository):
    """Return a page's Markdown with its links as they are in the site.

    :arg origin: the file in the repository
    :arg page: its path in the site
    """

    def rewrite(match):
        target = pathlib.Path(os.path.normpath(origin.parent / match[1]))
        if not target.exists():
            sys.exit(f"{origin.relative_to(ROOT)} links to {match[1]}, which does not exist")
        inside = page_of(target)
        if inside is None:
            kind = "tree" if target.is_dir() else "blob"
            return f"{repository}/{kind}/main/{target.relative_to(ROOT).as_posix()}"
        # The anchors of the reference are others than those of the README.
        anchor = "" if inside.startswith("reference/") else match[2] or ""
        return os.path.relpath(inside, os.path.dirname(page)) + anchor

    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else LINK.sub(rewrite, part) for part in parts)


def navigation(text):
    """Return Sphinx's toctrees for the sections and lists of a page."""
    trees = ""
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        pages = re.findall(r"^- \[([^]]+)\]\(([^)#:]+)\)", section, re.M)
        entries = "\n".join(f"{title.strip('`')} <{page.rpartition('.')[0]}>" for title, page in pages)
        trees += f"\n```{{toctree}}\n:hidden:\n:caption: {section.splitlines()[0]}\n\n{entries}\n```\n"
    return trees


def lay_out():
    """Put together what Sphinx reads."""
    repository = yaml.safe_load((ROOT / "galaxy.yml").read_text())["repository"]
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(DOCS, SOURCE, ignore=shutil.ignore_patterns("__pycache__"))
    pages = {path: path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    pages.update({ROOT / origin: page for origin, page in GUESTS.items()})
    for origin, page in pages.items():
        text = rewritten(origin.read_text(), origin, page, repository)
        (SOURCE / page).write_text(text + (navigation(text) if page in INDEXES else ""))
    reference = SOURCE / "reference"
    reference.mkdir()
    run(
        *["antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"],
        *["--dest-dir", reference, COLLECTION],
    )
    for page in reference.glob("*.rst"):
        # The theme has them at the side.
        page.write_text(re.sub(r"^\.\. contents::\n(?: +.*\n)+", "", page.read_text(), flags=re.M))


class Page(html.parser.HTMLParser):
    """What a built page links to, and where it can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links = set(), []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def check_links():
    """Return how many pages there are, how many links within the site, and those that lead nowhere."""
    pages = {path: Page(path) for path in sorted(SITE.rglob("*.html"))}
    checked, broken = 0, []
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            checked += 1
            target = (
                pathlib.Path(os.path.normpath(path.parent / urllib.parse.unquote(parts.path))) if parts.path else path
            )
            anchor = urllib.parse.unquote(parts.fragment)
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{path.relative_to(SITE)}: {link}")
    return len(pages), checked, broken


def main():
    run("antsibull-docs", "lint-collection-docs", "--plugin-docs", ROOT)
    lay_out()
    shutil.rmtree(SITE, ignore_errors=True)
    run("sphinx-build", "--quiet", "--fail-on-warning", "--keep-going", "--builder", "html", SOURCE, SITE)
    pages, links, broken = check_links()
    print(f"Site: {pages} pages, {links} links within it, {len(broken)} broken: {SITE / 'index.html'}")
    print("\n".join(broken))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
