# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module usually looks like: a process of doveadm for each user. Only for comparison."""

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(
        argument_spec=dict(users=dict(type="list", elements="str", required=True), config_file=dict(type="path"))
    )
    for name in module.params["users"]:
        module.run_command(["doveadm", "-c", module.params["config_file"], "replicator", "add", name], check_rc=True)
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
