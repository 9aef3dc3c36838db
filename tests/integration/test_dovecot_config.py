# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files of a live Dovecot: what is valid is written, what is not leaves no trace."""

import pytest
from conftest import MX1

TEST_FILE = "/etc/dovecot/conf.d/95-test.conf"
SECRETS_FILE = "/etc/dovecot/test-secret.conf.ext"
SHIM = "/usr/local/bin/doveconf"
SECRET = 'se cret#1$x"y\\z'
# The key of a setting that nothing here uses.
KEY = {"ssl_key_password": SECRET}

pytestmark = pytest.mark.on_one


def config(host, *content, **options):
    files = [{"path": TEST_FILE, "content": text} for text in content]
    return host.module("dovecot_config", files=files, **options)


def state(host):
    """All that dovecot_config may touch: names, contents, modes and owners."""
    listing = "find /etc/dovecot -type f -printf '%p %m %u %g ' -exec md5sum {} \\;"
    return sorted(host.shell(listing).stdout.splitlines())


@pytest.fixture
def host(pair):
    """A configured host, on which nothing must be left."""
    before = state(pair)
    yield pair
    pair.shell(f"rm -f {TEST_FILE} {SECRETS_FILE}")
    assert state(pair) == before


def test_written_once(host):
    content = "mail_max_userip_connections = 23\n"
    expect = [{"setting": "mail_max_userip_connections", "value": "23"}]
    planned = config(host, content, expect=expect, check=True)
    assert host.shell(f"ls {TEST_FILE}", check=False).returncode != 0
    first = config(host, content, expect=expect)
    again = config(host, content, expect=expect)
    files = [{"path": TEST_FILE, "action": "created"}]
    assert (planned["changed"], planned["validated"], planned["files"]) == (True, True, files)
    assert (first["changed"], first["validated"], first["files"]) == (True, True, files)
    assert (again["changed"], again["validated"], again["files"]) == (False, True, [])
    assert again["dovecot_version"].startswith(host.dovecot)


@pytest.mark.parametrize("check", [False, True])
def test_invalid_syntax_changes_nothing(host, check):
    before = state(host)
    result = config(host, "nosuch = 1\n", check=check)
    assert result["failed"]
    assert f"{TEST_FILE} line 1: Unknown setting: nosuch" in result["msg"]
    assert "nothing was changed" in result["msg"]
    assert state(host) == before


@pytest.fixture
def starts(pair):
    """Count how often doveconf is started: a command of its name comes first on the PATH and keeps a list."""
    script = '#!/bin/sh\necho "$*" >> /tmp/doveconf-starts\nexec /usr/bin/doveconf "$@"\n'
    pair.lab.execute(MX1, "tee", SHIM, stdin=script)
    pair.shell(f"chmod 755 {SHIM}")

    def counted(run):
        pair.shell("rm -f /tmp/doveconf-starts")
        result = run()
        return len(pair.shell("cat /tmp/doveconf-starts", check=False).stdout.splitlines()), result

    yield counted
    pair.shell(f"rm -f {SHIM} /tmp/doveconf-starts")


def test_how_often_doveconf_is_started(host, starts):
    content = "!include_try ../test-secret.conf.ext\nmail_max_userip_connections = 23\n"
    expect = [{"setting": "mail_plugins", "contains": ["notify"], "protocols": ["lda", "lmtp", "imap"]}]
    options = dict(expect=expect, secrets=KEY, secrets_file=SECRETS_FILE, require_iteration=True, loaded=True)
    for check, changed, count in [(True, True, 2), (False, True, 3), (False, False, 1), (True, False, 1)]:
        counted, result = starts(lambda check=check: config(host, content, check=check, **options))
        assert (bool(result["files"]), counted) == (changed, count)


