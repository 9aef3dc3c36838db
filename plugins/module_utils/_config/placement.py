# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where settings take effect in a configuration, whatever files it is made of. PRIVATE to this collection.

Of two lines that set the same the later one decides, and a line inside a section decides for its section wherever it
stands. So a drop-in is enough where all sections come after it and build on ``$mail_plugins``. Everywhere else the
settings are read at the end of the main file, and each section gets the plugins of its own: there ``$mail_plugins`` is
what the section had before (src/config/config-parser.c; measured on 2.3.19.1). Dovecot decides which of the ways works:
``candidates`` are tried until it says that one does.
"""

import os
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import files as config_files
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.plugins import (
    OUTSIDE,
    PLUGINS,
    all_theirs,
    theirs,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import (
    Configuration,
    origin,
    words,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.source import Assignment, Section


class Settings(NamedTuple):
    """What is to take effect.

    :arg content: settings outside of sections, and sections of our own
    :arg drop_in: path of the file with them where Dovecot reads files of its directory
    :arg file: path of the file with them everywhere else, included from the main file
    :arg plugins: to be added to mail_plugins
    :arg protocols: whose processes need the plugins
    """

    content: str
    drop_in: str
    file: str
    plugins: Sequence[str]
    protocols: Sequence[str]

    @property
    def paths(self) -> List[str]:
        return [self.drop_in, self.file]

    @property
    def names(self) -> List[str]:
        # A copy of the configuration has the files in another directory.
        return [os.path.basename(path) for path in self.paths]


class Candidate(NamedTuple):
    """One way to bring settings into effect: files as they would be, by path, and which of them has the settings."""

    files: Dict[str, config_files.File]
    path: Optional[str]


def candidates(
    settings: Settings, main_file: str, main: config_files.File, configuration: Optional[Configuration]
) -> Iterator[Candidate]:
    """Yield the ways to bring settings into effect, the preferred one first.

    The ways depend on what others have written alone, and not on the one that was taken before.

    :arg main: the main file as it is, or as it will be but for our block
    :arg configuration: as it is now, None where Dovecot is not installed
    """
    if not settings.content:
        yield _way(settings, main_file, main)
        return
    if configuration is None or configuration.source.includes_file(settings.drop_in):
        everywhere = _assignment(settings, _literal(settings, configuration, OUTSIDE), OUTSIDE)
        yield _way(settings, main_file, main, settings.drop_in, settings.content + everywhere)
    if configuration is None:
        return
    for own in (_by_protocol(settings), [OUTSIDE]):
        sections = list(dict.fromkeys(own + _sections(settings, configuration)))
        lines = [_assignment(settings, _literal(settings, configuration, section), section) for section in sections]
        yield _way(settings, main_file, main, settings.file, settings.content + "".join(lines))


def lacking(settings: Settings, configuration: Configuration, in_place: Configuration) -> List[str]:
    """Return where the plugins are not in force, a list of texts.

    :arg in_place: the configuration that is in place, to name the lines of the administrator's that decide
    """
    enabled = configuration.enabled_protocols()
    values: Dict[Section, str] = {
        (("protocol", protocol),): configuration.value(PLUGINS, protocol)
        for protocol in settings.protocols
        if protocol in enabled
    }
    values.update(
        (printed.section, printed.value)
        for printed in configuration.for_some
        if printed.setting == PLUGINS and _matters(settings, printed.section)
    )
    found = []
    for section, value in values.items():
        if not set(settings.plugins) <= set(words(value)):
            deciding = theirs(settings.names, in_place, section)
            place = origin(deciding.place if deciding else None)
            inside = " inside ".join("%s %s" % block for block in reversed(section))
            found.append("inside %s it is %s (%s)" % (inside, repr(value) if value else "empty", place))
    return found


def _way(
    settings: Settings, main_file: str, main: config_files.File, path: Optional[str] = None, content: str = ""
) -> Candidate:
    files = {one: config_files.ABSENT for one in settings.paths}
    if path:
        files[path] = config_files.File(content.encode("utf-8"), 0o644, 0, 0)
    if main.content is not None:
        include = "!include " + os.path.relpath(settings.file, os.path.dirname(main_file))
        block = include if path == settings.file else ""
        files[main_file] = main._replace(content=config_files.with_block(main.content, block))
    return Candidate(files, path)


def _by_protocol(settings: Settings) -> List[Section]:
    # No line outside of sections: behind a section that has used $mail_plugins Dovecot warns of it at every command.
    return [(("protocol", protocol),) for protocol in settings.protocols]


def _sections(settings: Settings, configuration: Configuration) -> List[Section]:
    """Return the sections in which the administrator sets mail_plugins, as far as they matter."""
    return [one.section for one in all_theirs(settings.names, configuration) if _matters(settings, one.section)]


def _matters(settings: Settings, section: Section) -> bool:
    protocols = [title for kind, title in section if kind == "protocol"]
    return bool(section) and all(title.startswith("!") or title in settings.protocols for title in protocols)


def _literal(settings: Settings, configuration: Optional[Configuration], section: Section) -> Optional[Assignment]:
    """Return the line of the administrator's whose value must be repeated: what comes from a file takes no addition."""
    deciding = theirs(settings.names, configuration, section) if configuration else None
    return deciding if deciding and deciding.value.startswith("<") else None


def _assignment(settings: Settings, repeated: Optional[Assignment], section: Section) -> str:
    """Return the lines that add the plugins inside a section, none where there are no plugins to add."""
    if not settings.plugins:
        return ""
    comment = "a process that changes mail without these plugins starts no sync"
    before = ["$" + PLUGINS]
    if repeated:
        before = [word for word in words(repeated.value) if word not in settings.plugins]
        comment += "; the others are those in %s" % repeated.value[1:].strip()
    lines = ["# " + comment, "%s = %s" % (PLUGINS, " ".join(before + list(settings.plugins)))]
    for kind, title in reversed(section):
        lines = ["%s %s {" % (kind, title)] + ["  " + line for line in lines] + ["}"]
    return "\n".join([""] + lines) + "\n"
