# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a setting of Dovecot 2.3 is set. PRIVATE to this collection.

``doveconf`` tells what is in force but not which file says so. This reads the files in the order in which Dovecot does
(src/config/config-parser.c) and notes each assignment. The output of ``doveconf`` has the same syntax.
"""

import glob
import os
import re
from collections import namedtuple

# A comment begins at a # outside of quotes.
COMMENT = re.compile(r"""^((?:[^'"#]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')*)#.*$""")
ASSIGNMENT = re.compile(r"([^\s=]+)\s*=\s*(.*)\Z")
BLOCK = re.compile(r"(\S+)(?:\s+(.*?))?\s*\{\Z")
INCLUDE = re.compile(r"!include(?:_try)?\s+(.*)\Z")
LISTENER = re.compile(r"service/([^/]+)/(?:unix|fifo)_listener/([^/]+)/mode\Z")
# Filters other than protocol: what is inside holds for some connections only.
FILTERS = ("local", "remote", "local_name")
NUMBERED = ("userdb", "passdb", "namespace")


class Assignment(namedtuple("Assignment", "file line protocol setting value")):
    """One ``name = value``.

    :arg file, line: where it is, the line counted from 1, that of the last part when it goes on over several
    :arg protocol: of which protocol section it is, None outside of them
    :arg setting: as ``doveconf`` names it, such as service/doveadm/inet_listener/http/port; with the block's number in
        brackets where a block has no name and may be there several times, as in userdb[2]/driver
    :arg value: the text, without its quotes
    """

    __slots__ = ()

    @property
    def place(self):
        return "%s line %d" % (self.file, self.line)


def unquote(value):
    """Return a value without the quotes around it.

    >>> print(unquote('"a \\\\"b\\\\""'))
    a "b"
    """
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def read_assignments(path):
    """Return the list of Assignment of a configuration file and all that it includes, in the order Dovecot reads them.

    Files that cannot be read are left out; that is for ``doveconf`` to complain about.
    """
    return _Reader().file(os.path.normpath(path), [])


def parse(text, name="doveconf"):
    """Return the list of Assignment in a text that includes nothing, such as what ``doveconf`` prints."""
    return _Reader().text(text, name, [])


def last(assignments, setting, protocol=None):
    """Return the Assignment that decides a setting inside a protocol's sections, or outside of them; None without one.

    A protocol section decides whatever its place; within the same scope the last one does.
    """
    for scope in [protocol, None] if protocol else [None]:
        for assignment in reversed(assignments):
            if assignment.setting == setting and assignment.protocol == scope:
                return assignment
    return None


def listeners(assignments, base_dir):
    """Return service and path of each UNIX socket and FIFO in what ``doveconf`` prints; one of mode 0 is none."""
    found = []
    for assignment in assignments:
        match = LISTENER.match(assignment.setting)
        if match and int(assignment.value or "0", 8):
            found.append((match.group(1), os.path.join(base_dir, match.group(2).replace("\\s", "/"))))
    return found


def _read_text(path):
    with open(path, "rb") as stream:
        return stream.read().decode("utf-8", "replace")


class _Reader:
    def __init__(self):
        self.counts = {}

    def file(self, path, including):
        if path in including:
            return []
        try:
            text = _read_text(path)
        except (IOError, OSError):
            return []
        return self.text(text, path, including + [path])

    def text(self, text, name, including):
        assignments, blocks, begun = [], [], ""
        for number, line in enumerate(text.split("\n"), 1):
            line = COMMENT.sub(r"\1", line.strip()).strip()
            if line.endswith("\\"):
                begun += line[:-1].rstrip() + " "
                continue
            line, begun = (begun + line).strip(), ""
            include, block, assignment = INCLUDE.match(line), BLOCK.match(line), ASSIGNMENT.match(line)
            if include:
                pattern = os.path.join(os.path.dirname(name), unquote(include.group(1)))
                for path in self._expand(pattern):
                    assignments += self.file(path, including)
            elif line == "}":
                blocks = blocks[:-1]
            elif assignment:
                protocol, setting = self._name(blocks + [_escape(assignment.group(1))])
                if setting:
                    assignments.append(Assignment(name, number, protocol, setting, unquote(assignment.group(2))))
            elif block:
                kind, title = block.group(1), unquote(block.group(2) or "")
                if kind in NUMBERED and not blocks:
                    self.counts[kind] = self.counts.get(kind, 0) + 1
                    blocks = blocks + ["%s[%d]" % (kind, self.counts[kind])]
                elif kind == "protocol" or kind in FILTERS:
                    blocks = blocks + [(kind, title)]
                else:
                    blocks = blocks + [kind + ("/" + _escape(title) if title else "")]
        return assignments

    @staticmethod
    def _expand(pattern):
        # Dovecot's glob(), too, leaves out names that begin with a dot, and sorts.
        return sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [os.path.normpath(pattern)]

    @staticmethod
    def _name(parts):
        """Return protocol and setting of nested blocks; no setting where it holds for some connections only."""
        protocol, names = None, []
        for part in parts:
            if not isinstance(part, tuple):
                names.append(part)
            elif part[0] == "protocol":
                protocol = part[1]
            else:
                return None, None
        return protocol, "/".join(names)


def _escape(name):
    """Write a name as ``doveconf`` expects it in the path of a setting."""
    return name.replace("/", "\\s")
