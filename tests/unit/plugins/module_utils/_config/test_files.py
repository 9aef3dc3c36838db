# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

import os

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import files as config_files
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.files import ABSENT, Change, File


def root_file(content, mode=0o644):
    return File(content, mode, 0, 0)


@pytest.mark.parametrize(
    "value, quoted",
    [
        ("simple", '"simple"'),
        ("", '""'),
        ('se cret#1$x"y', '"se cret#1$x\\"y"'),
        ("back\\slash", '"back\\\\slash"'),
        ("größe", '"größe"'),
    ],
)
def test_quote(value, quoted):
    assert config_files.quote(value) == quoted


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b"])
def test_quote_refuses(value):
    with pytest.raises(ValueError, match="line break"):
        config_files.quote(value)


def test_secrets_content():
    content = config_files.secrets_content({"doveadm_password": "p", "doveadm_api_key": "k"})
    assert content.splitlines()[1:] == ['doveadm_api_key = "k"', 'doveadm_password = "p"']


@pytest.mark.parametrize("name", ["a b", "", "x = 1\ny", "!include"])
def test_secrets_content_refuses_names(name):
    with pytest.raises(ValueError, match="not the name"):
        config_files.secrets_content({name: "v"})


def test_plan_is_in_path_order_and_names_actions():
    found = {
        "/c/changed": root_file(b"old"),
        "/c/same": root_file(b"same"),
        "/c/mode": root_file(b"secret", 0o644),
        "/c/gone": root_file(b"x"),
    }
    wanted = {
        "/c/same": root_file(b"same"),
        "/c/new": root_file(b"new"),
        "/c/mode": root_file(b"secret", 0o600),
        "/c/gone": ABSENT,
        "/c/changed": root_file(b"new"),
        "/c/never": ABSENT,
    }
    changes = config_files.plan(wanted, lambda path: found.get(path, ABSENT))
    assert [(change.path, change.action) for change in changes] == [
        ("/c/changed", "changed"),
        ("/c/gone", "removed"),
        ("/c/mode", "mode"),
        ("/c/new", "created"),
    ]


def test_owner_alone_is_a_change():
    changes = config_files.plan({"/c/a": File(b"", 0o600, 0, 0)}, lambda path: File(b"", 0o600, 0, 42))
    assert [change.action for change in changes] == ["mode"]


def test_mask_diff_hides_both_sides_and_marks_the_change():
    before, after = config_files.mask_diff('doveadm_password = "old"\n', 'doveadm_password = "new"\n')
    assert before == "doveadm_password = ********\n"
    assert after == "doveadm_password = ********  # changed\n"


def test_mask_diff_of_equal_secrets_is_equal():
    text = 'doveadm_password = "s"\nx = 1\n'
    before, after = config_files.mask_diff(text, text + "y = 2\n")
    assert before == "doveadm_password = ********\nx = 1\n"
    assert after == before + "y = 2\n"


@pytest.mark.parametrize(
    "line",
    [
        "doveadm_api_key=hidden",
        "  ssl_key_password =\thidden",
        "other = hidden",
        "doveadm_password = hidden \\\n  hidden",
    ],
)
def test_mask_diff_knows_secrets_by_name(line):
    assert "hidden" not in "".join(config_files.mask_diff(line, "", ["other"]))


def test_mask_diff_leaves_the_rest():
    text = "# doveadm_password = explained here\nlisten = *\n"
    assert config_files.mask_diff(text, text) == (text, text)


def test_describe_shows_permissions():
    changes = [Change("/c/s", "mode", File(b"a", 0o644, 0, 0), File(b"a", 0o600, 0, 0))]
    assert config_files.describe(changes) == [
        {
            "before_header": "/c/s (permissions)",
            "after_header": "/c/s (permissions)",
            "before": "mode = 0644\nowner = 0\ngroup = 0\n",
            "after": "mode = 0600\nowner = 0\ngroup = 0\n",
        }
    ]


def test_describe_removed_secret():
    changes = [Change("/c/s", "removed", root_file(b"doveadm_password = hidden"), ABSENT)]
    (diff,) = config_files.describe(changes)
    assert (diff["before"], diff["after"]) == ("doveadm_password = ********", "")
    assert diff["after_header"] == "/c/s (absent)"


def test_rewrite_includes():
    content = b"!include /c/conf.d/*.conf\n  !include_try\t/c/x\n!include /cc/y\n!include conf.d/z\n# !include /c/x\n"
    assert config_files.rewrite_includes(content, "/c", "/t") == (
        b"!include /t/conf.d/*.conf\n  !include_try\t/t/x\n!include /cc/y\n!include conf.d/z\n# !include /c/x\n"
    )


