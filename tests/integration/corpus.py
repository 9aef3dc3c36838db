# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of Dovecot configurations as installers, panels and guides make them, in words of our own.

Each is all of /etc/dovecot on both hosts. Accounts and mail are below /srv.
"""

from typing import Any, NamedTuple

ACCOUNTS = ("alice@example.org", "bob@example.org")
PASSWD_FILE = "/srv/corpus/passwd"
PASSWD = "".join(f"{name}:{{PLAIN}}lab:5000:5000::/srv/vmail/{name}::\n" for name in ACCOUNTS)
AUTH = f"""
passdb {{
  driver = passwd-file
  args = {PASSWD_FILE}
}}
userdb {{
  driver = passwd-file
  args = {PASSWD_FILE}
}}
"""
BASE = """
protocols = imap lmtp
mail_location = maildir:~/Maildir
mail_uid = vmail
mail_gid = vmail
ssl = no
disable_plaintext_auth = no
"""
PARTS = "!include conf.d/*.conf\n"
BY_HAND = """
service replicator {
  process_min_avail = 1
  unix_listener replicator-doveadm {
    mode = 0600
    user = vmail
  }
}
service aggregator {
  fifo_listener replication-notify-fifo {
    user = vmail
  }
  unix_listener replication-notify {
    user = vmail
  }
}
service doveadm {
  inet_listener {
    port = %(port)s
  }
}
doveadm_port = %(port)s
doveadm_password = written-by-hand
plugin {
  mail_replica = tcp:%%(peer)s
}
"""


class Shape(NamedTuple):
    """A configuration, and what is special about it.

    :arg kind: what it is an example of, for the table in docs/
    :arg files: texts by the path below /etc/dovecot; ``%(peer)s`` stands for the other host where ``by_host`` is set
    :arg variables: of the role
    :arg refused: words of the refusal without ``cure``, empty where none is needed
    :arg cure: variables that the refusal names; none where the shape is not set up at all
    :arg adopted: whether both hosts make the INBOX, so that it takes the playbook adopt before all is well
    :arg warned: ids of the warnings that remain
    :arg accounts: shell script that makes the accounts and what else both hosts have alike, below /srv/corpus
    :arg prepare: shell script that each host runs before Dovecot starts
    :arg packages: Debian's packages that it needs
    :arg clean: shell script that each host runs afterwards, where ``accounts`` are of the system
    :arg by_host: whether the texts have ``%(peer)s`` in them
    :arg often: whether it is among those of `make test`
    """

    kind: str
    files: dict[str, str]
    variables: dict[str, Any] = {}
    refused: str = ""
    cure: dict[str, Any] = {}
    adopted: bool = False
    warned: tuple[str, ...] = ()
    accounts: str = ""
    prepare: str = ""
    packages: tuple[str, ...] = ()
    clean: str = ""
    by_host: bool = False
    often: bool = False


SHAPES = {
    "single_file": Shape(
        "one dovecot.conf, sections before our part that build on $mail_plugins",
        {
            "dovecot.conf": BASE
            + AUTH
            + "mail_plugins = quota\nprotocol imap {\n  mail_plugins = $mail_plugins imap_quota\n}\n"
            + "protocol lmtp {\n  mail_plugins = $mail_plugins acl\n}\nplugin {\n  quota = count:User quota\n"
            + "  quota_vsizes = yes\n  acl = vfile\n}\n"
        },
    ),
    "unread_directory": Shape(
        "a conf.d that the main file does not include",
        {"dovecot.conf": BASE + AUTH, "conf.d/10-mail.conf": "mail_location = mbox:~/nowhere\n"},
    ),
    "other_directory": Shape(
        "parts in another directory, sections without $mail_plugins",
        {
            "dovecot.conf": "!include /etc/dovecot/sites/*.conf\n",
            "sites/a.conf": BASE + AUTH,
            "sites/b.conf": "protocol lmtp {\n  mail_plugins = acl\n}\nplugin {\n  acl = vfile\n}\n",
        },
    ),
    "settings_after_the_include": Shape(
        "mail_plugins after the include of conf.d",
        {"dovecot.conf": PARTS + "mail_plugins = zlib\n", "conf.d/10-all.conf": BASE + AUTH},
    ),
    "sections_before_the_include": Shape(
        "protocol sections before the include of conf.d",
        {
            "dovecot.conf": "protocol imap {\n  mail_plugins = $mail_plugins imap_zlib\n}\n" + PARTS,
            "conf.d/10-all.conf": BASE + AUTH + "mail_plugins = zlib\n",
        },
    ),
    "section_drops_the_plugins": Shape(
        "a section in conf.d that replaces mail_plugins",
        {
            "dovecot.conf": PARTS,
            "conf.d/10-all.conf": BASE + AUTH,
            "conf.d/20-imap.conf": "protocol imap {\n  mail_plugins = zlib imap_zlib\n}\n",
        },
    ),
    "plugins_from_files": Shape(
        "mail_plugins read from files, for all and for a protocol",
        {
            "dovecot.conf": BASE
            + AUTH
            + "mail_plugins = </etc/dovecot/plugins\nprotocol imap {\n  mail_plugins = </etc/dovecot/plugins-imap\n}\n",
            "plugins": "zlib",
            "plugins-imap": "zlib imap_zlib",
        },
    ),
    "filters": Shape(
        "mail_plugins for an address and its protocol only",
        {
            "dovecot.conf": BASE
            + AUTH
            + "local 127.0.0.1 {\n  protocol imap {\n    mail_plugins = zlib imap_zlib\n  }\n}\n"
        },
    ),
    "all_protocols_but_one": Shape(
        "a section for all protocols but one",
        {"dovecot.conf": BASE + AUTH + "protocol !lmtp {\n  mail_plugins = zlib\n}\n"},
    ),
    "stock": Shape(
        "conf.d as packages have it, sections after our part",
        {
            "dovecot.conf": BASE + AUTH + PARTS + "!include_try local.conf\n",
            "conf.d/20-imap.conf": "protocol imap {\n  mail_plugins = $mail_plugins imap_zlib\n}\n",
            "conf.d/15-lda.conf": "protocol lda {\n  #mail_plugins = $mail_plugins\n}\n",
        },
    ),
    "quota": Shape(
        "quota in a file of each user, and its clone",
        {
            "dovecot.conf": BASE
            + AUTH
            + "mail_plugins = quota\nprotocol imap {\n  mail_plugins = quota imap_quota\n}\n"
            "plugin {\n  quota = dict:User quota::file:%h/quota\n  quota_rule = *:storage=100M\n}\n"
        },
    ),
    "compression": Shape(
        "mail compressed as it is written",
        {"dovecot.conf": BASE + AUTH + "mail_plugins = zlib\nplugin {\n  zlib_save = gz\n}\n"},
    ),
    "sdbox": Shape(
        "mail in sdbox with an alternative storage",
        {"dovecot.conf": BASE.replace("maildir:~/Maildir", "sdbox:~/sdbox:ALT=~/alt") + AUTH},
    ),
    "mdbox": Shape("mail in mdbox", {"dovecot.conf": BASE.replace("maildir:~/Maildir", "mdbox:~/mdbox") + AUTH}),
    "mbox": Shape(
        "mail in mbox",
        {"dovecot.conf": BASE.replace("maildir:~/Maildir", "mbox:~/mail:INBOX=~/inbox") + AUTH},
        refused="mail_location should not begin with mbox:",
    ),
    "linked_directory": Shape(
        "base_dir by way of a link", {"dovecot.conf": "base_dir = /var/run/dovecot/\n" + BASE + AUTH}
    ),
    "prefix": Shape(
        "a namespace with the prefix INBOX. and dots, after `adopt`",
        {
            "dovecot.conf": BASE
            + AUTH
            + "namespace inbox {\n  inbox = yes\n  prefix = INBOX.\n  separator = .\n"
            + "  mailbox Sent {\n    auto = subscribe\n    special_use = \\Sent\n  }\n}\n"
        },
        adopted=True,
        warned=("inbox_prefix",),
    ),
    "shared_folders": Shape(
        "shared folders with ACL",
        {
            "dovecot.conf": BASE
            + AUTH
            + "mail_plugins = acl\nprotocol imap {\n  mail_plugins = acl imap_acl\n}\n"
            + "plugin {\n  acl = vfile\n  acl_shared_dict = file:/srv/vmail/shared.db\n}\n"
            + "namespace inbox {\n  inbox = yes\n  separator = /\n}\n"
            + "namespace {\n  type = shared\n  prefix = shared/%%u/\n  separator = /\n"
            + "  location = maildir:%%h/Maildir:INDEX=~/Maildir/shared/%%u\n  list = children\n"
            + "  subscriptions = no\n}\n"
        },
        {"replication_dsync_parameters": "-d -n inbox -l 30 -U"},
    ),
    "crypt": Shape(
        "mail encrypted with one key for all",
        {
            "dovecot.conf": BASE
            + AUTH
            + "mail_plugins = mail_crypt\nplugin {\n  mail_crypt_global_private_key = </srv/corpus/key.pem\n"
            + "  mail_crypt_global_public_key = </srv/corpus/key.pub\n  mail_crypt_save_version = 2\n}\n"
        },
        accounts="openssl ecparam -name prime256v1 -genkey -noout | openssl pkey -out /srv/corpus/key.pem\n"
        "openssl pkey -in /srv/corpus/key.pem -pubout -out /srv/corpus/key.pub\nchmod 644 /srv/corpus/key.*\n",
    ),
    "sql_prefetch": Shape(
        "accounts in SQL, with prefetch",
        {
            "dovecot.conf": BASE
            + "passdb {\n  driver = sql\n  args = /etc/dovecot/dovecot-sql.conf.ext\n}\n"
            + "userdb {\n  driver = prefetch\n}\n"
            + "userdb {\n  driver = sql\n  args = /etc/dovecot/dovecot-sql.conf.ext\n}\n",
            "dovecot-sql.conf.ext": "driver = sqlite\nconnect = /srv/corpus/users.db\n"
            "password_query = SELECT email AS user, '{PLAIN}lab' AS password, 5000 AS userdb_uid, 5000 AS userdb_gid, "
            "'/srv/vmail/' || email AS userdb_home FROM users WHERE email = '%u'\n"
            "user_query = SELECT 5000 AS uid, 5000 AS gid, '/srv/vmail/' || email AS home FROM users "
            "WHERE email = '%u'\n"
            "iterate_query = SELECT email AS user FROM users\n",
        },
        accounts="""python3 - <<'END'
