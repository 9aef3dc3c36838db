# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the configured userdbs can list their users, as far as the configuration tells. PRIVATE to this collection.

Dovecot fills the replicator's list by asking the userdbs for all users. When one cannot answer, only users
whose mail changes are replicated, and only the log says so.
"""

import os
import pwd
import re
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import source as config_source
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import Configuration

# Those without iterate_init in src/auth/userdb-*.c; Dovecot passes over them.
CANNOT_LIST = ("static", "prefetch", "checkpassword", "nss")
SYSTEM, LDAP = "passwd", "ldap"
PASSWD_FILE, PREFETCH = "passwd-file", "prefetch"
# A userdb with this result only adds fields to what another one finds.
ADDS_FIELDS = "continue"
ACCEPTED = (
    ". Use a userdb that can (passwd-file, sql or ldap), or accept that with replication_require_iteration: false"
)
VARIABLE = re.compile("%[^%]")
LOGIN_DEFS = "/etc/login.defs"
UIDS_OF_PEOPLE = {"UID_MIN": 1000, "UID_MAX": 60000}
# Since 2.4 each has a name.
IN_USERDB = re.compile(r"userdb(\[\d+\]|/[^/]+)/(\w+)\Z")


def problems(configuration: Configuration, locate: Callable[[str], str] = str) -> List[str]:
    """Return what keeps the userdbs from listing just the users that have mail, a list of texts.

    :arg locate: function from the path of a file to where it is read, for a configuration that is not in place yet
    """
    assignments = configuration.assignments
    configured = userdbs(configuration)
    drivers = [userdb.get("driver") for userdb in configured]
    found = _unlistable(drivers, assignments) or [text + ACCEPTED for text in _passed_over(configured, assignments)]
    found += [text + ACCEPTED for text in _with_variables(configured, assignments)]
    found += [
        _unspecified(userdb.get("args", ""))
        for userdb in configured
        if userdb.get("driver") == LDAP and not _iterates(locate(userdb.get("args", "")))
    ]
    if SYSTEM in drivers:
        found += _lists_without_mail(_without_mail(configuration), _place(assignments, [SYSTEM]))
    return found


def userdbs(configuration: Configuration) -> List[Dict[str, str]]:
    """Return the userdbs in their order, a list of dicts of setting to value."""
    blocks: Dict[str, Dict[str, str]] = {}
    for match, value in configuration.named(IN_USERDB.pattern):
        blocks.setdefault(match.group(1), {})[match.group(2)] = value
    return list(blocks.values())


def passed_over(configuration: Configuration) -> List[str]:
    """Return the userdbs that Dovecot passes over in silence when it lists users, a list of texts."""
    return _passed_over(userdbs(configuration), configuration.assignments)


def _passed_over(configured: Sequence[Dict[str, str]], assignments: Sequence[config_source.Assignment]) -> List[str]:
    drivers = {
        userdb["driver"]
        for userdb in configured
        if userdb.get("driver") in CANNOT_LIST
        # The one that it spares a look-up lists the users.
        and userdb["driver"] != PREFETCH
        and userdb.get("result_success") != ADDS_FIELDS
    }
    return [
        "the userdb with driver %s%s cannot list its users, and Dovecot passes over it without a word: those who are "
        "only there are not replicated before their mail changes" % (driver, _place(assignments, [driver]))
        for driver in sorted(drivers)
    ]


def _with_variables(configured: Sequence[Dict[str, str]], assignments: Sequence[config_source.Assignment]) -> List[str]:
    # Dovecot 2.4 has the path in a setting of its own.
    given = [
        (setting, userdb[setting])
        for userdb in configured
        for setting in ("args", "passwd_file_path")
        if userdb.get("driver") == PASSWD_FILE and userdb.get(setting)
    ]
    found = [(setting, text) for setting, text in given if VARIABLE.search(path_in(text).replace("%%", ""))]
    return [
        "the userdb with driver passwd-file%s cannot list its users, as there are variables in its path %s"
        % (_place(assignments, [text], setting), path_in(text))
        for setting, text in dict.fromkeys(found)
    ]


def path_in(args: str) -> str:
    """Return the path in the args of a passwd-file.

    >>> path_in("scheme=crypt username_format=%n /etc/x/%d/passwd")
    '/etc/x/%d/passwd'
    """
    words = args.split(" ")
    while len(words) > 1 and not words[0].startswith("/"):
        words.pop(0)
    return " ".join(words)


def without_mail(configuration: Configuration) -> List[str]:
    """Return the system accounts that are listed as users and have no place for mail, by their uids."""
    drivers = [userdb.get("driver") for userdb in userdbs(configuration)]
    return [entry.pw_name for entry in _without_mail(configuration)] if SYSTEM in drivers else []


def _without_mail(configuration: Configuration) -> List[pwd.struct_passwd]:
    first, last = (int(configuration.value(name) or 0) for name in ("first_valid_uid", "last_valid_uid"))
    least, most = _uids_of_people()
    found = [
        entry
        for entry in pwd.getpwall()
        if entry.pw_uid >= first and not (last and entry.pw_uid > last)
        # Those of people get a home later, where it is made at the first log-in.
        if not least <= entry.pw_uid <= most and not _is_at_home(entry)
    ]
    return sorted(found, key=lambda entry: entry.pw_uid)


def _is_at_home(entry: pwd.struct_passwd) -> bool:
    try:
        return os.stat(entry.pw_dir).st_uid == entry.pw_uid
    except OSError:
        return False


def _uids_of_people() -> Tuple[int, int]:
    """Return the least and the greatest uid that the system gives to people."""
    limits = dict(UIDS_OF_PEOPLE)
    try:
        with open(LOGIN_DEFS, errors="replace") as stream:
            words = [line.split() for line in stream]
    except (IOError, OSError):
        words = []
    limits.update(
        (word[0], int(word[1])) for word in words if len(word) > 1 and word[0] in limits and word[1].isdecimal()
    )
    return limits["UID_MIN"], limits["UID_MAX"]


def _lists_without_mail(entries: Sequence[pwd.struct_passwd], place: str) -> List[str]:
    """Return a problem when the system's users include such as ``nobody``, whose sync always fails."""
    if not entries:
        return []
    names = ", ".join("%s (uid %d)" % (entry.pw_name, entry.pw_uid) for entry in entries)
    return [
        "the userdb with driver %s%s lists system accounts as mailboxes, whose syncs would fail for ever: %s. Where "
        "mail is not the system users', remove that userdb; else set %s, when no user with mail has a uid outside of "
        "that" % (SYSTEM, place, names, limits_without([entry.pw_uid for entry in entries], *_uids_of_people()))
    ]


