# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Dovecot whose replicator is at rest, for tests and benchmarks of what the commands do to its list."""

import time

import runs

# Dovecot looks at most once a second whether a passwd-file has changed.
USERDB_SECONDS = 1.1


class Still:
    """A Dovecot beside the host's own, whose replicator keeps its list and starts no sync.

    So its state is what the commands make of it, and nothing else. Any state can be given to it.
    """

    HOME = "/srv/still"
    CONFIG = f"{HOME}/dovecot.conf"
    API = {"api_url": "http://127.0.0.1:8081", "api_key": "key-of-the-still"}
    SETTINGS = f"""
base_dir = /run/still
state_dir = {HOME}/state
log_path = {HOME}/log
protocols =
ssl = no
mail_location = maildir:~/Maildir
mail_uid = vmail
mail_gid = vmail
passdb {{
  driver = passwd-file
  args = {HOME}/users
}}
userdb {{
  driver = passwd-file
  args = {HOME}/users
}}
replication_max_conns = 0
service replicator {{
  process_min_avail = 1
  unix_listener replicator-doveadm {{
    mode = 0600
  }}
}}
service doveadm {{
  unix_listener doveadm-server {{
    mode = 0600
  }}
  inet_listener http {{
    address = 127.0.0.1
    port = 8081
  }}
}}
doveadm_api_key = {API["api_key"]}
"""

    def __init__(self, lab, host):
        self.lab = lab
        self.host = host
        self.agent = runs.Agent(lab, host)
        self.start()

    def start(self):
        """Start with nobody but ``someone`` on the list."""
        self.stop()
        self.lab.execute(self.host, "mkdir", "-p", f"{self.HOME}/state", "/run/still")
        self.lab.execute(self.host, "install", "-d", "-o", "vmail", f"{self.HOME}/mail")
        self.lab.execute(self.host, "tee", self.CONFIG, stdin=self.SETTINGS)
        self.have_users({"someone": ""})
        self.agent.shell(f"dovecot -c {self.CONFIG} > /dev/null 2>&1")

    def have_users(self, fields):
        """Have these users in the userdb, a dict of names to extra fields, from a second later on."""
        entries = "".join(f"{name}:{{PLAIN}}lab:5000:5000::{self.HOME}/mail::{fields[name]}\n" for name in fields)
        self.lab.execute(self.host, "tee", f"{self.HOME}/users", stdin=entries)
        time.sleep(USERDB_SECONDS)

    def module(self, name, /, **options):
        return self.agent.module(name, config_file=self.CONFIG, **options)

    def stop(self):
        gone = "for wait in $(seq 100); do test -e /run/still/master.pid || break; sleep 0.1; done"
        self.agent.shell(f"! test -e {self.CONFIG} || doveadm -c {self.CONFIG} stop; {gone}; rm -rf {self.HOME}")