import sqlite3
db = sqlite3.connect("/srv/corpus/users.db")
db.execute("CREATE TABLE users (email TEXT)")
db.executemany("INSERT INTO users VALUES (?)", [("alice@example.org",), ("bob@example.org",)])
db.commit()
END
chmod 644 /srv/corpus/users.db
""",
        packages=("dovecot-sqlite",),
    ),
    "ldap": Shape(
        "accounts in LDAP, log-in by a bind",
        {
            "dovecot.conf": BASE
            + "passdb {\n  driver = ldap\n  args = /etc/dovecot/dovecot-ldap.conf.ext\n}\n"
            + "userdb {\n  driver = ldap\n  args = /etc/dovecot/dovecot-ldap.conf.ext\n}\n",
            "dovecot-ldap.conf.ext": "uris = ldap://127.0.0.1:3389\nbase = dc=example,dc=org\nauth_bind = yes\n"
            "auth_bind_userdn = mail=%u,dc=example,dc=org\nuser_attrs = =home=/srv/vmail/%u,=uid=5000,=gid=5000\n"
            "user_filter = (&(objectClass=inetOrgPerson)(mail=%u))\n"
            "iterate_attrs = mail=user\niterate_filter = (objectClass=inetOrgPerson)\n",
        },
        accounts="""cat > /srv/corpus/users.ldif <<'END'
