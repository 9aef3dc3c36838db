# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""User names and masks. Pure. PRIVATE to this collection."""

import base64
import json
import re
import zlib
from typing import Callable, Dict, Iterable, List, Set

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError

NAMED_IN_MESSAGES = 10
COMMENT = re.compile(r"(^|\s)#.*")


def is_mask(name: str) -> bool:
    """Tell whether the replicator takes a name for a mask."""
    return "*" in name or "?" in name


def check_names(names: Iterable[str]) -> None:
    """Raise DovecotError for a name that the replicator would take for something else."""
    for name in names:
        if not name:
            raise DovecotError("Reading the names of users", "one of them is empty")
        if is_mask(name):
            raise DovecotError(
                "Reading the names of users",
                "%r is a mask, not a name" % name,
                cure="give it as user_mask",
            )
        if "\0" in name:
            raise DovecotError("Reading the names of users", "%r contains a NUL character" % name)


def names_in_file(content: bytes, path: str) -> List[str]:
    """Return the names in a file that has one a line; raise DovecotError with the number of a line that is none.

    ``#`` begins a comment at the start of a line or after a blank.
    """
    tried = "Reading users_file %s" % path
    names: Dict[str, int] = {}
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise DovecotError(
            tried, "line %d is no UTF-8 (%s)" % (number, error.reason), cure="save the file in UTF-8"
        ) from None
    # Some editors put a mark before the first line.
    lines = text[text.startswith("\ufeff") :].split("\n")
    for number, line in enumerate(lines, 1):
        name = (COMMENT.sub("", line) if "#" in line else line).strip()
        if not name:
            continue
        if is_mask(name):
            raise DovecotError(
                tried, "%r in line %d is a mask, not a name" % (name, number), cure="give it as user_mask"
            )
        if not name.isprintable():
            raise DovecotError(tried, "%r in line %d has a character that cannot be printed" % (name, number))
        if name in names:
            raise DovecotError(
                tried,
                "%r in line %d is in line %d already" % (name, number, names[name]),
                cure="remove one of them",
            )
        names[name] = number
    if not names:
        raise DovecotError(tried, "no line has a name", cure="look whether the file is the right one, and whole")
    return list(names)


def packed(names: List[str]) -> str:
    """Return names as one short text, which Ansible neither templates nor looks through."""
    return base64.b64encode(zlib.compress(json.dumps(names).encode("ascii"))).decode("ascii")


def unpacked(text: str) -> List[str]:
    """Undo :func:`packed`."""
    names: List[str] = json.loads(zlib.decompress(base64.b64decode(text)).decode("ascii"))
    return names


def enumerated(names: List[str]) -> str:
    """Return names as a text for a message: the first few, and how many more there are."""
    text = ", ".join(name or "''" for name in names[:NAMED_IN_MESSAGES])
    more = len(names) - NAMED_IN_MESSAGES
    return "%s and %d more" % (text, more) if more > 0 else text


def mask_matcher(mask: str) -> Callable[[str], bool]:
    """Return a function that tells whether a name matches the mask, as the replicator matches it.

    ``*`` stands for any characters and ``?`` for one byte; upper and lower case differ; nothing can be escaped.
    """
    parts = {b"*": b".*", b"?": b"."}
    pattern = b"".join(parts.get(part, re.escape(part)) for part in re.split(rb"([*?])", _as_bytes(mask)))
    matches = re.compile(b"(?s)" + pattern + rb"\Z").match
    return lambda name: matches(_as_bytes(name)) is not None


def masks_matcher(masks: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name matches one of the masks."""
    matchers = [mask_matcher(mask) for mask in masks]
    return lambda name: any(matches(name) for matches in matchers)


def differing_in_case(listed: Iterable[str], names: Iterable[str]) -> Set[str]:
    """Return the listed names that differ from one of the names in upper and lower case only."""
    exact = set(names)
    lower = {name.lower() for name in exact}
    return {name for name in listed if name not in exact and name.lower() in lower}


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def sample(names: Iterable[str], size: int) -> List[str]:
    """Return so many of the names, evenly spread.

    >>> sample("abcdef", 2)
    ['a', 'd']
    """
    ordered = sorted(names)
    size = min(size, len(ordered))
    return [ordered[index * len(ordered) // size] for index in range(size)]