def limits_without(uids: Sequence[int], least: int, most: int) -> str:
    """Return the variables of the role that leave out system accounts.

    >>> limits_without([998, 65534], 1000, 60000)
    'replication_first_valid_uid: 1000 and replication_last_valid_uid: 65533'
    """
    low = ["replication_first_valid_uid: %d" % least for uid in uids if uid < least]
    high = ["replication_last_valid_uid: %d" % (uid - 1) for uid in sorted(uids) if uid > most]
    return " and ".join(low[:1] + high[:1])


def _unlistable(drivers: Sequence[Optional[str]], assignments: Sequence[config_source.Assignment]) -> List[str]:
    if not drivers:
        return ["there is no userdb, so Dovecot knows no users"]
    if any(driver not in CANNOT_LIST for driver in drivers):
        return []
    return [
        "the userdb with driver %s%s cannot list its users: only mailboxes whose mail changes would ever be "
        "replicated%s" % (" and ".join(driver or "" for driver in drivers), _place(assignments, drivers), ACCEPTED)
    ]


def _iterates(path: str) -> bool:
    """Tell whether the file of an LDAP userdb says which entries are users, one that cannot be read included."""
    if not os.access(path, os.R_OK):
        return True
    return any(found.setting == "iterate_filter" for found in config_source.read_assignments(path))


def _unspecified(path: str) -> str:
    return (
        "the userdb with driver ldap lists the entries with objectClass=posixAccount by their uid, since %s sets no "
        "iterate_filter; when there are none it lists nobody and says nothing. Set replication_iterate with `attrs` "
        "and `filter`, to these where they are right (uid=user)" % path
    )


def _place(
    assignments: Sequence[config_source.Assignment], values: Sequence[Optional[str]], setting: str = "driver"
) -> str:
    places = [
        assignment.place
        for assignment in assignments
        if IN_USERDB.match(assignment.setting)
        and assignment.setting.endswith("/" + setting)
        and assignment.value in values
    ]
    return " (%s)" % ", ".join(places) if places else ""