dn: dc=example,dc=org
objectClass: domain
dc: example

dn: mail=alice@example.org,dc=example,dc=org
objectClass: inetOrgPerson
cn: Alice
sn: A
mail: alice@example.org
userPassword: lab

dn: mail=bob@example.org,dc=example,dc=org
objectClass: inetOrgPerson
cn: Bob
sn: B
mail: bob@example.org
userPassword: lab
END
""",
        # An LDAP server on each host, below its own directory.
        prepare="""rm -rf /srv/ldap; mkdir -p /srv/ldap/db
cat > /srv/ldap/slapd.conf <<'END'
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile /srv/ldap/slapd.pid
database mdb
suffix "dc=example,dc=org"
directory /srv/ldap/db
END
slapadd -f /srv/ldap/slapd.conf -l /srv/corpus/users.ldif
chown -R openldap:openldap /srv/ldap
systemd-run -q --collect --unit lab-ldap \\
  slapd -d 0 -f /srv/ldap/slapd.conf -h ldap://127.0.0.1:3389 -u openldap -g openldap
sleep 1
""",
        packages=("dovecot-ldap", "slapd"),
    ),
    "proxied": Shape(
        "hosts that proxy for others by the passdb, without a director",
        {
            "dovecot.conf": BASE.replace("imap lmtp", "imap lmtp pop3")
            + AUTH.replace("/srv/corpus/passwd", "username_format=%Lu /srv/corpus/passwd")
            + "protocol pop3 {\n  mail_plugins = $mail_plugins quota\n}\nplugin {\n  quota = count:User quota\n"
            + "  quota_vsizes = yes\n}\n"
        },
        accounts=f"sed -i 's/$/proxy_maybe=y host=127.0.0.1/' {PASSWD_FILE}\n",
        packages=("dovecot-pop3d",),
    ),
    "sieve": Shape(
        "Sieve for lmtp and lda, ManageSieve, POP3",
        {
            "dovecot.conf": BASE.replace("imap lmtp", "imap lmtp sieve pop3") + AUTH + PARTS,
            "conf.d/20-lmtp.conf": "protocol lmtp {\n  mail_plugins = $mail_plugins sieve\n}\n",
            "conf.d/15-lda.conf": "protocol lda {\n  mail_plugins = sieve\n}\n",
            "conf.d/90-sieve.conf": "plugin {\n  sieve = file:~/sieve;active=~/.dovecot.sieve\n}\n",
        },
        packages=("dovecot-pop3d", "dovecot-sieve", "dovecot-managesieved"),
    ),
    "virtual": Shape(
        "virtual folders, and deleted mail kept in a hidden namespace",
        {
            "dovecot.conf": BASE
            + AUTH
            + "mail_plugins = $mail_plugins lazy_expunge virtual\nplugin {\n  lazy_expunge = .EXPUNGED/\n}\n"
            + "namespace inbox {\n  inbox = yes\n  separator = /\n}\n"
            + "namespace expunged {\n  prefix = .EXPUNGED/\n  separator = /\n  hidden = yes\n  list = no\n"
            + "  subscriptions = no\n  location = maildir:~/expunged\n}\n"
        },
    ),
    "two_instances": Shape(
        "one of two instances; the other has its own directories",
        {
            "dovecot.conf": "instance_name = mail\n"
            + BASE
            + AUTH
            + "service imap-login {\n  process_min_avail = 1\n}\n",
            "other/dovecot.conf": "base_dir = /run/dovecot-other\ninstance_name = other\n"
            + BASE.replace("imap lmtp", "imap").replace("~/Maildir", "/srv/other/%u")
            + AUTH
            + "service imap-login {\n  inet_listener imap {\n    port = 1143\n  }\n"
            + "  inet_listener imaps {\n    port = 0\n  }\n}\n",
        },
        prepare="""systemd-run -q --collect --unit lab-other dovecot -F -c /etc/dovecot/other/dovecot.conf