OTHER_SPELLINGS = """
mail_max_userip_connections = 007
mail_attachment_min_size = 10MiB
auth_cache_ttl = 60s
login_proxy_timeout = 2000ms
auth_debug = Y
login_greeting = 'it is "x" # y'
mail_log_prefix = "%s:  "
postmaster_address = post\\
  master
ssl_cert = <nosuch.pem
recipient_delimiter =
service aggregator {
  client_limit = 0100
  fifo_listener /srv/other/fifo {
    mode = 00600
  }
  inet_listener "of test" {
    port = 0
    address = 127.0.0.1, ::1
  }
}
protocol pop3 {
  pop3_uidl_format = %g
}
protocol lda {
  mail_plugins = $mail_plugins
  plugin {
    of_test = lda
  }
}
plugin {
  of_test = other  # not in lda
  of_test_empty =
}
namespace of_test {
  prefix = x/
  separator = /
  mailbox "A B" {
    auto = no
  }
}
"""


def test_other_spellings_are_the_same(host):
    result = config(host, OTHER_SPELLINGS, check=True)
    assert result["validated"], result["msg"]


@pytest.mark.parametrize(
    "content, problem",
    [
        (
            "service aggregator {\n  fifo_listener x {\n    mode = 600\n  }\n}\n",
            "mode should be '600', but it is '01130'",
        ),
        (
            "# It has a reason.\nmail_max_userip_connections = 24\n",
            f"should be '24', but it is '25' (set in /etc/dovecot/conf.d/96-test.conf line 1), not as in {TEST_FILE} "
            "line 2: It has a reason",
        ),
        (
            "protocol lda {\n  mail_max_userip_connections = 24\n}\n",
            "mail_max_userip_connections should be '24', but inside protocol lda it is '26'",
        ),
        ("protocol submission {\n  mail_max_userip_connections = 24\n}\n", None),
    ],
)
def test_what_is_written_must_be_in_force(host, content, problem):
    later = "mail_max_userip_connections = 25\nprotocol lda {\n  mail_max_userip_connections = 26\n}\n"
    host.shell(f"printf '{later}' > /etc/dovecot/conf.d/96-test.conf")
    try:
        before = state(host)
        result = config(host, content, check=problem is None)
        assert state(host) == before
    finally:
        host.shell("rm /etc/dovecot/conf.d/96-test.conf")
    assert (problem or "") in result.get("msg", "") and bool(result.get("failed")) == bool(problem)


def test_a_file_that_dovecot_does_not_read(host):
    files = [{"path": "/etc/dovecot/of-test.conf", "content": "mail_max_userip_connections = 23\n"}]
    assert "Dovecot does not read /etc/dovecot/of-test.conf" in host.module("dovecot_config", files=files)["msg"]


def test_an_overriding_secret_is_not_shown(host):
    content = "ssl_key_password = written\n"
    result = config(host, content + "!include_try ../test-secret.conf.ext\n", secrets=KEY, secrets_file=SECRETS_FILE)
    assert "ssl_key_password should be as written, but it is something else" in result["msg"]
    assert "se cret" not in str(result)


@pytest.mark.parametrize("check", [False, True])
def test_an_expectation_not_met_changes_nothing(host, check):
    before = state(host)
    result = config(
        host,
        "protocol imap {\n  mail_plugins = zlib\n}\n",
        expect=[{"setting": "mail_plugins", "contains": ["notify", "replication"], "protocols": ["lda", "imap"]}],
        check=check,
    )
    assert "mail_plugins should contain notify replication, but inside protocol imap it is 'zlib'" in result["msg"]
    assert state(host) == before


