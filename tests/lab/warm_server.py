# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs what Ansible gives to the Python of a host, in a process each that has Ansible's module_utils imported already.

The other end of warm_python.py. What a module brings along in its archive is compiled once for all.
"""

import array
import atexit
import contextlib
import importlib
import itertools
import marshal
import os
import selectors
import signal
import socket
import sys
import traceback
import types
import zipimport

import ansible

# What modules import, besides what they bring along.
PRELOADED = [
    *["base64", "datetime", "json", "runpy", "shutil", "subprocess", "tempfile", "zipfile"],
    *["ansible.module_utils.basic", "ansible.module_utils.urls", "ansible.module_utils._internal._ansiballz._loader"],
]
SOCKET = "/run/lab-python"
FILES = 5


class BesideArchives(list):
    """The path of the package ansible: what is here, and what a module's archive has."""

    def __iter__(self):
        return itertools.chain(super().__iter__(), [f"{path}/ansible" for path in sys.path if path.endswith(".zip")])


def keep_compiled(directory):
    """Have the code of archives compiled once for all processes."""
    compile_source = zipimport._compile_source

    def compiled(name, source):
        kept = os.path.join(directory, importlib.util.source_hash(source).hex())
        with contextlib.suppress(OSError), open(kept, "rb") as file:
            return marshal.load(file)
        code = compile_source(name, source)
        with open(f"{kept}.{os.getpid()}", "wb") as file:
            marshal.dump(code, file)
        os.rename(file.name, kept)
        return code

    zipimport._compile_source = compiled


def run(files):
    """Be the process that runs what is on stdin; return its exit code."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in range(3):
        os.dup2(files[number], number)
    os.fchdir(files[3])
    with open(files[4], "rb") as file:
        variables = [entry.partition(b"=") for entry in file.read().split(b"\0") if entry]
    os.environ.clear()
    os.environb.update({name: value for name, _is, value in variables})
    for file in files[:4]:
        os.close(file)
    with open(0, "rb", closefd=False) as stdin:
        source = stdin.read()
    sys.argv = [""]
    sys.path[0] = ""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        exec(compile(source, "<stdin>", "exec"), main.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 255
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


class Server:
    def __init__(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(SOCKET)
        self._listener.listen(64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        # Something to read when a process has ended.
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGCHLD, lambda *_of: None)
        self._selector.register(reading, selectors.EVENT_READ, lambda: os.read(reading, 512))
        self._channels = {}

    def serve(self):
        while True:
            for key, _events in self._selector.select():
                key.data()
            self._reap()

    def _accept(self):
        channel = self._listener.accept()[0]
        rights = array.array("i")
        with contextlib.suppress(OSError):
            _data, ancillary, _flags, _address = channel.recvmsg(1, socket.CMSG_SPACE(FILES * rights.itemsize))
            for _level, _kind, data in ancillary:
                rights.frombytes(data)
        if len(rights) != FILES:
            return channel.close()
        child = os.fork()
        if child == 0:
            code = 250
            try:
                code = run(list(rights))
            finally:
                atexit._run_exitfuncs()
                for stream in (sys.stdout, sys.stderr):
                    with contextlib.suppress(OSError):
                        stream.flush()
                os._exit(code)
        for file in rights:
            os.close(file)
        self._channels[child] = channel
        # Whoever waits for it says nothing more: it was killed, and what it runs is to end with it.
        self._selector.register(channel, selectors.EVENT_READ, lambda: os.kill(child, signal.SIGKILL))

    def _reap(self):
        while self._channels:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                break
            channel = self._channels.pop(child)
            self._selector.unregister(channel)
            with contextlib.suppress(OSError):
                channel.send(bytes([os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)]))
            channel.close()


def main():
    home = os.path.dirname(os.path.abspath(__file__))
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    ansible.__path__ = BesideArchives(ansible.__path__)
    compiled = os.path.join(home, "compiled")
    os.mkdir(compiled)
    keep_compiled(compiled)
    Server().serve()


main()
