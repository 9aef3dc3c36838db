# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start Ansible's commands without the time of their imports: a process that has them forks for each run.

Used by runs.py. A line of JSON on stdin asks for a run: ``command`` and its ``arguments``, the ``directory``, the files
for ``output`` and ``errors``; a line on stdout answers with its exit code. Ansible reads its environment when it is
imported, so a starter serves one environment.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import sys

MODULES = {"ansible": "ansible.cli.adhoc", "ansible-playbook": "ansible.cli.playbook"}
# What every run of a playbook loads besides.
PRELOADED = (
    "ansible.executor.task_queue_manager",
    "ansible.inventory.manager",
    "ansible.parsing.dataloader",
    "ansible.template",
    "ansible.vars.manager",
    "html.entities",
    "jinja2.ext",
    "multiprocessing.popen_fork",
    "multiprocessing.synchronize",
    "xml.dom.minidom",
)
PLUGINS = ("become", "callback", "connection", "inventory", "shell", "strategy", "vars")


def main():
    for name in (*MODULES.values(), *PRELOADED, *plugins()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps({"rc": run(**json.loads(line))}), flush=True)


def plugins():
    """The modules of Ansible's own plugins of the kinds that every run loads."""
    for kind in PLUGINS:
        package = importlib.import_module(f"ansible.plugins.{kind}")
        yield from (found.name for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."))


def run(command, arguments, directory, output, errors):
    """Run a command in a child, and return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 250
    try:
        replace(0, os.open(os.devnull, os.O_RDONLY))
        replace(1, os.open(output, os.O_WRONLY))
        replace(2, os.open(errors, os.O_WRONLY))
        os.chdir(directory)
        sys.argv = [command, *arguments]
        importlib.import_module(MODULES[command]).main(sys.argv)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: what Ansible does at the end of its process, such as removing its directory, is the starter's.
        os._exit(code)


def replace(number, opened):
    os.dup2(opened, number)
    os.close(opened)


if __name__ == "__main__":
    main()