def test_what_only_shows_in_place_is_put_back(host):
    """An include under another name of the directory is not followed to the staged files."""
    host.shell(
        "ln -s /etc/dovecot /srv/other-name && cp -p /etc/dovecot/dovecot.conf /srv/dovecot.conf && "
        "echo '!include_try /srv/other-name/*.conf.ext-test' >> /etc/dovecot/dovecot.conf && "
        "echo 'mail_max_userip_connections = 23' > /etc/dovecot/old.conf.ext-test && "
        "chmod 640 /etc/dovecot/old.conf.ext-test"
    )
    try:
        before = state(host)
        files = [
            {"path": TEST_FILE, "content": "mail_max_userip_connections = 24\n"},
            {"path": "/etc/dovecot/bad.conf.ext-test", "content": "nosuch = 1\n"},
            {"path": "/etc/dovecot/old.conf.ext-test", "state": "absent"},
        ]
        result = host.module("dovecot_config", files=files)
        after = state(host)
    finally:
        host.shell("mv /srv/dovecot.conf /etc/dovecot/dovecot.conf; rm /srv/other-name /etc/dovecot/*.conf.ext-test")
    assert "Unknown setting: nosuch" in result["msg"]
    assert "all files are as they were before" in result["msg"]
    assert after == before


def test_secrets(host):
    include = "!include_try ../test-secret.conf.ext\n"
    first = config(host, include, secrets=KEY, secrets_file=SECRETS_FILE)
    assert not first.get("failed"), first["msg"]
    assert host.shell("doveconf -P -h ssl_key_password").stdout == SECRET + "\n"
    assert host.shell(f"stat -c '%a %U %G' {SECRETS_FILE}").stdout == "600 root root\n"

    host.shell(f"chmod 644 {SECRETS_FILE}")
    opened = config(host, include, secrets=KEY, secrets_file=SECRETS_FILE, ansible_options=["--diff"])
    assert opened["files"] == [{"path": SECRETS_FILE, "action": "mode"}]
    assert "mode = 0644" in opened["diff"][0]["before"] and "mode = 0600" in opened["diff"][0]["after"]
    assert host.shell(f"stat -c %a {SECRETS_FILE}").stdout == "600\n"

    other = {"ssl_key_password": "another one"}
    changed = config(host, include, secrets=other, secrets_file=SECRETS_FILE, ansible_options=["--diff"])
    (diff,) = changed["diff"]
    assert "\nssl_key_password = ********\n" in diff["before"]
    assert "\nssl_key_password = ********  # changed\n" in diff["after"]

    removed = config(host, include, secrets={}, secrets_file=SECRETS_FILE)
    assert removed["files"] == [{"path": SECRETS_FILE, "action": "removed"}]

    for result in (opened, changed, removed):
        assert SECRET not in str(result) and "another one" not in str(result)
    log = host.shell("journalctl --no-pager -o cat").stdout
    assert "se cret#1" not in log and "another one" not in log


def test_an_overridden_secret_is_found(host):
    content = "!include_try ../test-secret.conf.ext\nssl_key_password = other\n"
    result = config(host, content, secrets=KEY, secrets_file=SECRETS_FILE)
    assert "ssl_key_password is not the given one" in result["msg"]


def test_a_user_that_does_not_exist(host):
    result = config(host, "", require_users=["nosuch"])
    assert "there is no such user on this host" in result["msg"]


@pytest.mark.parametrize("path", ["/etc/other.conf", "/etc/dovecot/../other.conf", "/etc/dovecot-other/x.conf"])
def test_files_elsewhere_are_refused(host, path):
    result = host.module("dovecot_config", files=[{"path": path, "content": ""}])
    assert "it is not below /etc/dovecot" in result["msg"]


def test_dovecot_2_4_validates_as_well(host_without_replicator):
    """By what is in force, defaults included, which it prints in another way."""
    host = host_without_replicator
    refused = config(host, "mail_location = maildir:~/Maildir\n")
    assert "mail_location" in refused["msg"] and host.shell(f"ls {TEST_FILE}", check=False).returncode != 0
    content = "protocol imap {\n  mail_max_userip_connections = 23\n}\nssl_server_prefer_ciphers = server\n"
    expect = [{"setting": "base_dir", "value": "/run/dovecot"}]
    done = config(host, content, expect=expect)
    assert done["changed"], done
    assert config(host, content, expect=expect)["changed"] is False
    host.shell(f"rm {TEST_FILE}")
