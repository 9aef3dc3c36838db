# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of replication that somebody wrote by hand, and how they are commented out and put back. Pure. PRIVATE."""

import os
import re
from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.plugins import PLUGINS
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.source import (
    INCLUDE,
    Assignment,
    Block,
    Source,
    parse,
)

MARK = "#mailops.dovecot_replication#"
# Behind a setting that stands in for one that is commented out.
STAND_IN = re.compile(r"\S.* " + re.escape(MARK) + r"\s*\Z")
LISTENS_FOR_DOVEADM = re.compile(r"service/doveadm/inet_listener(?:/([^/]+))?\Z")
# Dovecot knows the HTTP API by this name.
API_LISTENER = "http"
OF_REPLICATION = re.compile(r"(?:plugin/mail_replica|doveadm_password|(?:.*/)?replication_sync_timeout)\Z")
SERVICES = re.compile(r"service/(?:replicator|aggregator)/(?:unix|fifo)_listener/")
MAIL_REPLICA = "plugin/mail_replica"
OWN_PLUGINS = ("notify", "replication")

Scope = Tuple[str, Optional[str]]


class Lines(NamedTuple):
    """Lines of one statement.

    :arg first, last: counted from 1
    :arg setting: the setting or the block
    """

    file: str
    first: int
    last: int
    setting: str

    @property
    def place(self) -> str:
        return "%s line %d" % (self.file, self.first)


def own_names(paths: Collection[str], content: str) -> Set[str]:
    """Return the names of our files, without directories: those at the paths, and those that our settings include."""
    included = [match.group(1) for match in map(INCLUDE.match, content.split("\n")) if match]
    return {os.path.basename(path) for path in [*paths, *included]}


def found(source: Source, own: Collection[str], content: str, secrets: Mapping[str, Any]) -> List[Lines]:
    """Return the lines of others that make a pair, or set what we set to something else, by files and lines.

    :arg own: names of our files
    :arg content: our settings
    :arg secrets: those that we set as well, values by their settings
    """
    ours = parse(content)
    claimed: Dict[Scope, str] = {(one.setting, one.protocol): one.value for one in ours if one.setting != PLUGINS}
    claimed.update({(name, None): str(value) for name, value in secrets.items()})
    ports = {one.value for one in ours if LISTENS_FOR_DOVEADM.match(os.path.dirname(one.setting))}
    theirs = [one for one in source.every if os.path.basename(one.file) not in own]
    makes_a_pair = any(one.setting == MAIL_REPLICA for one in theirs)
    blocks = [
        Lines(block.file, block.first, block.last, block.name)
        for block in source.blocks
        if os.path.basename(block.file) not in own
        and (SERVICES.match(block.name) or _listens(block, theirs, ports, makes_a_pair))
    ]
    single = [
        Lines(one.file, one.first, one.line, one.setting)
        for one in theirs
        if (OF_REPLICATION.match(one.setting) or claimed.get((one.setting, one.protocol), one.value) != one.value)
        and not any(block.file == one.file and block.first <= one.line <= block.last for block in blocks)
    ]
    return sorted(set(blocks + single))


def _listens(block: Block, theirs: Sequence[Assignment], ports: Set[str], makes_a_pair: bool) -> bool:
    """Tell whether a block is a listener for doveadm that is in the way of ours, or belongs to a pair."""
    match = LISTENS_FOR_DOVEADM.match(block.name)
    if not match or match.group(1) == API_LISTENER:
        return False
    port = [one.value for one in theirs if one.file == block.file and block.first < one.line < block.last]
    return makes_a_pair or bool(ports.intersection(port))


def loading(source: Source, own: Collection[str]) -> List[Lines]:
    """Return the lines of others that load the plugin replication."""
    return [
        Lines(one.file, one.first, one.line, one.setting)
        for one in source.every
        if one.setting == PLUGINS and "replication" in one.value.split() and os.path.basename(one.file) not in own
    ]


def left(source: Source, own: Collection[str]) -> List[Lines]:
    """Return the lines of others that replicate where none of our settings do."""
    lines = found(source, own, "", {})
    if not any(statement.setting == MAIL_REPLICA for statement in lines):
        # The rest serves something else.
        lines = []
    return sorted(lines + loading(source, own))


def commented_out(content: bytes, lines: Sequence[Lines]) -> bytes:
    """Return the content of a file with statements commented out.

    A line of mail_plugins gets a stand-in without our plugins where it names others, too.

    >>> text = b"mail_plugins = quota replication\\n"
    >>> print(commented_out(text, [Lines("x", 1, 1, "mail_plugins")]).decode())
    #mailops.dovecot_replication# mail_plugins = quota replication
    mail_plugins = quota #mailops.dovecot_replication#
    <BLANKLINE>
    """
    texts = content.decode("utf-8", "surrogateescape").split("\n")
    marked: Dict[int, List[str]] = {}
    for statement in lines:
        for number in range(statement.first, statement.last + 1):
            marked[number] = ["%s %s" % (MARK, texts[number - 1])]
        if statement.setting == PLUGINS:
            marked[statement.last] += _stand_in(texts[statement.first - 1 : statement.last])
    result: List[str] = []
    for number, text in enumerate(texts, 1):
        result += marked.get(number, [text])
    return "\n".join(result).encode("utf-8", "surrogateescape")


def _stand_in(texts: Sequence[str]) -> List[str]:
    name, dummy, value = "".join(text.rstrip().rstrip("\\") + " " for text in texts).partition("=")
    rest = [word for word in value.strip().strip("\"'").split() if word not in OWN_PLUGINS]
    return ["%s= %s %s" % (name, " ".join(rest), MARK)] if rest not in ([], ["$" + PLUGINS]) else []


def put_back(content: bytes) -> bytes:
    """Return the content of a file with what was commented out as it was before."""
    result = []
    for text in content.decode("utf-8", "surrogateescape").split("\n"):
        if text.startswith(MARK + " "):
            result.append(text[len(MARK) + 1 :])
        elif not STAND_IN.match(text.strip()):
            result.append(text)
    return "\n".join(result).encode("utf-8", "surrogateescape")


def grouped(lines: Sequence[Lines]) -> List[Tuple[str, List[Lines]]]:
    """Return the statements of each file, pairs of path and statements."""
    files = list(dict.fromkeys(statement.file for statement in lines))
    return [(path, [statement for statement in lines if statement.file == path]) for path in files]
