# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show a report to a person, as text. PRIVATE to this collection."""

from typing import Iterable, Optional

from ansible import constants as C
from ansible.utils.display import Display

# By the first word of a line.
COLOURS = {"ERROR": "COLOR_ERROR", "WARNING": "COLOR_CHANGED"}


def show(lines: Iterable[str]) -> None:
    """Print lines as they are, in colour where a terminal is."""
    for line in lines:
        Display().display(line, color=colour_of(line), stderr=writes_a_document(C.DEFAULT_STDOUT_CALLBACK))


def colour_of(line: str) -> Optional[str]:
    """Return the colour of a line, None for that of the terminal."""
    name = COLOURS.get(line.partition(" ")[0])
    return getattr(C, name) if name else None


def writes_a_document(callback: str) -> bool:
    """Return whether a callback plugin makes stdout something that a program reads.

    >>> writes_a_document("ansible.posix.jsonl")
    True
    """
    return callback.rpartition(".")[2].startswith("json")
