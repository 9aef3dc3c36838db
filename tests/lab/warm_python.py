# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``ansible_python_interpreter`` of the hosts that tests share: a module without the time of its imports.

Hands what it is to run on stdin to warm_server.py, with its files, directory and environment. Arguments, another user
than root and a host without that server have Python run as ever. See ``runs.warm``.
"""

# Not socket, whose import takes as long as the start of Python.
import _socket
import os
import sys
from array import array

SOCKET = "/run/lab-python"
PYTHON = "/usr/bin/python3"
KILLED = 137


def main():
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        if len(sys.argv) > 1 or os.getuid():
            raise OSError
        channel.connect(SOCKET)
    except OSError:
        os.execv(PYTHON, [PYTHON] + sys.argv[1:])
    files = array("i", [0, 1, 2, os.open(".", os.O_RDONLY), os.open("/proc/self/environ", os.O_RDONLY)])
    channel.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
    code = channel.recv(1)
    os._exit(code[0] if code else KILLED)


main()
