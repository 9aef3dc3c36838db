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
import sys
import tempfile
import warnings

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
PLUGINS = ("become", "callback", "connection", "filter", "inventory", "shell", "strategy", "test", "vars")
# What has 10,000 lines of YAML that say where ansible-core's plugins went, and this collection.
COLLECTIONS = ("ansible.builtin", "mailops.dovecot_replication")


def main():
    for name in (*MODULES.values(), *PRELOADED):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    load_plugins()
    for line in sys.stdin:
        print(json.dumps({"rc": run(**json.loads(line))}), flush=True)


def load_plugins():
    """Load Ansible's own plugins of the kinds that every run loads, with the YAML in their documentation."""
    loader = importlib.import_module("ansible.plugins.loader")
    # What a run says that finds this done.
    warnings.filterwarnings("ignore", "AnsibleCollectionFinder has already been configured")
    loader.init_plugin_loader()
    for collection in COLLECTIONS:
        importlib.import_module(f"ansible_collections.{collection}")
    for kind in PLUGINS:
        list(getattr(loader, f"{kind}_loader").all(class_only=True))


def run(command, arguments, directory, output, errors):
    """Run a command in a child, and return its exit code."""
    # What a process leaves that ends by os._exit.
    with tempfile.TemporaryDirectory() as leftovers:
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        tempfile.tempdir = leftovers
        run_here(command, arguments, directory, output, errors)


def run_here(command, arguments, directory, output, errors):
    """Run a command in this process, and end it."""
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
