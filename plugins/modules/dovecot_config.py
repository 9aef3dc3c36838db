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
      - What Dovecot must say of the new configuration. A setting can be written correctly and still be overridden in
        a file that is read later, or be written where Dovecot does not look for it.
    type: list
    elements: dict
    default: []
    suboptions:
      setting:
        description: The setting as C(doveconf) names it, such as V(plugin/mail_replica).
        type: str
        required: true
      value:
        description: What the setting must be.
        type: str
      contains:
        description: Words that must be among those of the setting.
        type: list
        elements: str
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
      - They must not list C(nobody), which the userdb C(passwd) does where its uid is within C(first_valid_uid) and
        C(last_valid_uid).
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
  - module: mailops.dovecot_replication.mailhost_info
  - name: Dovecot's configuration file syntax
    description: What may be written into the files.
    link: https://doc.dovecot.org/2.3/configuration_manual/config_file/config_file_syntax/
"""

EXAMPLES = r"""
- name: Replicate to the other host
  mailops.dovecot_replication.dovecot_config:
    files:
      - path: /etc/dovecot/conf.d/11-replication.conf
        content: |
          !include_try ../replication-secret.conf.ext
          mail_plugins = $mail_plugins notify replication
          plugin {
            mail_replica = tcp:mx2.example.org:12345
          }
    secrets:
      doveadm_password: "{{ vault_doveadm_password }}"
    secrets_file: /etc/dovecot/replication-secret.conf.ext
    expect:
      - setting: plugin/mail_replica
        value: tcp:mx2.example.org:12345
      - setting: mail_plugins
        contains: [notify, replication]
        protocols: [lda, lmtp, imap, pop3]
        because: changes made by a protocol without these plugins are not replicated
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
    files:
      - path: /etc/dovecot/conf.d/11-replication.conf
        state: absent
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

import grp
import os
import pwd
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _certificates, _config_check
from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _config_files as config_files
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveconf import Doveconf, find_command
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._loaded import Loaded

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
            "protocols": {"type": "list", "elements": "str", "default": []},
            "outside": {"type": "bool", "default": True},
            "because": {"type": "str"},
        },
        "mutually_exclusive": [("value", "contains")],
        "required_one_of": [("value", "contains")],
    },
    "forbid": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"setting": {"type": "str", "required": True}, "because": {"type": "str"}},
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


def account_id(look_up, name, what):
    try:
        return look_up(name)[2]
    except KeyError:
        raise DovecotError(
            "Looking for the %s %s" % (what, name),
            "there is no such %s on this host" % what,
            cure="create it first, or name the one that exists",
        ) from None


def account_name(look_up, number):
    try:
        return look_up(number)[0]
    except KeyError:
        return str(number)


def wanted_files(parameters, config_dir, installed):
    """Return a dict of path to File of all that is asked for."""
    wanted = {}

    def add(path, entry):
        path = os.path.normpath(path)
        if not path.startswith(config_dir + "/"):
            raise DovecotError(
                "Planning %s" % path, "it is not below %s, where this Dovecot's configuration is" % config_dir
            )
        if path in wanted:
            raise DovecotError("Planning %s" % path, "it is named twice")
        wanted[path] = entry

    for item in parameters["files"]:
        if item["state"] == "absent":
            add(item["path"], config_files.ABSENT)
            continue
        try:
            mode = int(item["mode"], 8)
        except ValueError:
            raise DovecotError(
                "Planning %s" % item["path"], "its mode %s is not an octal number" % item["mode"]
            ) from None
        owner = account_id(pwd.getpwnam, item["owner"], "user")
        group = account_id(grp.getgrnam, item["group"], "group")
        add(item["path"], config_files.File(item["content"].encode("utf-8"), mode, owner, group))

    for item in parameters["blocks"]:
        before = config_files.read_file(item["path"])
        if before.content is None and item["content"]:
            if installed:
                raise DovecotError(
                    "Adding a block to %s" % item["path"],
                    "there is no such file",
                    cure="name the file that holds the settings of the userdb",
                )
            before = config_files.File(b"", 0o644, 0, 0)
        if before.content is not None:
            add(item["path"], before._replace(content=config_files.with_block(before.content, item["content"])))

    if parameters["secrets"]:
        try:
            content = config_files.secrets_content(parameters["secrets"])
        except ValueError as error:
            raise DovecotError("Writing the secrets", str(error)) from None
        add(parameters["secrets_file"], config_files.File(content.encode("utf-8"), 0o600, 0, 0))
    elif parameters["secrets"] is not None:
        add(parameters["secrets_file"], config_files.ABSENT)
    return wanted


def problems_of_host(parameters):
    """Return what the configuration names and this host does not have as it should, which doveconf does not look at."""
    for name in parameters["require_users"]:
        account_id(pwd.getpwnam, name, "user")
    for name in parameters["require_groups"]:
        account_id(grp.getgrnam, name, "group")
    problems = [_certificates.authority_problem(path) for path in parameters["require_authorities"]]
    for item in parameters["require_certificates"]:
        problems.append(_certificates.problem(item["certificate"], item["key"], item["name"]))
    return [problem for problem in problems if problem]


