"""Features kept on disk between runs: whole or not at all, and bounded in size."""

import contextlib
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import check_integer, check_number, fail
from kerastl.inference.drafts import draft_path, remove_leftovers
from kerastl.inference.row_files import (
    CacheWriteError,
    Header,
    explained,
    write_rows,
)
from kerastl.inference.row_reading import CachedRows, DamagedFileError, read_header

FOLDER_VARIABLE, LIMIT_VARIABLE = "KERASTL_CACHE", "KERASTL_CACHE_LIMIT"
#: Bytes of all files together.
DEFAULT_LIMIT = 20_000_000_000
_DAY = 86_400.0
_SUFFIX = ".rows"
_KEY = re.compile(r"[0-9a-z_-]{1,100}")


@dataclass(frozen=True)
class CacheEntry:
    """One file of the cache.

    Attributes:
        key: Stands for what its rows are of.
        bytes: Size of the file.
        created: When it was written, in seconds since 1970.
        last_used: When it was last found or written, in seconds since 1970.
        note: What its writer told about it: network, images, cut.
        damaged: Whether it is of no use: another version, or a damaged header.
    """

    key: str
    bytes: int
    created: float
    last_used: float
    note: Mapping[str, str | int]
    damaged: bool = False


class DiskCache:
    """Arrays of rows in files, found again by a key that stands for their content.

    What is found is what was stored, or nothing: a file is written under another
    name and renamed when it is whole, and every row carries a checksum.

    Args:
        folder: Where the files are; None: the environment variable `KERASTL_CACHE`,
            else `kerastl/features` in Keras's own folder. Made when first written to.
        limit: Bytes of all files together; None: the environment variable
            `KERASTL_CACHE_LIMIT`, else 20 GB. What was unused for longest goes first.

    Raises:
        ValueError: If the limit is not a number of bytes.

    Example:
        >>> import tempfile
        >>> cache = DiskCache(tempfile.mkdtemp())
        >>> blocks = [np.zeros((2, 3), "float32"), np.ones((1, 3), "float32")]
        >>> _ = cache.store("example", (3, 3), "float32", blocks)
        >>> cache.find("example").rows([2, 0]).tolist()
        [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """

    def __init__(
        self, folder: str | Path | None = None, *, limit: int | None = None
    ) -> None:
        """See the class."""
        self.folder = _default_folder() if folder is None else Path(folder).expanduser()
        self.limit = _default_limit() if limit is None else limit
        check_integer("limit", self.limit, 0)

    def find(self, key: str) -> CachedRows | None:
        """The rows stored under `key`, all of them checked, or None.

        A file that is not what was written is removed, with a warning.

        Args:
            key: 1 to 100 of the characters 0-9, a-z, `_` and `-`.

        Returns:
            Rows in an open file, or None.

        Raises:
            ValueError: If the key is not one.
        """
        path = self._path(key)
        rows = None
        try:
            rows = CachedRows(path, key)
            rows.verify()
        except DamagedFileError as error:
            if rows is not None:
                rows.close()
            with contextlib.suppress(OSError):
                path.unlink()
            _warn(f"{path} is damaged ({error.reason}); it is computed again.")
            return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _warn(f"{path} cannot be read ({error.strerror}); it is computed again.")
            return None
        _touch(path)
        return rows

    def store(
        self,
        key: str,
        shape: tuple[int, ...],
        dtype: str,
        blocks: Iterable[np.ndarray],
        *,
        note: Mapping[str, str | int] | None = None,
    ) -> CachedRows:
        """Write rows under a key, in place of what was there.

        Until they are all on the disk, nothing can be found under a new key, and
        under an old one what was there before.

        Args:
            key: 1 to 100 of the characters 0-9, a-z, `_` and `-`.
            shape: `(rows, ...)`.
            dtype: NumPy's name of their type.
            blocks: Arrays `(b, ...)` of that type: consecutive rows, in order.
            note: Words and numbers for `kerastl cache list`.

        Returns:
            The rows, in an open file.

        Raises:
            ValueError: If the blocks are not of that shape and type in all.
            TypeError: If the type cannot be stored, or the note is not words and
                integers.
            CacheWriteError: If the rows are larger than the limit or the disk, or
                cannot be written; nothing of them stays. It is an `OSError`; those of
                whoever makes the blocks pass through.
        """
        path = self._path(key)
        header = _header(key, shape, dtype, dict(note or {}))
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._make_room(path, header.file_bytes)
        draft = draft_path(self.folder, key)
        try:
            write_rows(draft, header, blocks)
            _touch(draft)
            with explained(self.folder):
                draft.replace(path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        # Another process may have written meanwhile.
        self._evict(self.limit - header.file_bytes, keep=path)
        with explained(self.folder):
            return CachedRows(path, key)

    def entries(self) -> tuple[CacheEntry, ...]:
        """All that is stored, used last first."""
        found = [_entry(path, state) for path, state in self._files()]
        return tuple(sorted(found, key=lambda entry: -entry.last_used))

    def clear(self, *, older_than_days: float | None = None) -> int:
        """Remove what is stored, and what killed processes left.

        Args:
            older_than_days: Spare what was used within that many days; None: nothing.

        Returns:
            Bytes freed.

        Raises:
            ValueError: If the number of days is negative.
            CacheWriteError: If a file cannot be removed.
        """
        before = float("inf")
        if older_than_days is not None:
            check_number("older_than_days", older_than_days, 0)
            before = time.time() - older_than_days * _DAY
        freed = remove_leftovers(self.folder)
        for path, state in self._files():
            if state.st_mtime < before:
                with explained(self.folder):
                    path.unlink(missing_ok=True)
                freed += state.st_size
        return freed

    def _path(self, key: str) -> Path:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            fail("key", "1 to 100 of the characters 0-9, a-z, _ and -", key)
        return self.folder / f"{key}{_SUFFIX}"

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """The files of the folder, with their sizes and times."""
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            # Another process may have removed it.
            with contextlib.suppress(OSError):
                yield path, path.stat()

    def _make_room(self, path: Path, needed: int) -> None:
        """Remove what must go for a file of `needed` bytes; raise if none can be."""
        if needed > self.limit:
            raise CacheWriteError(
                f"The features need {needed:,} bytes and the cache may hold "
                f"{self.limit:,}. Set the environment variable {LIMIT_VARIABLE}."
            )
        remove_leftovers(self.folder)
        self._evict(self.limit - needed, keep=path)
        with explained(self.folder):
            free = shutil.disk_usage(self.folder).free
            if free < needed:
                raise OSError(f"{needed:,} bytes are needed and {free:,} are free")

    def _evict(self, limit: int, keep: Path) -> None:
        """Remove the files unused for longest until all but `keep` fit in `limit`."""
        files = [(path, state) for path, state in self._files() if path != keep]
        total = sum(state.st_size for _, state in files)
        for path, state in sorted(files, key=lambda file: file[1].st_mtime_ns):
            if total <= limit:
                return
            # Where open files cannot be removed, the next one goes.
            with contextlib.suppress(OSError):
                path.unlink()
                total -= state.st_size


def _default_folder() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    # Imported here: it loads Keras, and the cache itself needs none.
    from kerastl._compat import keras_home

    return keras_home() / "kerastl" / "features"


def _default_limit() -> int:
    named = os.environ.get(LIMIT_VARIABLE)
    if not named:
        return DEFAULT_LIMIT
    try:
        return int(float(named))
    except (ValueError, OverflowError):
        return fail(LIMIT_VARIABLE, "a number of bytes, such as 5e9", named)


def _header(key: str, shape: Any, dtype: str, note: dict[str, Any]) -> Header:
    """The header of a file that is to be written, its fields checked."""
    shape = tuple(int(side) for side in shape)
    if not shape or min(shape) < 0:
        fail("shape", "(rows, ...)", shape)
    kind = np.dtype(dtype)
    if kind.kind not in "biuf" and kind.name != "bfloat16":
        fail("dtype", "a type of numbers", str(dtype), error=TypeError)
    for name, value in note.items():
        if not isinstance(name, str) or not isinstance(value, str | int):
            fail("note", "names with words or integers", note, error=TypeError)
    return Header(key, shape, kind.name, time.time(), note)


def _entry(path: Path, state: os.stat_result) -> CacheEntry:
    key, used = path.name.removesuffix(_SUFFIX), state.st_mtime
    try:
        header = read_header(path)
    except OSError:
        return CacheEntry(key, state.st_size, used, used, {}, damaged=True)
    return CacheEntry(key, state.st_size, header.created, used, header.note)


def _touch(path: Path) -> None:
    """Note that a file was used; where that is not allowed, no harm."""
    with contextlib.suppress(OSError):
        # The system's own clock for files is too coarse to tell which was first.
        os.utime(path, ns=(time.time_ns(), time.time_ns()))


def _warn(message: str) -> None:
    warnings.warn(f"The cache file {message}", RuntimeWarning, stacklevel=3)
