# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change Dovecot's configuration files as a whole. PRIVATE to this collection."""

import contextlib
import difflib
import fcntl
import glob
import os
import re
import tempfile
import time
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Pattern,
    Sequence,
    Tuple,
)

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.guard import Guard
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.by_hand import MARK
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.loaded import Loaded

# Seconds for which another task may be at work on the same files.
PATIENCE = 90
# What the guard is told.
FILES = "files"
MASK = "********"
SECRETS_HEADER = "# Managed by Ansible. Only root may read this file.\n"
BLOCK_BEGIN, BLOCK_END = "# BEGIN mailops.dovecot_replication", "# END mailops.dovecot_replication"
# At the end of a file that had no line end there it has none, either, and takes with it the one before it.
BLOCK = re.compile(
    ("\n^{0}$.*?^{1}\\Z|^{0}$.*?^{1}$\n?".format(BLOCK_BEGIN, BLOCK_END)).encode(), re.MULTILINE | re.DOTALL
)
SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class File(NamedTuple):
    """What a file shall be, or is; without content there is no such file."""

    content: Optional[bytes]
    mode: int
    uid: int
    gid: int


ABSENT = File(None, 0, 0, 0)


class Change(NamedTuple):
    """What happens to a file: ``created``, ``changed``, ``mode`` (only permissions or owner) or ``removed``."""

    path: str
    action: str
    before: File
    after: File


def quote(value: str) -> str:
    """Return a value as Dovecot reads it back unchanged.

    >>> print(quote('a "b" #c'))
    "a \\"b\\" #c"
    """
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError("a secret cannot contain a line break or a NUL")
    return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')


def secrets_content(secrets: Dict[str, Any]) -> str:
    """Return the text of a file that sets each of the secrets."""
    for name in secrets:
        if not SETTING_NAME.match(name):
            raise ValueError("%r is not the name of a Dovecot setting" % name)
    return SECRETS_HEADER + "".join("%s = %s\n" % (name, quote(str(secrets[name]))) for name in sorted(secrets))


