"""Files read and written whole or not at all, and folders that one run fills."""

import errno
import os
import re
import shutil
import stat
import struct
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from kerastl._checks import fail

_DAY = 86_400
#: Held while a run writes into a folder; it means nothing once the run has ended.
_CLAIM = ".kerastl-run"


def user_path(name: str, value: str | Path) -> Path:
    """A path as a user means it: `~` is the home folder, blanks are none.

    Raises:
        ValueError: If it is blank.
    """
    if not str(value).strip():
        fail(name, "a path", str(value), "It is blank.")
    return Path(value).expanduser()


def new_file(
    value: str | Path, suffix: str, *, overwrite: bool = True, name: str = "path"
) -> Path:
    """A file that may be written: asked before the work.

    Args:
        value: The file's name.
        suffix: What it must end in.
        overwrite: Whether a file of that name may be replaced.
        name: What error messages call the argument.

    Raises:
        ValueError: If the name has another ending, or is that of a folder or of a file
            that may not be replaced.
        FileNotFoundError: If its folder does not exist.
    """
    path = user_path(name, value)
    if path.suffix != suffix:
        fail(name, f"a file name ending in {suffix}", str(path))
    if path.is_dir():
        fail(name, "a file", str(path), "It is a folder.")
    if not path.parent.is_dir():
        hint = f"Make the folder {str(path.parent)!r} first."
        fail(name, "in a folder that exists", str(path), hint, FileNotFoundError)
    if path.exists() and not overwrite:
        fail(name, "a new file", str(path), "Pass overwrite=True to replace it.")
    return path


#: What readers raise for a file that is damaged, or another than its name says: zip,
#: NumPy, JSON, HDF5 and Keras each have words of their own.
READ_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def one_line(error: BaseException) -> str:
    """An error's message, or its class, in at most 200 characters of one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words[:200].rstrip(".")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A draft beside a file, which takes its place when the block ends well.

    Otherwise the draft is removed, and what was there stays. A process that is killed
    leaves its draft; the next writer of the file removes it after a day.

    Args:
        path: The file; its folder must exist.

    Yields:
        Name of the draft, an empty file with the same ending.

    Raises:
        OSError: If it cannot be written; the message names the file.
    """
    for left in drafts(path):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - _DAY:
                left.unlink()
    draft = None
    try:
        handle, name = tempfile.mkstemp(path.suffix, f".{path.stem}-", path.parent)
        os.close(handle)
        draft = Path(name)
        yield draft
        # mkstemp keeps files to their owner; this is to be an ordinary file.
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o666 & ~mask)
        # On the disk before it takes the old file's place: power fails, too.
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        if Path(error.filename or path).parent != path.parent:
            raise
        raise _named(error, path) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def _named(error: OSError, path: Path) -> OSError:
    """An error of writing that says where: the system does not, of a full disk."""
    reason, hint = error.strerror or " ".join(str(error).split()), ""
    # HDF5 says it in words of its own, around the system's.
    if (full := os.strerror(errno.ENOSPC)) in f"{reason} {error}":
        reason, hint = full, " Free some space there, or name another place."
    named = type(error)(f"Cannot write {str(path)!r}: {reason.rstrip('.')}.{hint}")
    named.errno = error.errno
    return named


def drafts(path: Path) -> list[Path]:
    """The drafts of a file, those that killed processes left and those at work."""
    name = re.compile(rf"\.{re.escape(path.stem)}-\w{{8}}{re.escape(path.suffix)}")
    with suppress(OSError):
        return [each for each in path.parent.iterdir() if name.fullmatch(each.name)]
    return []


