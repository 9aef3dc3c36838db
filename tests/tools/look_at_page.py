# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at the page of the playbook report in Chromium: axe-core in light and dark, and screenshots.

The pages are those of the unit tests: healthy, faulty, a fleet, without style. Fails where axe-core finds a violation
or a page is wider than its window. Screenshots go to .build/screenshots/page, that of the sample in docs/static to
docs/pictures. Chromium and npm are taken from Debian, axe-core from npm.
"""

import html
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("lab", "tools", "unit/plugins/plugin_utils")]

import lab  # noqa: E402
import look  # noqa: E402
import test_page as samples  # noqa: E402

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _page  # noqa: E402

AXE = "axe-core@4.14.1"
SCREENSHOTS = ROOT / ".build" / "screenshots" / "page"
# What hosts remember.
WAVES = samples.moments(*(None if number % 50 == 7 else number * number % 97 for number in range(120)))
# The numbers that Chromium has for a preferred colour scheme.
SCHEMES = {"dark": 0, "light": 1}
RUN = """<script>%s</script><script>
axe.run(document, {resultTypes: ["violations"]}).then(result => {
  const found = result.violations.map(item => [item.id, item.help, item.nodes.map(node => node.html)]);
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push(["too-wide", `${root.scrollWidth} pixels`, []]);
  const shown = document.createElement("pre");
  shown.id = "found";
  shown.textContent = JSON.stringify([result.passes.length, found]);
  document.body.append(shown);
});
</script></body>"""


def pages():
    """Return the pages to look at, by name."""
    faulty = samples.healthy()
    users = [f"user{number}@example.org" for number in range(30)]
    fault = samples.finding("users_failing", cure=f"Run `ansible-playbook x -e '{samples.NASTY}'` {'again ' * 40}")
    faulty[samples.MX1].update(failing_users=users, findings=[fault, samples.finding("slow", "warning")])
    faulty[samples.MX2] = {"ok": False, "message": "No result: it could not be reached."}
    fleet = {}
    for number in range(100):
        pair = [f"mx{number}a.example.org", f"mx{number}b.example.org"]
        fleet.update({name: samples.host(pair, [fault] if number % 9 == 0 else []) for name in pair})
    made = {
        name: _page.page(samples.result(hosts), samples.WHEN, histories=dict.fromkeys(hosts, WAVES))
        for name, hosts in {"healthy": samples.healthy(), "faulty": faulty, "fleet": fleet}.items()
    }
    made["unstyled"] = re.sub(r"<style>.*?</style>", "", made["faulty"], flags=re.S)
    return made


def axe(place):
    """Return the text of axe-core."""
    subprocess.run(["npm", "pack", "--silent", AXE], cwd=place, check=True, capture_output=True)
    (archive,) = pathlib.Path(place).glob("axe-core-*.tgz")
    with tarfile.open(archive) as tar:
        return tar.extractfile("package/axe.min.js").read().decode()


def main():
    for command, package in (("chromium", "chromium"), ("npm", "npm")):
        if not lab.shutil.which(command):
            lab.install_packages([package], f"There is no {command} here; install the package {package}.")
    faults = []
    with tempfile.TemporaryDirectory() as place:
        script = RUN % axe(place)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for name, page in pages().items():
            path = pathlib.Path(place) / f"{name}.html"
            for scheme, number in SCHEMES.items():
                options = [f"--blink-settings=preferredColorScheme={number}", "--window-size=1280,2000"]
                path.write_text(page.replace("</body>", script))
                dom = look.chromium(
                    f"{place}/profile", path.as_uri(), *options, "--virtual-time-budget=20000", "--dump-dom"
                )
                passes, found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', dom, re.S)[1]))
                print(f"{name}, {scheme}: {passes} rules passed, {len(found)} violated")
                faults += [(name, scheme, *violation) for violation in found]
                path.write_text(page)
                for width in look.WIDTHS:
                    frame = pathlib.Path(place) / "frame.html"
                    frame.write_text(look.FRAME.replace("/%s", "%s") % (path.name, width, 2000))
                    picture = SCREENSHOTS / f"{name}-{scheme}-{width}.png"
                    size = f"--window-size={max(width, 500)},2000"
                    look.chromium(f"{place}/profile", frame.as_uri(), options[0], size, f"--screenshot={picture}")
        sample = (ROOT / "docs" / "static" / "report.html").as_uri()
        picture = ROOT / "docs" / "pictures" / "page.png"
        look.chromium(f"{place}/profile", sample, "--window-size=900,760", f"--screenshot={picture}")
    for fault in faults:
        print(*fault)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
