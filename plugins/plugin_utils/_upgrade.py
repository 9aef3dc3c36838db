# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person has to convert before Dovecot 2.4 reads a configuration of 2.3. Pure. PRIVATE to this collection.

What 2.4 refuses, and what it accepts and then fails of, was measured on 2.4.1-4.
"""

import re
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._settings_2_4 import SETTINGS

# What Dovecot 2.4 makes of a line.
REFUSED, DANGEROUS, IDLE = "refused", "dangerous", "idle"
BLOCK = re.compile(r"(namespace|passdb|userdb)\[\d+\]/(.*)\Z")
OF_THE_REPLICATOR = re.compile("service/(?:replicator|aggregator)/")
# Of 2.3's settings that most configurations have.
INSTEAD = {
    "args": "the settings of the driver, such as passwd_file_path",
    "disable_plaintext_auth": "auth_allow_cleartext, with the opposite value",
    "location": "mail_driver and mail_path",
    "mail_location": "mail_driver and mail_path",
    "ssl_ca": "ssl_server_ca_file",
    "ssl_cert": "ssl_server_cert_file, the path without <",
    "ssl_dh": "ssl_server_dh_file, the path without <",
    "ssl_key": "ssl_server_key_file, the path without <",
    "ssl_protocols": "ssl_min_protocol",
    "verbose_ssl": "log_debug = category=ssl",
}
TITLES = {
    "dict": "dict_server { dict NAME {",
    "inet_listener": "inet_listener NAME {",
    "namespace": "namespace NAME {",
    "passdb": "passdb NAME {, such as passdb passwd-file {",
    "userdb": "userdb NAME {, such as userdb passwd-file {",
}


class Line(NamedTuple):
    """A line of a configuration that must change.

    :arg place: file and line
    :arg setting: the setting, or the kind of section
    :arg effect: REFUSED (Dovecot 2.4 does not start), DANGEROUS (it starts, and fails or misplaces mail) or IDLE
    :arg why: what is wrong with it
    :arg instead: what to write, empty where that depends
    """

    place: str
    setting: str
    effect: str
    why: str
    instead: str


def to_convert(seen: Mapping[str, Any]) -> List[Line]:
    """Return the lines that must change, in the order of Dovecot's reading.

    :arg seen: ``upgrade`` of the module node_info
    """
    places = {item["place"]: item["setting"] for item in seen["untitled"]}
    untitled = [
        Line(place, kind, REFUSED, "this section needs a name", TITLES.get(kind, "")) for place, kind in places.items()
    ]
    sections = [
        Line(
            place,
            "plugin",
            REFUSED,
            "there is no section plugin any more, not even an empty one",
            "what is in it outside of it",
        )
        for place in seen["plugin_sections"]
    ]
    return untitled + sections + [line for item in seen["settings"] for line in _judged(item)]


def _judged(item: Mapping[str, Any]) -> Iterator[Line]:
    setting, place = item["setting"], item["place"]
    if setting == "mail_plugins":
        yield from _plugins(item)
    elif setting.startswith("plugin/"):
        name = setting.partition("/")[2]
        yield Line(place, setting, REFUSED, "settings of plugins stand outside of sections now", _instead(name))
    elif OF_THE_REPLICATOR.match(setting):
        yield Line(place, setting, IDLE, "it makes sockets with nobody behind them", "nothing")
    elif setting.endswith("/address") and "/inet_listener" in setting:
        yield Line(place, setting, REFUSED, "it has another name", "listen")
    elif not _is_known(setting):
        yield Line(place, setting, REFUSED, "there is no such setting any more", _instead(setting.rpartition("/")[2]))
    if item["old_variables"] and _is_known(setting):
        why = "variables such as %u are taken literally, so it is the same for all users"
        yield Line(place, setting, DANGEROUS, why, "%{user}, %{user | username}, %{user | domain}, %{home}")


def _plugins(item: Mapping[str, Any]) -> Iterator[Line]:
    words = item["plugins"]
    if "$mail_plugins" in words or "replication" in words:
        why = "Dovecot starts, and LMTP and IMAP die of the plugin %s at each connection" % (
            "replication" if "replication" in words else "$mail_plugins"
        )
        kept = [word for word in words if word not in ("$mail_plugins", "notify", "replication")]
        instead = "mail_plugins { %s }" % " ".join("%s = yes" % word for word in kept) if kept else "nothing"
        yield Line(item["place"], item["setting"], DANGEROUS, why, instead)


def _is_known(setting: str) -> bool:
    """Tell whether Dovecot 2.4 has the setting where it stands."""
    in_block = BLOCK.match(setting)
    if in_block:
        kind, name = in_block.groups()
        return "/" in name or name in SETTINGS or "%s_%s" % (kind, name) in SETTINGS
    # Those of services have kept their names, but for that of listeners.
    return "/" in setting and not setting.startswith("dict/") or setting in SETTINGS


def _instead(name: str) -> str:
    return INSTEAD.get(name) or (name if name in SETTINGS else "")


def lines_of(found: List[Line]) -> List[str]:
    """Return the lines to convert as a person reads them, the gravest first."""
    headings = {
        DANGEROUS: "Dovecot 2.4 accepts these, and then fails or misplaces mail:",
        REFUSED: "Dovecot 2.4 refuses these and does not start:",
        IDLE: "These do nothing in Dovecot 2.4:",
    }
    texts: List[str] = []
    for effect, heading in headings.items():
        lines = [line for line in found if line.effect == effect]
        if lines:
            texts.append("  " + heading)
            texts += ["    %s: %s: %s%s" % (line.place, line.setting, line.why, _hint(line)) for line in lines]
    return texts


def _hint(line: Line) -> str:
    return "; write %s" % line.instead if line.instead else ""


def summary_of(found: List[Line]) -> Dict[str, int]:
    """Return how many lines there are of each effect."""
    return {effect: sum(line.effect == effect for line in found) for effect in (REFUSED, DANGEROUS, IDLE)}
