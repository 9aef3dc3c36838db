# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of ``doveconf -P``: what is in force, and which line of the files says so. PRIVATE to this collection.

Secrets are in it. Compare them; print and return nothing of them.
"""

import os
import re
from typing import Callable, Dict, List, Match, Optional, Set, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import source as config_source
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import (
    DEFAULT_BASE_DIR,
    Doveconf,
)

# Protocol sections that count although the setting `protocols` never names them.
ALWAYS_ENABLED = ("doveadm", "lda")
# ``# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf``
FIRST_LINE = re.compile(r"# (\d.*?): (.*)\Z")


class Configuration:
    """What Dovecot says of a configuration.

    :arg text: what ``doveconf -P`` prints, which is little more than the first line when it complains
    :arg complaint: what it complains of, None where Dovecot accepts the configuration
    """

    def __init__(self, text: str, complaint: Optional[str] = None) -> None:
        self.complaint = complaint
        printed = config_source.parse_printed(text)
        self._in_force = printed.assignments
        # Inside ``local``, ``remote`` and ``local_name``.
        self.for_some = printed.for_some
        first_line = FIRST_LINE.match(text.partition("\n")[0])
        # Such as ``2.3.19.1 (9b53102964)``; None when doveconf does not tell.
        self.version: Optional[str] = first_line.group(1) if first_line else None
        # All files, in the order in which Dovecot reads them.
        self.source = config_source.read(first_line.group(2)) if first_line else config_source.Source([])
        self.assignments = self.source.assignments

    def value(self, setting: str, protocol: Optional[str] = None) -> str:
        """Return the value in force, inside the sections of a protocol or outside of them; empty without one."""
        return self.exact(setting, protocol).strip()

    def exact(self, setting: str, protocol: Optional[str] = None) -> str:
        """Return the value in force with the blanks around it."""
        found = self._deciding(setting, protocol)
        return found.value if found else ""

    def has(self, setting: str, protocol: Optional[str] = None) -> bool:
        """Tell whether Dovecot prints the setting, which it does of all but those it knows by an older name only."""
        return self._deciding(setting, protocol) is not None

    def _deciding(self, setting: str, protocol: Optional[str]) -> Optional[config_source.Assignment]:
        named = [found for found in self._in_force if found.setting == setting]
        # Of ``protocol imap`` and ``protocol !lda`` the one that comes first decides (measured on 2.3.19.1).
        inside = [found for found in named if protocol and _covers(found.protocol, protocol)]
        if protocol and not inside:
            inside = self._of_a_list(setting, protocol)
        # Dovecot 2.4 prints the default of a setting in a group first, and then the group.
        outside = [found for found in named if found.protocol is None][-1:]
        return (inside + outside + [None])[0]

    def _of_a_list(self, setting: str, protocol: str) -> List[config_source.Assignment]:
        """Return what ``mail_plugins = a b`` in a protocol of Dovecot 2.4 makes of ``mail_plugins/a``."""
        whole, dummy, item = setting.rpartition("/")
        lists = [found for found in self._in_force if found.setting == whole and _covers(found.protocol, protocol)]
        return [one._replace(setting=setting, value="yes" if item in one.value.split() else "no") for one in lists]

    def place(self, setting: str, protocol: Optional[str] = None) -> Optional[str]:
        """Return the file and line that decide a setting, None for Dovecot's default."""
        found = self.written_last(setting, protocol)
        return found.place if found else None

    def written_last(self, setting: str, protocol: Optional[str] = None) -> Optional[config_source.Assignment]:
        """Return the assignment of the files that decides a setting, None for Dovecot's default."""
        deciding = self._deciding(setting, protocol)
        return config_source.last(self.assignments, setting, deciding.protocol if deciding else protocol)

    def described(self, setting: str, protocol: Optional[str] = None) -> Dict[str, Optional[str]]:
        """Return ``value`` and ``place`` of a setting."""
        return {"value": self.value(setting, protocol), "place": self.place(setting, protocol)}

    def enabled_protocols(self) -> Set[str]:
        """Return the protocols whose sections count."""
        return set(self.value("protocols").split()).union(ALWAYS_ENABLED)

    def written(self, wanted: Callable[[config_source.Assignment], bool]) -> List[Dict[str, str]]:
        """Return the assignments of the files for which ``wanted`` is true, dicts of ``setting`` and ``place``."""
        return [{"setting": found.setting, "place": found.place} for found in self.assignments if wanted(found)]

    def mentions(self, text: str) -> bool:
        """Tell whether a text, such as a path, occurs in a value."""
        return any(text in found.value for found in self._in_force)

    def base_dir(self) -> str:
        """Return the directory of Dovecot's sockets without links, so ``/var/run/dovecot/`` is ``/run/dovecot``.

        It is Dovecot's default where the configuration is not accepted.
        """
        return os.path.realpath(self.value("base_dir") or DEFAULT_BASE_DIR)

    def listeners(self) -> List[Tuple[str, str]]:
        """Return service and path of each UNIX socket and FIFO, pairs."""
        return config_source.listeners(self._in_force, self.base_dir())

    def sockets(self) -> Set[str]:
        """Return the paths of the UNIX sockets and FIFOs."""
        return {path for dummy, path in self.listeners()}

    def named(self, pattern: str) -> List[Tuple[Match, str]]:
        """Return what is in force with a name that matches: pairs of match and value."""
        pairs = [(re.match(pattern, found.setting), found.value.strip()) for found in self._in_force]
        return [(match, value) for match, value in pairs if match]


def origin(place: Optional[str]) -> str:
    """Return where a setting is decided, for a sentence; without a place it is Dovecot's default."""
    return "set in %s" % place if place else "Dovecot's default, as no file sets it"


def words(value: str) -> List[str]:
    """Return the words of a value; ``</etc/dovecot/plugins`` stands for those in the file."""
    if not value.startswith("<"):
        return value.split()
    try:
        with open(value[1:].strip(), "rb") as stream:
            return stream.read().decode("utf-8", "replace").split()
    except (IOError, OSError):
        return []


def _covers(section: Optional[str], protocol: str) -> bool:
    if section and section.startswith("!"):
        return section[1:] != protocol
    return section == protocol


def read(doveconf: Doveconf) -> Configuration:
    """Return all that doveconf says, in one run; Dovecot 2.4 prints what no file sets with -a only."""
    rc, out, err = doveconf.run("-a", "-P")
    return Configuration(out, (err.strip() or "doveconf ended with status %d" % rc) if rc else None)
