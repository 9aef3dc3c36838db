#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: dovecot_config
short_description: Write Dovecot configuration files as one validated change
version_added: 1.0.0
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
description:
  - Brings any number of configuration files of Dovecot 2.3 into the wanted state, all of them or none.
  - What the configuration would become is put together in a private directory first and read by C(doveconf) there.
    When Dovecot does not accept it, or would not do what O(expect) asks for, the task fails and nothing has been
    changed.
  - Then the files are written, each in one step, and C(doveconf) reads them again where they are. When that fails
    every file is put back as it was.
  - Dovecot is not reloaded. Notify a handler for that, and set O(loaded=true).
  - When the task is killed while it writes, a process that it has left on the host puts every file back as it was. One
    task at a time works on the files of a directory.
  - In check mode everything but the writing is done, so an invalid configuration is found there as well.
options:
  config_file:
    description:
      - Dovecot's main configuration file. Its directory is the one whose files are managed.
    type: path
    default: /etc/dovecot/dovecot.conf
  files:
    description:
      - The files to manage. All must be in the directory of O(config_file) or below.
      - Do not put secrets here but into O(secrets). What is here shows in the host's log.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the file. The directory must exist.
        type: path
        required: true
      content:
        description: The whole content. Required with O(files[].state=present).
        type: str
      mode:
        description: The permissions as an octal number in quotes.
        type: str
        default: "0644"
      owner:
        description: Name of the user that owns the file.
        type: str
        default: root
      group:
        description: Name of the group that owns the file.
        type: str
        default: root
      state:
        description: Whether the file shall exist.
        type: str
        choices: [present, absent]
        default: present
  blocks:
    description:
      - Settings to add to files that belong to somebody else, such as C(dovecot-sql.conf.ext). Each file has one block
        of them, between two comments at its end. Everything else in it stays as it is, and is not shown in the diff.
      - These files are not read by C(doveconf), so what is in a block is only validated by what reads them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path of the file, which must exist.
        type: path
        required: true
      content:
        description: The settings. When empty the block is removed.
        type: str
        default: ""
  settings:
    description:
      - Settings that take effect whatever files the configuration is made of.
      - They are written to O(settings.drop_in) where Dovecot reads the files of its directory and says that they take
        effect there. Everywhere else they are written to O(settings.file), which the last line of O(config_file)
        includes, between two comments. Then each section that sets C(mail_plugins) gets O(settings.plugins) added.
    type: dict
    suboptions:
      content:
        description: The settings, without C(mail_plugins). When empty both files are removed, and the line with them.
        type: str
        default: ""
      drop_in:
        description: Absolute path of the file where a directory of files is read.
        type: path
        required: true
      file:
        description:
          - Absolute path of the file everywhere else. Choose a name that no other include matches, such as one that
            ends in C(.conf.ext).
        type: path
        required: true
      plugins:
        description: Plugins that processes which change mail need.
        type: list
        elements: str
        default: [notify, replication]
      protocols:
        description:
          - Protocols whose processes change mail. Those that are not enabled in Dovecot's setting C(protocols) are not
            looked at; V(lda) and V(doveadm) always are.
        type: list
        elements: str
        default: [lda, lmtp, imap, pop3, doveadm]
      others:
        description:
          - What to do with lines of the administrator's that make a pair, or that set what O(settings.content) sets
            (C(mail_replica), C(doveadm_password), listeners for doveadm, sockets of C(replicator) and C(aggregator)).
          - With V(refuse) the task fails and names them. Without O(settings.content) it only returns them.
          - V(comment_out) turns them into comments that begin with C(#mailops.dovecot_replication#).
          - V(put_back) turns such comments into what they were, where O(settings.content) is empty.
        type: str
        choices: [refuse, comment_out, put_back]
        default: refuse
  secrets:
    description:
      - Settings whose values must not be seen, such as V(doveadm_password), with their values.
      - They are written, quoted as Dovecot needs it, to O(secrets_file). They appear neither in the result nor in the
        diff nor in the log; the diff only tells whether a value changes.
      - With an empty dictionary the file is removed.
    type: dict
  secrets_file:
    description:
      - The file for O(secrets), always owned by root with permissions 0600.
      - Include it in one of the other files by C(!include_try), which lets processes that are not root go on without
        it. Choose a name that no other include matches, such as one that ends in C(.conf.ext).
    type: path
  expect:
    description:
      - What Dovecot must say of the new configuration, beside the settings in O(files). Dovecot must have those in
        force without being named here, as a setting can be written correctly and still be overridden in a file that
        is read later, or be written where Dovecot does not look for it. When one is not, the comment in the line above
        it is shown as the explanation.
      - Not compared are settings in O(files) that take in others by C($name), those inside C(userdb), C(passdb),
        C(namespace), C(local), C(local_name) and C(remote), and those of protocols that are not enabled.
    type: list
    elements: dict
    default: []
    suboptions:
      setting:
        description: The setting as C(doveconf) names it, such as V(plugin/mail_replica).
        type: str
        required: true
      value:
        description: What the setting must be. Sizes, intervals and numbers may be in another spelling.
        type: str
      contains:
        description: Words that must be among those of the setting.
        type: list
        elements: str
      matches:
        description: A regular expression of Python that must match at the beginning of the value.
        type: str
      wanted:
        description: What O(expect[].matches) means, as the end of a sentence, such as V(be set).
        type: str
      protocols:
        description:
          - Protocols in whose sections the same must be true. Those that are not enabled in Dovecot's setting
            C(protocols) are left out; V(lda) and V(doveadm) are always looked at.
        type: list
        elements: str
        default: []
      outside:
        description: Whether it must be true outside of protocol sections, too.
        type: bool
        default: true
      because:
        description: An explanation that is shown when the expectation is not met.
        type: str
  forbid:
    description:
      - Settings that must not be set anywhere, in whatever file and section.
    type: list
    elements: dict
    default: []
    suboptions:
      setting:
        description: The name of the setting, without that of its section.
        type: str
        required: true
      value_begins:
        description: Only a value that begins so must not be in force.
        type: str
      because:
        description: An explanation that is shown when it is set.
        type: str
  loaded:
    description:
      - Report a change as well when files were changed by an earlier task and Dovecot has not been reloaded or started
        since, as after a play that died before its handler; and when Dovecot is not running, unless all files are to be
        absent. So the handler is notified, and does what is missing.
    type: bool
    default: false
  require_iteration:
    description:
      - Whether the userdbs of the configuration must be able to list their users. One of LDAP must say which entries
        are users, by C(iterate_filter).
      - They must not list system accounts without a home, such as C(nobody). The userdb C(passwd) does where their
        uids are within C(first_valid_uid) and C(last_valid_uid).
    type: bool
    default: false
  require_certificates:
    description:
      - Certificates that the configuration names. They must fit their keys, be valid now and be for the name.
        C(doveconf) does not look.
    type: list
    elements: dict
    default: []
    suboptions:
      certificate:
        description: Path of the certificate, followed by those between it and the root, in PEM format.
        type: path
        required: true
      key:
        description: Path of its private key, without a passphrase.
        type: path
        required: true
      name:
        description: The host name or address by which others call this host.
        type: str
        required: true
  require_authorities:
    description:
      - Files with trusted certificates that the configuration names. Each must have at least one.
    type: list
    elements: path
    default: []
  require_users:
    description:
      - Users that must exist because the configuration names them. C(doveconf) does not look, but Dovecot would not
        start.
    type: list
    elements: str
    default: []
  require_groups:
    description:
      - Groups that must exist because the configuration names them.
    type: list
    elements: str
    default: []
  missing_ok:
    description:
      - Whether check mode accepts a host without Dovecot, since an earlier task would have installed it. The
        configuration cannot be validated then. Without check mode a host without Dovecot always fails.
    type: bool
    default: true
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Secrets are masked.
  idempotent:
    support: full
notes:
  - Needs Dovecot 2.3 and Python 3.6 or newer on the managed host, and root.
  - An C(!include) of an absolute path below the directory of O(config_file) is followed to the new files, too. One
    that leads there under another name, through a symbolic link, is only seen by the second validation.
seealso:
  - module: mailops.dovecot_replication.node_info
  - name: Dovecot's configuration file syntax
    description: What may be written into the files.
    link: https://doc.dovecot.org/2.3/configuration_manual/config_file/config_file_syntax/
"""

EXAMPLES = r"""
- name: Replicate to the other host
  mailops.dovecot_replication.dovecot_config:
    settings:
      drop_in: /etc/dovecot/conf.d/11-replication.conf
      file: /etc/dovecot/replication.conf.ext
      content: |
        !include_try /etc/dovecot/replication-secret.conf.ext
        plugin {
          mail_replica = tcp:mx2.example.org:12345
        }
    secrets:
      doveadm_password: "{{ vault_doveadm_password }}"
    secrets_file: /etc/dovecot/replication-secret.conf.ext
    forbid:
      - setting: replication_sync_timeout
        because: the replicator takes all memory and dies
    require_iteration: true
  notify: Reload Dovecot

- name: Only check whether Dovecot would accept a file, and show what would change
  mailops.dovecot_replication.dovecot_config:
    files:
      - path: /etc/dovecot/conf.d/12-limits.conf
        content: |
          mail_max_userip_connections = 20
  check_mode: true
  diff: true
  register: limits

- name: Have an SQL userdb list its users, whatever else its file says
  mailops.dovecot_replication.dovecot_config:
    blocks:
      - path: /etc/dovecot/dovecot-sql.conf.ext
        content: |
          iterate_query = SELECT email AS user FROM mailboxes
  notify: Reload Dovecot

- name: Take the file away again, and the secret with it
  mailops.dovecot_replication.dovecot_config:
    settings:
      drop_in: /etc/dovecot/conf.d/11-replication.conf
      file: /etc/dovecot/replication.conf.ext
    secrets: {}
    secrets_file: /etc/dovecot/replication-secret.conf.ext
  notify: Reload Dovecot
"""

RETURN = r"""
files:
  description: The files that changed, in the order of their paths.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The path of the file.
      type: str
      sample: /etc/dovecot/conf.d/11-replication.conf
    action:
      description: What was done to it. V(mode) means that only permissions or owner changed.
      type: str
      sample: created
settings_file:
  description: Which of O(settings.drop_in) and O(settings.file) has the settings, null without any.
  returned: success
  type: str
  sample: /etc/dovecot/conf.d/11-replication.conf
others:
  description:
    - Lines of the administrator's that replicate without our settings, as the configuration is now or would be. Empty
      with O(settings.content).
  returned: success
  type: list
  elements: dict
  contains:
    setting:
      description: The setting, or the block.
      type: str
      sample: plugin/mail_replica
    place:
      description: The file and the line.
      type: str
      sample: /etc/dovecot/local.conf line 3
base_dir:
  description: The directory of Dovecot's sockets with this configuration, null without Dovecot.
  returned: success
  type: str
  sample: /run/dovecot
previous_base_dir:
  description: The same with the configuration as it was before.
  returned: success
  type: str
  sample: /run/dovecot
removed_listeners:
  description:
    - Paths of sockets and FIFOs that Dovecot makes with the configuration as it was and will not make any more. Dovecot
      may leave the files behind. Sorted.
  returned: success
  type: list
  elements: str
  sample: []
validated:
  description: Whether Dovecot has read it and all expectations are met. False only in check mode without Dovecot.
  returned: success
  type: bool
  sample: true
not_loaded:
  description:
    - Whether Dovecot was found running with an older configuration than this module had written before, see O(loaded).
  returned: success
  type: bool
  sample: false
running:
  description: Whether Dovecot is running.
  returned: success
  type: bool
  sample: true
not_previewed:
  description: What could not be found out in check mode, and why.
  returned: in check mode without Dovecot, when something would change
  type: str
dovecot_version:
  description: The version of Dovecot, null when it is not installed.
  returned: success
  type: str
  sample: 2.3.19.1 (9b53102964)
"""

import os
import shutil
import tempfile
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common import rights
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.accounts import (
    gid_of,
    group_name,
    uid_of,
    user_name,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import (
    by_hand,
    certificates,
    placement,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import check as config_check
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import files as config_files
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import Doveconf, find_command
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.loaded import Loaded
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import Configuration, read

ARGUMENTS = {
    "config_file": {"type": "path", "default": "/etc/dovecot/dovecot.conf"},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "content": {"type": "str"},
            "mode": {"type": "str", "default": "0644"},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        "required_if": [("state", "present", ["content"])],
    },
    "blocks": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": {"type": "path", "required": True}, "content": {"type": "str", "default": ""}},
    },
    "settings": {
        "type": "dict",
        "options": {
            "content": {"type": "str", "default": ""},
            "drop_in": {"type": "path", "required": True},
            "file": {"type": "path", "required": True},
            "plugins": {"type": "list", "elements": "str", "default": ["notify", "replication"]},
            "protocols": {
                "type": "list",
                "elements": "str",
                "default": ["lda", "lmtp", "imap", "pop3", "doveadm"],
            },
            "others": {"type": "str", "choices": ["refuse", "comment_out", "put_back"], "default": "refuse"},
        },
    },
    "secrets": {"type": "dict", "no_log": True},
    "secrets_file": {"type": "path", "no_log": False},
    "expect": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "setting": {"type": "str", "required": True},
            "value": {"type": "str"},
            "contains": {"type": "list", "elements": "str"},
            "matches": {"type": "str"},
            "wanted": {"type": "str"},
            "protocols": {"type": "list", "elements": "str", "default": []},
            "outside": {"type": "bool", "default": True},
            "because": {"type": "str"},
        },
        "mutually_exclusive": [("value", "contains", "matches")],
        "required_one_of": [("value", "contains", "matches")],
        "required_together": [("matches", "wanted")],
    },
    "forbid": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "setting": {"type": "str", "required": True},
            "value_begins": {"type": "str"},
            "because": {"type": "str"},
        },
    },
    "loaded": {"type": "bool", "default": False},
    "require_iteration": {"type": "bool", "default": False},
    "require_certificates": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "certificate": {"type": "path", "required": True},
            # The path of a key is none.
            "key": {"type": "path", "required": True, "no_log": False},
            "name": {"type": "str", "required": True},
        },
    },
    "require_authorities": {"type": "list", "elements": "path", "default": []},
    "require_users": {"type": "list", "elements": "str", "default": []},
    "require_groups": {"type": "list", "elements": "str", "default": []},
    "missing_ok": {"type": "bool", "default": True},
}


NOTHING_CHANGED = "nothing was changed"
PUT_BACK = "all files are as they were before"


def wanted_files(
    parameters: Dict[str, Any], config_dir: str, installed: bool, more: Dict[str, config_files.File]
) -> Dict[str, config_files.File]:
    """Return all that is asked for, a dict of path to File; raise DovecotError when it cannot be had.

    :arg more: the files that bring the ``settings`` into effect, and those with lines of others
    """
    wanted: Dict[str, config_files.File] = {}
    entries = [(item["path"], whole_file(item)) for item in parameters["files"]]
    for item in parameters["blocks"]:
        entry = file_with_block(item, installed)
        if entry is not None:
            entries.append((item["path"], entry))
    if parameters["secrets"] is not None:
        entries.append((parameters["secrets_file"], secrets_file(parameters["secrets"])))
    entries += more.items()
    for path, entry in entries:
        path = os.path.normpath(path)
        if not path.startswith(config_dir + "/"):
            raise DovecotError(
                "Planning %s" % path,
                "it is not below %s, where this Dovecot's configuration is" % config_dir,
                cure="name a file below that directory, or the main file of another Dovecot as config_file",
            )
        if path in wanted:
            raise DovecotError("Planning %s" % path, "it is named twice", cure="name it once")
        wanted[path] = entry
    return wanted


def whole_file(item: Dict[str, Any]) -> config_files.File:
    """Return what one of ``files`` shall be."""
    if item["state"] == "absent":
        return config_files.ABSENT
    try:
        mode = int(item["mode"], 8)
    except ValueError:
        raise DovecotError(
            "Planning %s" % item["path"],
            "its mode %s is not an octal number" % item["mode"],
            cure='give one in quotes, such as "0644"',
        ) from None
    return config_files.File(item["content"].encode("utf-8"), mode, uid_of(item["owner"]), gid_of(item["group"]))


def file_with_block(item: Dict[str, Any], installed: bool) -> Optional[config_files.File]:
    """Return what the file of one of ``blocks`` shall be, None where no file has nothing to lose."""
    before = config_files.read_file(item["path"])
    if before.content is None and item["content"]:
        if installed:
            raise DovecotError(
                "Adding a block to %s" % item["path"],
                "there is no such file",
                cure="name the file that holds the settings of the userdb",
            )
        before = config_files.File(b"", 0o644, 0, 0)
    if before.content is None:
        return None
    return before._replace(content=config_files.with_block(before.content, item["content"]))


def secrets_file(secrets: Dict[str, Any]) -> config_files.File:
    """Return what the file of the secrets shall be, absent without any."""
    if not secrets:
        return config_files.ABSENT
    try:
        content = config_files.secrets_content(secrets)
    except ValueError as error:
        raise DovecotError("Writing the secrets", str(error), cure="correct the names or values in `secrets`") from None
    return config_files.File(content.encode("utf-8"), 0o600, 0, 0)


class Host(NamedTuple):
    """What is there before anything is changed.

    :arg before: what Dovecot says of the configuration as it is, None where Dovecot is not installed
    :arg behind: whether Dovecot runs with an older configuration than this module has written
    """

    config_file: str
    config_dir: str
    version: Optional[str]
    before: Optional[Configuration]
    loaded: Optional[Loaded]
    running: bool
    behind: bool

    @property
    def installed(self) -> bool:
        return self.before is not None


class Plan(NamedTuple):
    """What shall be, and the changes that make it so.

    :arg settings_file: the file that has the ``settings``, None without any
    :arg others: paths of files of the administrator's in which lines change
    :arg adds: whether anything is added to the configuration, and not just removed
    """

    wanted: Dict[str, config_files.File]
    changes: List[config_files.Change]
    demands: config_check.Demands
    settings_file: Optional[str]
    others: List[str]
    adds: bool


def observe(module: AnsibleModule) -> Host:
    """Look at the host."""
    config_file = os.path.normpath(module.params["config_file"])
    doveconf = Doveconf(module.run_command, config_file)
    managed = [os.path.normpath(item["path"]) for item in module.params["files"]]
    there = bool(find_command("doveconf")) and (os.path.exists(config_file) or config_file in managed)
    before = read(doveconf) if there else None
    version = (before.version if before else None) or doveconf.version()
    loaded = Loaded(before.base_dir()) if before else None
    return Host(
        config_file,
        os.path.dirname(config_file),
        version,
        before,
        loaded,
        running=loaded is not None and loaded.is_running(),
        behind=loaded is not None and loaded.needs_reload(),
    )


def plans(module: AnsibleModule, host: Host) -> Iterator[Plan]:
    """Yield the ways to what is asked for, the preferred one first: one where there are no ``settings``."""
    parameters = module.params
    ways = iter([placement.Candidate({}, None)])
    settings = settings_of(parameters)
    others: Dict[str, config_files.File] = {}
    if settings:
        others = without_others(module, host, settings)
        main = others.get(host.config_file) or config_files.read_file(host.config_file)
        ways = placement.candidates(settings, host.config_file, main, host.before)
    present = [os.path.normpath(item["path"]) for item in parameters["files"] if item["state"] == "present"]
    for way in ways:
        wanted = wanted_files(parameters, host.config_dir, host.installed, {**others, **way.files})
        demands = config_check.Demands(
            settings=parameters["expect"],
            secrets=parameters["secrets"],
            forbidden=parameters["forbid"],
            iteration=parameters["require_iteration"],
            files=present + ([way.path] if way.path else []),
            placed=settings if way.path else None,
        )
        contents = [way.path, parameters["secrets"]] + [item["content"] for item in parameters["blocks"]]
        adds = bool(present) or any(contents)
        of_others = [*others, host.config_file] if settings else []
        yield Plan(wanted, config_files.plan(wanted), demands, way.path, of_others, adds)


def settings_of(parameters: Dict[str, Any]) -> Optional[placement.Settings]:
    given = parameters["settings"]
    return placement.Settings(**{name: given[name] for name in placement.Settings._fields}) if given else None


def own_names(parameters: Dict[str, Any], settings: placement.Settings) -> Set[str]:
    """Return the names of our files, without directories."""
    paths = settings.paths + [item["path"] for item in parameters["files"]] + [parameters["secrets_file"] or ""]
    return by_hand.own_names(paths, settings.content)


def without_others(module: AnsibleModule, host: Host, settings: placement.Settings) -> Dict[str, config_files.File]:
    """Return the files with lines of others as they shall be, by path; raise DovecotError where these are refused."""
    if host.before is None:
        return {}
    mode, source = module.params["settings"]["others"], host.before.source
    changed: Dict[str, config_files.File] = {}
    if mode == "put_back" and not settings.content:
        for path in source.files:
            before = config_files.read_file(path)
            content = by_hand.put_back(before.content or b"")
            if content != before.content:
                changed[path] = before._replace(content=content)
        return changed
    own = own_names(module.params, settings)
    found = by_hand.found(source, own, settings.content, module.params["secrets"] or {})
    if mode == "comment_out":
        for path, lines in by_hand.grouped(found + by_hand.loading(source, own)):
            before = config_files.read_file(path)
            changed[path] = before._replace(content=by_hand.commented_out(before.content or b"", lines))
    elif found and settings.content:
        raise DovecotError(
            "Looking for replication that was set up by hand",
            ", ".join("%s sets %s" % (lines.place, lines.setting) for lines in found),
            "the pair was made before this role came, or an administrator has changed it since",
            "%s; set `replication_take_over: true`, and these lines are commented out, or remove them"
            % NOTHING_CHANGED,
        )
    return changed


class Outcome(NamedTuple):
    """The configuration as it would be.

    :arg configuration: None without Dovecot
    :arg directory: where it was read, a copy that is gone
    :arg problems: what is not right
    """

    configuration: Optional[Configuration]
    directory: str
    problems: List[str]


def plan(module: AnsibleModule, host: Host) -> Tuple[Plan, Outcome]:
    """Return the first way that Dovecot finds right, and what comes of it; raise DovecotError where there is none."""
    if host.before is not None:
        refuse(problems_of_host(module.params), NOTHING_CHANGED)
    tried = []
    for planned in plans(module, host):
        if host.before is None:
            if planned.adds and not (module.check_mode and module.params["missing_ok"]):
                raise not_installed(host.config_file)
            return planned, Outcome(None, host.config_dir, [])
        outcome = checked(module, host, host.before, planned)
        if not outcome.problems:
            return planned, outcome
        tried.append(outcome.problems)
    # What is wrong with each of the ways is wrong with the one that has the fewest problems.
    raise invalid(min(tried, key=len), NOTHING_CHANGED)


def checked(module: AnsibleModule, host: Host, before: Configuration, planned: Plan) -> Outcome:
    """Have Dovecot read the configuration as it would be."""
    directories = [os.path.dirname(change.path) for change in planned.changes if change.action == "created"]
    missing = [path for path in directories if not os.path.isdir(path)]
    if missing:
        return Outcome(before, host.config_dir, ["there is no directory %s; create it first" % missing[0]])
    if not planned.changes:
        problems = config_check.check(before, planned.demands, host.config_dir, host.config_dir)
        return Outcome(before, host.config_dir, problems)
    # Secrets are written here: mkdtemp makes the directory readable for its owner alone.
    directory = tempfile.mkdtemp(prefix="dovecot_config", dir=module.tmpdir)
    try:
        config_files.stage(host.config_dir, planned.changes, directory)
        staged = read(Doveconf(module.run_command, os.path.join(directory, os.path.basename(host.config_file))))
        stale = [change.path for change in planned.changes]
        problems = config_check.check(staged, planned.demands, directory, host.config_dir, stale, before)
        return Outcome(staged, directory, [problem.replace(directory, host.config_dir) for problem in problems])
    finally:
        shutil.rmtree(directory)


def write(module: AnsibleModule, host: Host, planned: Plan) -> None:
    """Write all files or none, and have Dovecot read them again where they are; nothing in check mode."""
    if not planned.changes or module.check_mode:
        return

    def verify() -> None:
        if host.installed:
            now = read(Doveconf(module.run_command, host.config_file))
            refuse(config_check.check(now, planned.demands, host.config_dir, host.config_dir), PUT_BACK)

    config_files.apply(planned.changes, verify, host.loaded)


def remaining(module: AnsibleModule, host: Host, outcome: Outcome) -> List[Dict[str, str]]:
    """Return the lines of others that make a pair, dicts of ``setting`` and ``place``."""
    settings = settings_of(module.params)
    if settings is None or settings.content or outcome.configuration is None:
        return []
    source, own = outcome.configuration.source, own_names(module.params, settings)
    return [
        {"setting": item.setting, "place": item.place.replace(outcome.directory, host.config_dir)}
        for item in by_hand.left(source, own)
    ]


def report(module: AnsibleModule, host: Host, planned: Plan, outcome: Outcome) -> Dict[str, Any]:
    """Return the result of the task."""
    changes, after = planned.changes, outcome.configuration
    removed_listeners = sorted(host.before.sockets() - after.sockets()) if host.before and after else []
    to_load = module.params["loaded"] and host.installed and (host.behind or planned.adds and not host.running)
    result: Dict[str, Any] = {
        "changed": bool(changes or to_load),
        "files": [{"path": change.path, "action": change.action} for change in changes],
        "settings_file": planned.settings_file,
        "others": remaining(module, host, outcome),
        "base_dir": after.base_dir() if after else None,
        "previous_base_dir": host.before.base_dir() if host.before else None,
        "removed_listeners": removed_listeners,
        "validated": host.installed,
        "not_loaded": host.behind,
        "running": host.running,
        "dovecot_version": host.version,
    }
    if module.check_mode and changes and not host.installed:
        result["not_previewed"] = "whether Dovecot accepts the configuration, as it is not installed yet"
    if module._diff:
        result["diff"] = config_files.describe(
            changes,
            list(module.params["secrets"] or {}),
            blocks=[os.path.normpath(item["path"]) for item in module.params["blocks"]],
            lines=planned.others,
            owner_name=user_name,
            group_name=group_name,
        )
        if to_load and not changes:
            result["diff"].append(difference_of_run(host.running))
    return result


def difference_of_run(running: bool) -> Dict[str, str]:
    """Return the diff of a Dovecot that has to read its configuration again."""
    return {
        "before_header": "Dovecot",
        "after_header": "Dovecot",
        "before": "running with an older configuration\n" if running else "not running\n",
        "after": "running with this configuration\n",
    }


def problems_of_host(parameters: Dict[str, Any]) -> List[str]:
    """Return what the configuration names and this host does not have as it should, which doveconf does not look at."""
    for name in parameters["require_users"]:
        uid_of(name)
    for name in parameters["require_groups"]:
        gid_of(name)
    problems = [certificates.authority_problem(path) for path in parameters["require_authorities"]]
    for item in parameters["require_certificates"]:
        problems.append(certificates.problem(item["certificate"], item["key"], item["name"]))
    return [problem for problem in problems if problem]


def refuse(problems: List[str], outcome: str) -> None:
    """Raise DovecotError when there are problems."""
    if problems:
        raise invalid(problems, outcome)


def invalid(problems: List[str], outcome: str) -> DovecotError:
    return DovecotError(
        "Validating the configuration",
        "; ".join(problems),
        cure="%s; correct what is named, or what overrides it in a file that is read later" % outcome,
    )


def not_installed(config_file: str) -> DovecotError:
    return DovecotError(
        "Configuring Dovecot",
        "there is no %s" % (config_file if find_command("doveconf") else "doveconf command"),
        "Dovecot is not installed on this host, or its configuration is elsewhere",
        "install Dovecot 2.3, which the role does with `replication_install: true`",
    )


def sweep(module: AnsibleModule) -> None:
    """Remove what killed tasks have left beside the files."""
    parameters = module.params
    if not module.check_mode:
        config_files.sweep([item["path"] for item in parameters["files"] + parameters["blocks"]])
        config_files.sweep([parameters["secrets_file"]] if parameters["secrets_file"] else [])
        if parameters["settings"]:
            places = [parameters["settings"]["drop_in"], parameters["settings"]["file"]]
            config_files.sweep([parameters["config_file"]] + places)


def run(module: AnsibleModule) -> Dict[str, Any]:
    """Do what is asked for and return the result; raise DovecotError when nothing was changed."""
    host = observe(module)
    sweep(module)
    planned, outcome = plan(module, host)
    write(module, host, planned)
    return report(module, host, planned, outcome)


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_by={"secrets": ["secrets_file"], "secrets_file": ["secrets"]},
        supports_check_mode=True,
    )
    config_dir = os.path.dirname(os.path.normpath(module.params["config_file"]))
    try:
        rights.require_writable(config_dir, "Configuring Dovecot")
        with config_files.exclusive_lock(config_dir):
            result = run(module)
    except DovecotError as error:
        module.fail_json(msg=str(error))
    except (IOError, OSError) as error:
        cure = None if rights.is_root() else rights.AS_ROOT
        module.fail_json(msg=str(DovecotError("Writing %s" % error.filename, error.strerror, cure=cure)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