def refuse(problems, outcome):
    raise DovecotError(
        "Validating the configuration",
        "; ".join(problems),
        cure="%s; mend what is named, or what overrides it in a file that is read later" % outcome,
    )


def problems_of(module, config_file):
    parameters = module.params
    demands = _config_check.Demands(
        parameters["expect"], parameters["secrets"], parameters["forbid"], parameters["require_iteration"]
    )
    config_dir = os.path.dirname(os.path.normpath(parameters["config_file"]))
    return _config_check.check(Doveconf(module.run_command, config_file), config_file, demands, config_dir)


def validate_staged(module, config_file, changes):
    """Have Dovecot read the configuration as it would be; raise DovecotError when it is not right.

    Return the paths of the sockets and FIFOs that Dovecot would no longer make, a list.
    """
    config_dir = os.path.dirname(config_file)
    # Secrets are written here: mkdtemp makes the directory readable for its owner alone.
    directory = tempfile.mkdtemp(prefix="dovecot_config", dir=module.tmpdir)
    try:
        config_files.stage(config_dir, changes, directory)
        staged = os.path.join(directory, os.path.basename(config_file))
        try:
            problems = problems_of(module, staged)
        except DovecotError as error:
            problems = [str(error)]
        if problems:
            refuse([problem.replace(directory, config_dir) for problem in problems], "nothing was changed")
        before, after = (_config_check.listeners(Doveconf(module.run_command, path)) for path in (config_file, staged))
        return sorted(before - after)
    finally:
        shutil.rmtree(directory)


def validate(module, outcome):
    """Have Dovecot read the configuration where it is."""
    problems = problems_of(module, module.params["config_file"])
    if problems:
        refuse(problems, outcome)


def run(module):
    parameters = module.params
    config_file = os.path.normpath(parameters["config_file"])
    config_dir = os.path.dirname(config_file)
    version = Doveconf(module.run_command, config_file).refuse_without_replicator()
    managed = [item["path"] for item in parameters["files"]]
    installed = bool(find_command("doveconf")) and (os.path.exists(config_file) or config_file in managed)
    loaded = Loaded(Doveconf(module.run_command, config_file).base_dir()) if installed else None
    running, behind = loaded is not None and loaded.is_running(), loaded is not None and loaded.is_behind()
    if not module.check_mode:
        config_files.sweep(managed + [item["path"] for item in parameters["blocks"]])
        config_files.sweep([parameters["secrets_file"]] if parameters["secrets_file"] else [])
    wanted = wanted_files(parameters, config_dir, installed)
    changes = config_files.plan(wanted)

    removed_listeners = []
    if installed:
        problems = problems_of_host(parameters)
        if problems:
            refuse(problems, "nothing was changed")
        for change in changes:
            if change.action == "created" and not os.path.isdir(os.path.dirname(change.path)):
                raise DovecotError("Planning %s" % change.path, "its directory does not exist")
        if changes:
            removed_listeners = validate_staged(module, config_file, changes)
        else:
            validate(module, "nothing was changed")
    elif any(entry.content is not None for entry in wanted.values()) and not (
        module.check_mode and parameters["missing_ok"]
    ):
        raise DovecotError(
            "Configuring Dovecot",
            "there is no %s" % (config_file if find_command("doveconf") else "doveconf command"),
            "Dovecot is not installed on this host, or its configuration lies elsewhere",
            "install Dovecot 2.3, which the role does with `replication_install: true`",
        )

    if changes and not module.check_mode:
        config_files.apply(
            changes, lambda: validate(module, "all files are as they were before") if installed else None, loaded
        )

    wants_running = any(entry.content is not None for entry in wanted.values())
    to_load = parameters["loaded"] and installed and (behind or wants_running and not running)
    names = list(parameters["secrets"] or {})
    result = {
        "changed": bool(changes or to_load),
        "files": [{"path": change.path, "action": change.action} for change in changes],
        "removed_listeners": removed_listeners,
        "validated": installed,
        "not_loaded": behind,
        "running": running,
        "dovecot_version": version,
    }
    if module.check_mode and changes and not installed:
        result["not_previewed"] = "whether Dovecot accepts the configuration, as it is not installed yet"
    if module._diff:
        result["diff"] = config_files.describe(
            changes,
            names,
            [os.path.normpath(item["path"]) for item in parameters["blocks"]],
            lambda uid: account_name(pwd.getpwuid, uid),
            lambda gid: account_name(grp.getgrgid, gid),
        )
        if to_load and not changes:
            result["diff"].append(
                {
                    "before_header": "Dovecot",
                    "after_header": "Dovecot",
                    "before": "running with an older configuration\n" if running else "not running\n",
                    "after": "running with this configuration\n",
                }
            )
    return result


def main():
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_by={"secrets": ["secrets_file"], "secrets_file": ["secrets"]},
        supports_check_mode=True,
    )
    config_dir = os.path.dirname(os.path.normpath(module.params["config_file"]))
    try:
        with config_files.alone(config_dir):
            result = run(module)
    except DovecotError as error:
        module.fail_json(msg=str(error))
    except (IOError, OSError) as error:
        module.fail_json(msg="Writing %s failed: %s." % (error.filename, error.strerror))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