@contextlib.contextmanager
def exclusive_lock(config_dir: str, patience: float = PATIENCE) -> Iterator[None]:
    """Let one task at a time work on a directory of configuration files; a guard that outlives its task counts."""
    try:
        descriptor = os.open(config_dir, os.O_RDONLY)
    except OSError:
        yield  # without a directory there is nothing to work on
        return
    try:
        deadline = time.monotonic() + patience
        while not _locked(descriptor):
            if time.monotonic() >= deadline:
                raise DovecotError(
                    "Changing files in %s" % config_dir,
                    "another task has been at work on them for %d seconds" % patience,
                    cure="find out what hangs: `fuser -v %s`; then run the task again" % config_dir,
                )
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_file(path: str) -> File:
    """Return the File at a path, ABSENT when there is none."""
    try:
        with open(path, "rb") as stream:
            stat = os.fstat(stream.fileno())
            return File(stream.read(), stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
    except (IOError, OSError) as error:
        if not os.path.lexists(path):
            return ABSENT
        raise DovecotError("Reading %s" % path, error.strerror or str(error)) from error


def plan(wanted: Dict[str, File], read: Callable[[str], File] = read_file) -> List[Change]:
    """Return the list of Change, in path order, that makes the files as wanted.

    :arg wanted: dict of path to File
    """
    changes = []
    for path in sorted(wanted):
        before, after = read(path), wanted[path]
        if before == after:
            continue
        if after.content is None:
            action = "removed"
        elif before.content is None:
            action = "created"
        else:
            action = "mode" if before.content == after.content else "changed"
        changes.append(Change(path, action, before, after))
    return changes


def with_block(content: bytes, settings: str) -> bytes:
    """Return the content of a file with our block of settings at its end, or without one when they are empty.

    >>> print(with_block(b"a = 1\n", "b = 2").decode())
    a = 1
    # BEGIN mailops.dovecot_replication
    b = 2
    # END mailops.dovecot_replication
    <BLANKLINE>
    """
    rest = BLOCK.sub(b"", content)
    if not settings.strip():
        return rest
    before, after = (b"\n", b"") if rest and not rest.endswith(b"\n") else (b"", b"\n")
    block = "%s\n%s\n%s" % (BLOCK_BEGIN, settings.strip("\n"), BLOCK_END)
    return rest + before + block.encode("utf-8") + after


def block_of(content: bytes) -> str:
    """Return what is in our block of a file, as text with its comments."""
    return b"".join(BLOCK.findall(content)).decode("utf-8", "replace")


def changed_lines(before: bytes, after: bytes) -> Tuple[str, str]:
    """Return the lines of a file that belongs to somebody else that change, as they were and as they are."""
    old, new = (content.decode("utf-8", "replace").splitlines(True) for content in (before, after))
    parts: Tuple[List[str], List[str]] = ([], [])
    for tag, old_first, old_last, new_first, new_last in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
        if tag != "equal":
            parts[0].extend(old[old_first:old_last])
            parts[1].extend(new[new_first:new_last])
    return "".join(parts[0]), "".join(parts[1])


def _secret_lines(names: Collection[str]) -> Pattern[str]:
    alternatives = [r"\w*(?:password|api_key|secret)"] + [re.escape(name) for name in sorted(names)]
    # A line that ends in a backslash goes on in the next.
    return re.compile(
        r"^((?:%s)?[ \t]*(?:%s)[ \t]*=[ \t]*)((?:.*\\\n)*.*)$" % (re.escape(MARK), "|".join(alternatives)),
        re.MULTILINE,
    )


def mask_diff(before: str, after: str, names: Collection[str] = ()) -> Tuple[str, str]:
    """Return both texts with the values of secret settings masked, a changed value marked in the second."""
    pattern = _secret_lines(names)

    def setting(match: Any) -> Tuple[str, str]:
        return match.group(1).replace(MARK, "").strip(), match.group(2)

    old = set(setting(match) for match in pattern.finditer(before))

    def masked(match: Any) -> str:
        text = match.group(1) + MASK
        return text if setting(match) in old else text + "  # changed"

    return pattern.sub(lambda match: match.group(1) + MASK, before), pattern.sub(masked, after)


def describe(
    changes: Sequence[Change],
    names: Collection[str] = (),
    blocks: Collection[str] = (),
    lines: Collection[str] = (),
    owner_name: Callable[[int], str] = str,
    group_name: Callable[[int], str] = str,
) -> List[Dict[str, str]]:
    """Return the changes as Ansible's list of diffs.

    :arg names: settings whose values are secret
    :arg blocks: paths of files of which only our block is shown
    :arg lines: paths of files of which only the lines that change are shown
    """

    def texts(change: Change) -> Tuple[str, str]:
        before, after = change.before.content or b"", change.after.content or b""
        if change.path in lines:
            return changed_lines(before, after)
        if change.path in blocks:
            return block_of(before), block_of(after)
        return before.decode("utf-8", "replace"), after.decode("utf-8", "replace")

    def attributes(entry: File) -> str:
        return "mode = %04o\nowner = %s\ngroup = %s\n" % (entry.mode, owner_name(entry.uid), group_name(entry.gid))

    diffs = []
    for change in changes:
        if change.action != "mode":
            before, after = mask_diff(*texts(change), names)
            diffs.append(
                {
                    "before_header": change.path + (" (absent)" if change.action == "created" else ""),
                    "after_header": change.path + (" (absent)" if change.action == "removed" else ""),
                    "before": before,
                    "after": after,
                }
            )
        if change.action in ("mode", "changed") and change.before[1:] != change.after[1:]:
            header = change.path + " (permissions)"
            diffs.append(
                {
                    "before_header": header,
                    "after_header": header,
                    "before": attributes(change.before),
                    "after": attributes(change.after),
                }
            )
    return diffs


def rewrite_includes(content: bytes, old: str, new: str) -> bytes:
    """Return content with absolute includes below the directory ``old`` pointing below ``new``."""
    pattern = rb"(?m)^([ \t]*!include(?:_try)?[ \t]+)%s(?=/)" % re.escape(old.encode())
    return re.sub(pattern, lambda match: match.group(1) + new.encode(), content)


def stage(config_dir: str, changes: Sequence[Change], directory: str) -> None:
    """Make ``directory``, which exists, a view of ``config_dir`` as it would be after the changes."""
    changed = dict((change.path, change.after.content) for change in changes)

    def mirror(source: str, target: str) -> None:
        for name in os.listdir(source):
            path, copy = os.path.join(source, name), os.path.join(target, name)
            inside = os.path.isdir(path) and any(other.startswith(path + "/") for other in changed)
            if inside or os.path.isdir(path) and not os.path.islink(path):
                os.mkdir(copy)
                mirror(path, copy)
            elif path not in changed:
                _stage_file(path, copy, config_dir, directory)

    if os.path.isdir(config_dir):
        mirror(config_dir, directory)
    for path, content in changed.items():
        if content is not None:
            with open(os.path.join(directory, os.path.relpath(path, config_dir)), "wb") as stream:
                stream.write(rewrite_includes(content, config_dir, directory))


def _stage_file(path: str, copy: str, config_dir: str, directory: str) -> None:
    if os.path.isfile(path):
        with open(path, "rb") as stream:
            content = stream.read()
        rewritten = rewrite_includes(content, config_dir, directory)
        if rewritten != content:
            with open(copy, "wb") as stream:
                stream.write(rewritten)
            return
    os.symlink(path, copy)


def sweep(paths: Sequence[str]) -> None:
    """Remove what killed tasks have left beside the files."""
    for path in map(os.path.realpath, paths):
        for leftover in glob.glob(os.path.join(glob.escape(os.path.dirname(path)), _beside(path, "*"))):
            os.unlink(leftover)


def _beside(path: str, part: str) -> str:
    # The name must not match conf.d/*.conf: Dovecot may read the directory at any time.
    return ".%s.%s.tmp" % (os.path.basename(path), part)


class Swap:
    """One file that is replaced as one of several: nothing needs space any more once all are prepared."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self.path = os.path.realpath(change.path)
        self._new: Optional[str] = None
        self._kept: Optional[str] = None

    def prepare(self) -> None:
        """Write the new file beside the old one, and keep the old one under another name as well."""
        entry = self._change.after
        if entry.content is not None:
            prefix, suffix = _beside(self.path, "*").split("*")
            descriptor, self._new = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=os.path.dirname(self.path))
            with os.fdopen(descriptor, "wb") as stream:
                os.fchown(descriptor, entry.uid, entry.gid)
                os.fchmod(descriptor, entry.mode)
                stream.write(entry.content)
                stream.flush()
                os.fsync(descriptor)
        if self._change.before.content is not None:
            kept = os.path.join(os.path.dirname(self.path), _beside(self.path, "%d.kept" % os.getpid()))
            os.link(self.path, kept)
            self._kept = kept

    def swap(self) -> None:
        """Put the new file in place, in one step."""
        if self._new is None:
            os.unlink(self.path)
        else:
            os.rename(self._new, self.path)

    def put_back(self) -> None:
        """Restore what was there before; may be called at any time and again."""
        if self._kept is not None:
            if os.path.exists(self._kept):
                os.rename(self._kept, self.path)
        elif self._change.before.content is None and os.path.exists(self.path):
            os.unlink(self.path)

    def clean(self) -> None:
        """Remove the other files that were made for this one."""
        for path in (self._new, self._kept):
            if path is not None and os.path.lexists(path):
                os.unlink(path)


def apply(changes: Sequence[Change], verify: Callable[[], Any], loaded: Optional[Loaded] = None) -> None:
    """Write the changes and call ``verify``; when anything fails put every file back and raise again.

    When this process is killed a guard puts them back.

    :arg loaded: a Loaded, to be told
    """
    swaps = [Swap(change) for change in changes]
    needed_reload = loaded is not None and loaded.needs_reload()

    def undo(dummy: Optional[str] = None) -> None:
        for swap in reversed(swaps):
            swap.put_back()
            swap.clean()
        if loaded is not None and not needed_reload:
            loaded.unmark()

    try:
        for swap in swaps:
            swap.prepare()
    except BaseException as error:
        for swap in swaps:
            swap.clean()
        if isinstance(error, OSError):
            raise DovecotError(
                "Writing beside %s" % swap.path,
                error.strerror,
                cure="nothing was changed; free space or repair the disk",
            ) from error
        raise
    guard = Guard(undo)
    guard.watch(FILES)
    try:
        if loaded is not None:
            loaded.mark()
        for swap in swaps:
            swap.swap()
        verify()
        if loaded is not None:
            loaded.mark()
    except BaseException:
        undo()
        raise
    finally:
        guard.release()
        guard.close()
    for swap in swaps:
        swap.clean()
