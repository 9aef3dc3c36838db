# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules of the collection on a host without a controller, many a second; see ``runs.Agent``.

Reads a line of JSON for each run and answers with one: the module's result, or the output of a shell script. Each run
is a process of its own, as under Ansible, but forked from this one, which has imported everything already. Runs on the
Python of the host, from 3.6 on.
"""

import importlib
import json
import os
import subprocess
import sys
import traceback

from ansible.module_utils import basic

MODULES = "ansible_collections.mailops.dovecot_replication.plugins.modules."


def run_module(request):
    """Run one module in a process of its own and return its result."""
    module = importlib.import_module(MODULES + request["module"])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": request["arguments"]}).encode("utf-8")
        basic._ANSIBLE_PROFILE = "legacy"
        try:
            # The source of a fault that a test plants into the code of the module.
            exec(request["fault"], {})
            module.main()
        except SystemExit:
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="surrogateescape") as output:
        printed = output.read()
    os.waitpid(child, 0)
    results = [text for text in printed.splitlines() if text.startswith("{")]
    return json.loads(results[-1]) if results else {"failed": True, "msg": "no result", "exception": printed}


def run_script(request):
    """Run a shell script and return its exit code and output."""
    done = subprocess.Popen(
        ["sh", "-c", request["script"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    output = done.communicate()[0]
    return {"rc": done.returncode, "output": output}


def main():
    print(json.dumps({"python": sys.version.split()[0]}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(run_script(request) if "script" in request else run_module(request)), flush=True)


if __name__ == "__main__":
    main()
