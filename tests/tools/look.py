# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at the built site in Chromium (Debian: apt-get install chromium), as on a phone and on a desk.

Fails where a page, or the part of it that the theme lets scroll, is wider than its window, and puts a screenshot of
each page at each width into .build/screenshots. Pages may be named: `look.py concepts howto/pair`.
"""

import argparse
import functools
import http.server
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
SITE = ROOT / ".build" / "site"
SCREENSHOTS = ROOT / ".build" / "screenshots"
WIDTHS = (390, 1280)
LONGEST = 6000
OPTIONS = [
    *["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
    *["--disable-sync", "--no-first-run", "--hide-scrollbars"],
]
# Chromium makes no window of 390 pixels, but a frame of that width.
FRAME = "<body style='margin:0'><iframe src='/%s' style='border:0;width:%dpx;height:%dpx'></iframe>"
MEASURE = """<body><script>
(async () => {
  const found = [];
  for (const [page, width] of %s) {
    const frame = document.createElement("iframe");
    frame.style = `border:0;width:${width}px;height:800px`;
    const loaded = new Promise(done => frame.onload = done);
    frame.src = "/" + page;
    document.body.append(frame);
    await loaded;
    const root = frame.contentDocument.documentElement;
    const parts = [root, ...frame.contentDocument.querySelectorAll("body, .content")];
    const over = Math.max(...parts.map(part => part.scrollWidth - part.clientWidth));
    found.push([page, width, over, root.scrollHeight]);
    frame.remove();
  }
  const result = document.createElement("pre");
  result.id = "found";
  result.textContent = JSON.stringify(found);
  document.body.append(result);
})();
</script>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """The site, and at /frame what is to be looked at now."""

    shown = ""

    def do_GET(self):
        if self.path != "/frame":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.shown.encode())

    def log_message(self, *arguments):
        pass


def chromium(profile, url, *options):
    command = ["chromium", *OPTIONS, f"--user-data-dir={profile}", *options, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="take no screenshots")
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    arguments = parser.parse_args()
    pages = [f"{name}.html" for name in arguments.pages] or [
        path.relative_to(SITE).as_posix() for path in sorted(SITE.rglob("*.html"))
    ]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/frame"
    wide = []
    with tempfile.TemporaryDirectory() as profile:
        Handler.shown = MEASURE % json.dumps([(page, width) for page in pages for width in WIDTHS])
        dom = chromium(profile, url, "--virtual-time-budget=600000", "--dump-dom")
        measured = json.loads(re.search(r'<pre id="found">(.*?)</pre>', dom)[1])
        for page, width, over, height in measured:
            if over > 0:
                wide.append(f"{page} is {over} pixels too wide for a window of {width}")
            if arguments.measure:
                continue
            height = min(height, LONGEST)
            Handler.shown = FRAME % (page, width, height)
            picture = SCREENSHOTS / str(width) / page.replace("/", "-").replace(".html", ".png")
            picture.parent.mkdir(parents=True, exist_ok=True)
            chromium(profile, url, f"--window-size={max(width, 500)},{height}", f"--screenshot={picture}")
    print(f"Looked at {len(pages)} pages at {len(WIDTHS)} widths; {len(wide)} are too wide")
    print("\n".join(wide))
    sys.exit(bool(wide))


if __name__ == "__main__":
    main()
