# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a setting of Dovecot 2.3 is set. PRIVATE to this collection.

``doveconf`` tells what is in force but not which file says so. This reads the files in the order in which Dovecot does
(src/config/config-parser.c) and notes each assignment. The output of ``doveconf`` has the same syntax.
"""

import fnmatch
import glob
import os
import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

# A comment begins at a # outside of quotes.
COMMENT = re.compile(r"""^((?:[^'"#]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')*)#.*$""")
ASSIGNMENT = re.compile(r"([^\s=]+)\s*=\s*(.*)\Z")
BLOCK = re.compile(r"(\S+)(?:\s+(.*?))?\s*\{\Z")
INCLUDE = re.compile(r"!include(?:_try)?\s+(.*)\Z")
LISTENER = re.compile(r"service/([^/]+)/(?:unix|fifo)_listener/([^/]+)/mode\Z")
# Filters other than protocol: what is inside holds for some connections only.
FILTERS = ("local", "remote", "local_name")
# Dovecot 2.4 prints ``ssl_server { cert_file = x }`` for ssl_server_cert_file, and takes either.
GROUPS = re.compile(r"(?<![^/])(ssl_server|ssl_client)/")
DATABASES = ("userdb", "passdb")
NUMBERED = DATABASES + ("namespace",)
# A block that is open: its name, or the kind and title of a filter.
Open = Union[str, Tuple[str, str]]

# The filter blocks around a setting, from the outermost: (("local", "192.0.2.1"), ("protocol", "imap")).
Section = Tuple[Tuple[str, str], ...]


class Assignment(NamedTuple):
    """One ``name = value``.

    :arg file, line: where it is, the line counted from 1, that of the last part when it goes on over several
    :arg protocol: of which protocol section it is, None outside of them
    :arg setting: as ``doveconf`` names it, such as service/doveadm/inet_listener/http/port; with the block's number in
        brackets where a block has no name and may be there several times, as in userdb[2]/driver
    :arg value: the text, without its quotes
    :arg reason: the comment in the line directly above, None without one
    :arg section: the filters around it
    :arg first: its first line, where it goes on over several
    """

    file: str
    line: int
    protocol: Optional[str]
    setting: str
    value: str
    reason: Optional[str] = None
    section: Section = ()
    first: int = 0

    @property
    def place(self) -> str:
        return "%s line %d" % (self.file, self.line)


def unquote(value: str) -> str:
    """Return a value without the quotes around it.

    >>> print(unquote('"a \\\\"b\\\\""'))
    a "b"
    """
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def unquote_printed(value: str) -> str:
    """Return a value that ``doveconf`` has printed, which puts quotes around blanks at the ends and around ``#`` only.

    >>> print(unquote_printed('"a #b"'))
    a #b
    >>> print(unquote_printed('"a b"'))
    "a b"
    """
    plain = unquote(value) if value.startswith('"') else value
    return plain if "#" in plain or plain != plain.strip() else value


class Block(NamedTuple):
    """A block, from its first line to its closing brace.

    :arg name: as in Assignment, such as service/doveadm
    :arg kind, title: the words before the brace, such as ``service`` and ``doveadm``; a block may have no title
    """

    file: str
    first: int
    last: int
    name: str
    kind: str = ""
    title: str = ""


class Source(NamedTuple):
    """The files of a configuration, in the order in which Dovecot reads them.

    :arg assignments: those that hold for every connection
    :arg for_some: those inside ``local``, ``remote`` and ``local_name``
    :arg includes: patterns of the includes outside of blocks, absolute paths
    :arg blocks: those that are no filters
    :arg files: paths of the files
    """

    assignments: List[Assignment]
    for_some: List[Assignment] = []
    includes: List[str] = []
    blocks: List[Block] = []
    files: List[str] = []

    @property
    def every(self) -> List[Assignment]:
        return self.assignments + self.for_some

    def includes_file(self, path: str) -> bool:
        """Tell whether Dovecot reads a file of this path, which need not be there."""
        directory, name = os.path.split(path)
        return any(
            os.path.realpath(os.path.dirname(pattern)) == os.path.realpath(directory)
            and fnmatch.fnmatchcase(name, os.path.basename(pattern))
            for pattern in self.includes
        )


def read(path: str) -> Source:
    """Return the Source of a configuration file and all that it includes.

    Files that cannot be read are left out; that is for ``doveconf`` to complain about.
    """
    reader = _Reader()
    found = reader.file(os.path.normpath(path), [], [])
    return _source(found)._replace(includes=reader.includes, blocks=reader.blocks, files=reader.files)


def read_assignments(path: str) -> List[Assignment]:
    """Return the assignments of a configuration file and all that it includes that hold for every connection."""
    return read(path).assignments


def parse(text: str, name: str = "doveconf") -> List[Assignment]:
    """Return the list of Assignment in the text of a configuration file that includes nothing."""
    return _source(_Reader().text(text, name, [], [])).assignments


def parse_printed(text: str) -> Source:
    """Return the Source of what ``doveconf`` prints.

    Unlike a file it has no comments behind values and no lines that go on in the next.
    """
    return _source(_PrintedReader().text(text, "doveconf", [], []))


def _source(found: Sequence[Assignment]) -> Source:
    sorted_out: Tuple[List[Assignment], List[Assignment]] = ([], [])
    for assignment in found:
        sorted_out[any(kind in FILTERS for kind, dummy in assignment.section)].append(assignment)
    return Source(sorted_out[False], sorted_out[True])


def last(assignments: Sequence[Assignment], setting: str, protocol: Optional[str] = None) -> Optional[Assignment]:
    """Return the Assignment that decides a setting inside a protocol's sections, or outside of them; None without one.

    A protocol section decides whatever its place; within the same scope the last one does.
    """
    for scope in [protocol, None] if protocol else [None]:
        for assignment in reversed(assignments):
            if assignment.setting == setting and assignment.protocol == scope:
                return assignment
    return None


def listeners(assignments: Sequence[Assignment], base_dir: str) -> List[Tuple[str, str]]:
    """Return service and path of each UNIX socket and FIFO in what ``doveconf`` prints; one of mode 0 is none.

    The paths are without links.
    """
    found = []
    for assignment in assignments:
        match = LISTENER.match(assignment.setting)
        if match and int(assignment.value or "0", 8):
            path = os.path.join(base_dir, match.group(2).replace("\\s", "/"))
            found.append((match.group(1), os.path.realpath(path)))
    return found


def _read_text(path: str) -> str:
    with open(path, "rb") as stream:
        return stream.read().decode("utf-8", "replace")


class _Reader:
    def __init__(self) -> None:
        self.counts: Dict[str, int] = {}
        self.includes: List[str] = []
        self.blocks: List[Block] = []
        self.files: List[str] = []

    def file(self, path: str, including: List[str], blocks: List[Open]) -> List[Assignment]:
        """Return the assignments of a file that is included inside ``blocks``, by the files ``including``."""
        if path in including:
            return []
        try:
            text = _read_text(path)
        except (IOError, OSError):
            return []
        self.files.append(path)
        return self.text(text, path, including + [path], blocks)

    def text(self, text: str, name: str, including: List[str], blocks: List[Open]) -> List[Assignment]:
        assignments: List[Assignment] = []
        begun = ""
        first = 0
        opened: List[Tuple[int, str, str]] = []
        comment: Optional[str] = None
        reason: Optional[str] = None
        for number, raw in enumerate(text.split("\n"), 1):
            if not begun:
                first = number
                reason, comment = comment, _reason(raw)
            line = self._bare(raw)
            if self._goes_on(line):
                begun += line[:-1].rstrip() + " "
                continue
            line, begun = (begun + line).strip(), ""
            include, block, assignment = INCLUDE.match(line), BLOCK.match(line), ASSIGNMENT.match(line)
            if include:
                pattern = os.path.join(os.path.dirname(name), unquote(include.group(1)))
                if not blocks:
                    self.includes.append(pattern)
                for path in self._expand(pattern):
                    assignments += self.file(path, including, blocks)
            elif line == "}":
                if opened and blocks:
                    closed = "/".join(part for part in blocks if isinstance(part, str))
                    begins, kind, title = opened.pop()
                    self.blocks.append(Block(name, begins, number, closed, kind, title))
                blocks = blocks[:-1]
            elif assignment:
                section = tuple(part for part in blocks if isinstance(part, tuple))
                protocols = [title for kind, title in section if kind == "protocol"]
                names = [part for part in blocks if isinstance(part, str)] + [_escape(assignment.group(1))]
                assignments.append(
                    Assignment(
                        name,
                        number,
                        protocols[-1] if protocols else None,
                        GROUPS.sub(r"\1_", "/".join(names)),
                        self._unquote(assignment.group(2)),
                        reason,
                        section,
                        first,
                    )
                )
            elif block:
                kind, title = block.group(1), unquote(block.group(2) or "")
                opened.append((number, kind, title))
                inner = self._block(kind, title, not blocks)
                blocks = blocks + [inner]
                if kind in DATABASES and title and len(blocks) == 1:
                    # Dovecot 2.4 has the driver there: ``userdb passwd-file {``.
                    driver = "%s/driver" % (inner,)
                    assignments.append(Assignment(name, number, None, driver, title, None, (), number))
        return assignments

    def _block(self, kind: str, title: str, outermost: bool) -> Open:
        if kind in NUMBERED and outermost and not (title and kind in DATABASES):
            self.counts[kind] = self.counts.get(kind, 0) + 1
            return "%s[%d]" % (kind, self.counts[kind])
        if kind == "protocol" or kind in FILTERS:
            return kind, title
        return kind + ("/" + _escape(title) if title else "")

    _unquote = staticmethod(unquote)

    @staticmethod
    def _bare(raw: str) -> str:
        return COMMENT.sub(r"\1", raw.strip()).strip()

    @staticmethod
    def _goes_on(line: str) -> bool:
        return line.endswith("\\")

    @staticmethod
    def _expand(pattern: str) -> List[str]:
        # Dovecot's glob(), too, leaves out names that begin with a dot, and sorts.
        return sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [os.path.normpath(pattern)]


class _PrintedReader(_Reader):
    _unquote = staticmethod(unquote_printed)

    @staticmethod
    def _bare(raw: str) -> str:
        line = raw.strip()
        return "" if line.startswith("#") else line

    @staticmethod
    def _goes_on(line: str) -> bool:
        return False


def _reason(raw: str) -> Optional[str]:
    """Return what a comment line says; None for other lines and for a setting that is commented out."""
    line = raw.strip()
    text = line.lstrip("#").strip().rstrip(".")
    return text if line.startswith("#") and text and not re.match(r"\S+\s*=", text) else None


def _escape(name: str) -> str:
    """Write a name as ``doveconf`` expects it in the path of a setting."""
    return name.replace("/", "\\s")