""",
    ),
    "system_users": Shape(
        "users of the system with PAM, named without their domain",
        {
            "dovecot.conf": BASE.replace("mail_uid = vmail\nmail_gid = vmail\n", "mail_privileged_group = mail\n")
            + "auth_username_format = %Ln\npassdb {\n  driver = pam\n}\nuserdb {\n  driver = passwd\n}\n"
        },
        {
            "replication_doveadm_socket": {"mode": "0660", "group": "mailusers"},
            "replication_notify_socket": {"mode": "0660", "group": "mailusers"},
            "replication_notify_fifo": {"mode": "0660", "group": "mailusers"},
        },
        refused="systemd-network",
        cure={"replication_first_valid_uid": 1000, "replication_last_valid_uid": 65533},
        prepare="""getent group mailusers >/dev/null || groupadd mailusers
for name in alice bob; do
  id $name >/dev/null 2>&1 || useradd -m -G mailusers $name
  echo $name:lab | chpasswd
done
usermod -a -G mailusers vmail
""",
        clean="userdel -r alice; userdel -r bob; gpasswd -d vmail mailusers; groupdel mailusers",
    ),
    "by_domain": Shape(
        "a passwd-file for each domain, which cannot be listed",
        {"dovecot.conf": BASE + AUTH.replace(PASSWD_FILE, "username_format=%n /srv/corpus/%d/passwd")},
        refused="cannot list its users",
        cure={"replication_require_iteration": False},
        warned=("users_not_listed",),
        accounts="mkdir /srv/corpus/example.org\n"
        f"sed 's/@example.org:/:/' {PASSWD_FILE} > /srv/corpus/example.org/passwd\n",
    ),
    "a_uid_each": Shape(
        "a uid for each virtual user",
        {"dovecot.conf": BASE.replace("mail_uid = vmail\nmail_gid = vmail\n", "") + AUTH},
        {
            "replication_doveadm_socket": {"mode": "0660", "group": "onegroup"},
            "replication_notify_socket": {"mode": "0660", "group": "onegroup"},
            "replication_notify_fifo": {"mode": "0660", "group": "onegroup"},
        },
        accounts=f"sed -i -e '/^alice/s/5000:5000/6101:6100/' -e '/^bob/s/5000:5000/6102:6100/' {PASSWD_FILE}\n",
        prepare="getent group onegroup >/dev/null || groupadd -g 6100 onegroup\n"
        "for user in 6101:alice 6102:bob; do\n"
        "  install -d -o ${user%:*} -g 6100 /srv/vmail/${user#*:}@example.org\ndone\n",
        clean="groupdel onegroup",
    ),
    "fields_for_all": Shape(
        "the userdb gives all users their place for mail and their quota",
        {
            "dovecot.conf": BASE.replace("mail_location = maildir:~/Maildir\n", "")
            + AUTH.replace("userdb {", "userdb {\n  default_fields = mail=maildir:~/Mail quota_rule=*:storage=100M\n")
            + "mail_plugins = quota\nplugin {\n  quota = count:User quota\n  quota_vsizes = yes\n}\n"
        },
    ),
    "no_place_for_mail": Shape(
        "mail_location not set, so that Dovecot looks for the mail of each user",
        {"dovecot.conf": BASE.replace("mail_location = maildir:~/Maildir\n", "") + AUTH},
        refused="mail_location should be set",
        prepare="for name in alice bob; do\n"
        "  install -d -o vmail -g vmail /srv/vmail/$name@example.org/ /srv/vmail/$name@example.org/Maildir "
        "/srv/vmail/$name@example.org/Maildir/cur\ndone\n",
    ),
    "listens_on_loopback": Shape(
        "listen with the addresses of clients only",
        {"dovecot.conf": "listen = 127.0.0.1\n" + BASE + AUTH},
        refused="listen should have an address that the peer reaches",
        cure={"replication_listen": ["*", "::"]},
    ),
    "few_commands": Shape(
        "doveadm_allowed_commands with those of a panel",
        {"dovecot.conf": BASE + AUTH + "doveadm_allowed_commands = who,kick\n"},
        refused="append `,sync,dsync-server` to the value",
    ),
    "chroot": Shape(
        "mail processes in a chroot by the home",
        {"dovecot.conf": BASE + AUTH + "valid_chroot_dirs = /srv/vmail\n"},
        refused="give the users a home without `/./`",
        accounts=f"sed -i 's#/srv/vmail/#/srv/vmail/./#' {PASSWD_FILE}\n",
    ),
    "layout_fs": Shape(
        "Maildir with the layout fs, indexes and control files elsewhere",
        {
            "dovecot.conf": BASE.replace(
                "maildir:~/Maildir", "maildir:~/Maildir:LAYOUT=fs:INDEX=~/index:CONTROL=~/control:UTF-8"
            )
            + AUTH
        },
    ),
    "linked_main_file": Shape(
        "dovecot.conf is a link to where a panel keeps it, with Windows line ends",
        {"panel/main.conf": (BASE + AUTH).replace("\n", "\r\n")},
        prepare="ln -sf panel/main.conf /etc/dovecot/dovecot.conf\n",
    ),
    "home_by_a_setting": Shape(
        "homes by mail_home, accounts that have none",
        {"dovecot.conf": BASE + AUTH + "mail_home = /srv/vmail/%Ld/%Ln\n"},
        accounts=f"sed -i 's#/srv/vmail/.*#::#' {PASSWD_FILE}\n",
    ),
    "doveadm_as_the_owner": Shape(
        "doveadm's service as the owner of all mail, as Dovecot's own guide has it",
        {"dovecot.conf": BASE + AUTH + "service doveadm {\n  user = vmail\n}\nlock_method = dotlock\n"},
    ),
    "quoted": Shape(
        "values in quotes, with what begins a comment elsewhere",
        {
            "dovecot.conf": BASE.replace("maildir:~/Maildir", '"maildir:~/Maildir"')
            + AUTH
            + 'login_greeting = "Mail # here"\nmail_plugins = "quota zlib"\nprotocol imap {\n'
            + '  mail_plugins = "quota imap_quota zlib"\n}\nplugin {\n'
            + '  quota = "count:User # quota"\n  quota_vsizes = yes\n}\n'
        },
    ),
    "latin_1_without_a_last_line_end": Shape(
        "comments in Latin-1, and no line end at the end of the file",
        {"dovecot.conf": "# Postf\udce4cher\n" + BASE + AUTH + "mail_plugins = zlib # f\udcfcr alle"},
    ),
    "linked_config_directory": Shape(
        "/etc/dovecot is a link to where the configuration is kept",
        {"dovecot.conf": PARTS, "conf.d/10-all.conf": BASE + AUTH},
        prepare="test -L /etc/dovecot || { rm -rf /srv/etc-dovecot; mv /etc/dovecot /srv/etc-dovecot; "
        "ln -s /srv/etc-dovecot /etc/dovecot; }\n",
        clean="rm -rf /srv/etc-dovecot",
    ),
    "archive": Shape(
        "a second namespace of the user's own in another format",
        {
            "dovecot.conf": BASE
            + AUTH
            + "namespace inbox {\n  inbox = yes\n  separator = /\n}\n"
            + "namespace archive {\n  prefix = Archive/\n  separator = /\n  location = mdbox:~/archive\n"
            + "  subscriptions = no\n}\n"
        },
    ),
    "by_hand_over_tls": Shape(
        "a pair made by hand over TLS, with the certificates of the hosts",
        {
            "dovecot.conf": BASE.replace("ssl = no\n", "ssl = yes\nssl_cert = </etc/ssl/certs/ssl-cert-lab.pem\n")
            + "ssl_key = </etc/ssl/private/ssl-cert-lab.key\nssl_client_ca_file = /srv/corpus/both.pem\n"
            + AUTH
            + "mail_plugins = $mail_plugins notify replication\n"
            + (BY_HAND % {"port": 12345})
            .replace("inet_listener {", "inet_listener {\n    ssl = yes")
            .replace("tcp:%(peer)s", "tcps:%(peer)s")
        },
        {"replication_scheme": "tcps", "replication_tls_ca_file": "/srv/corpus/both.pem"},
        refused="dovecot.conf line ",
        cure={"replication_take_over": True},
        accounts="""for host in mx1 mx2; do
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=$host.example.org \\
    -addext subjectAltName=DNS:$host.example.org -keyout /srv/corpus/$host.key -out /srv/corpus/$host.pem 2>/dev/null