@pytest.fixture
def config_dir(tmp_path):
    directory = tmp_path / "etc"
    (directory / "conf.d").mkdir(parents=True)
    (directory / "dovecot.conf").write_text(f"!include conf.d/*.conf\n!include_try {directory}/local.conf\n")
    (directory / "conf.d/10-mail.conf").write_text("mail")
    (directory / "conf.d/old.conf").write_text("old")
    (directory / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    return directory


@pytest.fixture
def staged(tmp_path):
    directory = tmp_path / "staged"
    directory.mkdir()
    return directory


def test_stage(config_dir, staged):
    changes = [
        Change(str(config_dir / "conf.d/11-new.conf"), "created", ABSENT, root_file(b"new")),
        Change(str(config_dir / "conf.d/old.conf"), "removed", root_file(b"old"), ABSENT),
    ]
    config_files.stage(str(config_dir), changes, str(staged))
    assert sorted(os.listdir(staged / "conf.d")) == ["10-mail.conf", "11-new.conf"]
    assert (staged / "conf.d/10-mail.conf").is_symlink()
    assert (staged / "conf.d/11-new.conf").read_text() == "new"
    assert str(staged / "local.conf") in (staged / "dovecot.conf").read_text()
    # A link to another directory may lead anywhere, even back here.
    assert (staged / "elsewhere").is_symlink()
    assert sorted(os.listdir(config_dir / "conf.d")) == ["10-mail.conf", "old.conf"]


def own(content, mode=0o644):
    return File(content, mode, os.getuid(), os.getgid())


def test_apply_writes(config_dir):
    path = str(config_dir / "conf.d/11-new.conf")
    config_files.apply([Change(path, "created", ABSENT, own(b"new", 0o600))], lambda: None)
    assert config_files.read_file(path) == own(b"new", 0o600)
    assert sorted(os.listdir(config_dir / "conf.d")) == ["10-mail.conf", "11-new.conf", "old.conf"]


def test_apply_puts_everything_back(config_dir):
    paths = {name: str(config_dir / "conf.d" / name) for name in ("10-mail.conf", "11-new.conf", "old.conf")}
    wanted = {
        paths["10-mail.conf"]: own(b"other", 0o600),
        paths["11-new.conf"]: own(b"new"),
        paths["old.conf"]: ABSENT,
    }
    before = {path: config_files.read_file(path) for path in wanted}

    def verify():
        assert {path: config_files.read_file(path) for path in wanted} == wanted
        raise DovecotError("Validating", "no")

    with pytest.raises(DovecotError):
        config_files.apply(config_files.plan(wanted), verify)
    assert {path: config_files.read_file(path) for path in wanted} == before


def test_apply_leaves_nothing_beside_the_files(config_dir):
    path = config_dir / "conf.d/10-mail.conf"
    config_files.apply(config_files.plan({str(path): own(b"other")}), lambda: None)
    assert path.read_bytes() == b"other" and not list(path.parent.glob(".*"))


def test_what_a_killed_task_has_left_is_removed(config_dir):
    path = config_dir / "conf.d/10-mail.conf"
    left = [path.parent / f".10-mail.conf.{part}.tmp" for part in ("abc", "99.kept")]
    others = [path.parent / name for name in (".10-mail.conf.swp", ".10-mail.confx.abc.tmp", "10-mail.conf.tmp")]
    for leftover in left + others:
        leftover.touch()
    config_files.sweep([str(path), str(config_dir / "nosuch/a.conf")])
    assert not any(leftover.exists() for leftover in left) and all(other.exists() for other in others)


def test_one_task_at_a_time(config_dir):
    with config_files.exclusive_lock(str(config_dir)):
        with (
            pytest.raises(DovecotError, match="another task has been at work"),
            config_files.exclusive_lock(config_dir, 0.3),
        ):
            pass
    with config_files.exclusive_lock(str(config_dir)), config_files.exclusive_lock(str(config_dir / "nosuch")):
        pass


@pytest.mark.parametrize("content", [b"", b"a = 1\n", b"connect = host=db password=x\nuser_query = y\n"])
def test_a_block_comes_and_goes(content):
    with_one = config_files.with_block(content, "iterate_query = SELECT 1\n")
    assert with_one.startswith(content) and b"\niterate_query = SELECT 1\n" in with_one
    assert config_files.with_block(with_one, "iterate_query = SELECT 1") == with_one
    changed = config_files.with_block(with_one, "iterate_query = SELECT 2")
    assert changed.count(b"BEGIN") == 1 and b"SELECT 1" not in changed
    assert config_files.with_block(changed, "") == content


def test_a_block_at_the_end_of_an_unfinished_line():
    with_one = config_files.with_block(b"a = 1", "b = 2")
    assert with_one.startswith(b"a = 1\n# BEGIN ") and not with_one.endswith(b"\n")
    assert config_files.with_block(with_one, "b = 2") == with_one and config_files.with_block(with_one, "") == b"a = 1"
    # What somebody has written below it is kept.
    assert config_files.with_block(with_one + b"\nc = 3", "") == b"a = 1\nc = 3"


def test_the_diff_of_a_block_shows_nothing_else():
    before = b"dnpass = hidden\n"
    after = config_files.with_block(before, "iterate_attrs = mail=user")
    changes = [Change("/c/ldap", "changed", root_file(before), root_file(after))]
    (diff,) = config_files.describe(changes, blocks=["/c/ldap"])
    assert diff["before"] == "" and "iterate_attrs = mail=user" in diff["after"] and "hidden" not in str(diff)