class OutputFolder:
    """A folder that one run fills, claimed before the work so that none is lost.

    As a context it is the run's own until the block ends: a second run is refused at
    once. What stood there before is replaced only where that is allowed, on every
    path. What killed runs left is cleared away, and a folder that nothing was written
    to is taken back.

    Args:
        path: The folder; made if it does not exist.
        names: Of the files that the run may write.
        overwrite: Whether files that were there before may be replaced.
        argument: What error messages call the folder.
    """

    #: Where the run keeps what it can go on from; None: nowhere.
    states: Path | None = None

    def __init__(
        self,
        path: str | Path,
        names: Collection[str],
        overwrite: bool = False,
        *,
        argument: str = "output",
    ) -> None:
        """See the class."""
        self.path = user_path(argument, path)
        self.argument = argument
        self.overwrite = overwrite
        self._names, self._written = tuple(names), set()
        self._made: list[Path] = []
        self._claim: int | None = None

    def __enter__(self) -> Self:
        """Claim the folder.

        Raises:
            ValueError: If it is a file, holds something and may not be overwritten,
                cannot be written to, or another run is writing into it.
        """
        path = self.path
        if path.exists() and not path.is_dir():
            fail(self.argument, "a folder", str(path), "It is a file.")
        left = {draft for name in self._names for draft in drafts(path / name)}
        found = path.is_dir() and set(path.iterdir()) - left - {path / _CLAIM}
        if found and not self.overwrite:
            hint = "Name another folder."
            if self.argument == "output":
                hint = (
                    "Pass overwrite=True to replace its files, or name another folder."
                )
            fail(self.argument, "a new or empty folder", str(path), hint)
        above = (path, *path.parents)
        self._made = [folder for folder in above if not folder.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._claim = _claimed(path / _CLAIM)
        except OSError as error:
            self._leave()
            hint = f"{error.strerror or error}."
            fail(self.argument, "a folder that can be written to", str(path), hint)
        if self._claim is None:
            hint = "Wait for it, or name another folder."
            fail(
                self.argument, "a folder that no other run writes into", str(path), hint
            )
        for draft in left:
            draft.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the folder back."""
        with suppress(OSError):
            (self.path / _CLAIM).unlink()
        os.close(self._claim)
        if os.name == "nt":  # There no open file can be removed.
            (self.path / _CLAIM).unlink(missing_ok=True)
        self._leave()

    def _leave(self) -> None:
        """Take back the folders that were made and hold nothing."""
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()

    def check_space(self, needed: int) -> None:
        """Raise unless so many bytes can be written: asked before the work."""
        free = shutil.disk_usage(self.path).free
        if free < needed:
            expected = f"on a disk with {needed / 1e6:.0f} MB free"
            hint = f"{free / 1e6:.0f} MB are. Free some, or name another place."
            fail(self.argument, expected, str(self.path), hint)

    def writable(self, name: str) -> Path:
        """Where to write a file of the run, if it may.

        Raises:
            ValueError: If somebody else has written it meanwhile.
        """
        target = self.path / name
        if not self._is_ours(target):
            hint = "It has come there since the run began."
            fail(self.argument, f"without a {name} of others", str(self.path), hint)
        self.path.mkdir(parents=True, exist_ok=True)
        self._written.add(name)
        return target

    def remove(self, names: Collection[str]) -> None:
        """Remove files, those alone that may be replaced."""
        for name in names:
            if self._is_ours(self.path / name):
                (self.path / name).unlink(missing_ok=True)

    def _is_ours(self, target: Path) -> bool:
        ours = self.overwrite or target.name in self._written
        return ours or not os.path.lexists(target)

    def spare(self) -> Iterator["OutputFolder"]:
        """Places elsewhere, for what must not be lost where this one is full."""
        for place in (tempfile.gettempdir(), Path.home()):
            with suppress(OSError):
                made = tempfile.mkdtemp(prefix=f"kerastl-{self.path.name}-", dir=place)
                yield OutputFolder(made, self._names, overwrite=True)
                with suppress(OSError):
                    Path(made).rmdir()


def _claimed(path: Path) -> int | None:
    """Hold a file until it is closed or this process ends; None if another does."""
    held = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it before may have taken it away since it was opened here.
        if os.fstat(held).st_ino == path.stat().st_ino:
            return held
    except BlockingIOError:
        pass
    # Windows and some network disks hold nothing; what a file's writer asks remains.
    except (ImportError, OSError):
        return held
    os.close(held)
    return None


#: No picture is larger; a file of zeros without end may be.
LARGEST_FILE = 2**30


def regular_bytes(path: str | Path) -> bytes:
    """All bytes of an ordinary file of at most 1 GiB.

    Raises:
        OSError: If it is a folder, a pipe or a device, too large, or cannot be read.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    if status.st_size > LARGEST_FILE:
        raise OSError(f"{status.st_size / 2**30:.1f} GiB are no picture")
    return Path(path).read_bytes()