done
cat /srv/corpus/mx1.pem /srv/corpus/mx2.pem > /srv/corpus/both.pem
""",
        prepare="cp /srv/corpus/$(hostname -s).pem /etc/ssl/certs/ssl-cert-lab.pem\n"
        "cp /srv/corpus/$(hostname -s).key /etc/ssl/private/ssl-cert-lab.key\n",
        clean="rm -f /etc/ssl/certs/ssl-cert-lab.pem /etc/ssl/private/ssl-cert-lab.key",
        by_host=True,
    ),
    "quota_in_sql": Shape(
        "a quota in SQL on each host",
        {
            "dovecot.conf": BASE
            + AUTH
            + "mail_plugins = quota\nplugin {\n  quota = dict:User quota::proxy::quota\n"
            + "  quota_rule = *:storage=100M\n}\ndict {\n  quota = sqlite:/etc/dovecot/dovecot-dict-sql.conf.ext\n}\n"
            + "service dict {\n  unix_listener dict {\n    mode = 0600\n    user = vmail\n  }\n}\n",
            "dovecot-dict-sql.conf.ext": "connect = /srv/quota.db\n"
            "map {\n  pattern = priv/quota/storage\n  table = quota\n  username_field = username\n"
            "  value_field = bytes\n}\n"
            "map {\n  pattern = priv/quota/messages\n  table = quota\n  username_field = username\n"
            "  value_field = messages\n}\n",
        },
        warned=("shared_quota",),
        prepare="""rm -f /srv/quota.db; python3 - <<'END'
import sqlite3
db = sqlite3.connect("/srv/quota.db")
db.execute("CREATE TABLE quota (username TEXT PRIMARY KEY, bytes INTEGER DEFAULT 0, messages INTEGER DEFAULT 0)")
db.commit()
END
chmod 1777 /srv; chmod 666 /srv/quota.db
""",
        clean="chmod 755 /srv; rm -f /srv/quota.db*",
        packages=("dovecot-sqlite",),
    ),
    "static": Shape(
        "a static userdb, which lists nobody",
        {
            "dovecot.conf": BASE
            + f"passdb {{\n  driver = passwd-file\n  args = {PASSWD_FILE}\n}}\n"
            + "userdb {\n  driver = static\n  args = uid=vmail gid=vmail home=/srv/vmail/%u\n}\n"
        },
        refused="cannot list its users",
        cure={"replication_require_iteration": False},
        warned=("users_not_listed",),
    ),
    "by_hand": Shape(
        "a pair made by hand in one file, on the port of ours",
        {"dovecot.conf": BASE + AUTH + "mail_plugins = $mail_plugins notify replication\n" + BY_HAND % {"port": 12345}},
        refused="dovecot.conf line ",
        cure={"replication_take_over": True},
        by_host=True,
        often=True,
    ),
    "by_hand_on_another_port": Shape(
        "a pair made by hand in conf.d and local.conf, on another port",
        {
            "dovecot.conf": PARTS + "!include_try local.conf\n",
            "conf.d/10-all.conf": BASE + AUTH + "mail_plugins = zlib notify replication\n",
            "local.conf": BY_HAND % {"port": 4711},
        },
        refused="/etc/dovecot/local.conf line ",
        cure={"replication_take_over": True},
        by_host=True,
    ),
}
