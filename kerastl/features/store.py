"""Features on disk: written once, checked when read."""

import contextlib
import json
import math
import os
import platform
import re
import shutil
import struct
import sys
import threading
import time
import uuid
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kerastl._checks import check_integer, check_number, fail, warn

_SUFFIX = ".part"
#: Key, machine, process, and a part that no other draft has.
_NAME = re.compile(r".+-([0-9a-f]{8})-(\d+)-[0-9a-f]{32}" + re.escape(_SUFFIX))
_DAY = 86_400.0


def draft_path(folder: Path, key: str) -> Path:
    """A name for a file that is being written, unlike that of any other writer."""
    name = f"{key}-{_machine()}-{os.getpid()}-{uuid.uuid4().hex}{_SUFFIX}"
    return folder / name


def remove_leftovers(folder: Path) -> int:
    """Remove the drafts of killed processes.

    Returns:
        Bytes freed.
    """
    freed = 0
    for path in folder.glob(f"*{_SUFFIX}"):
        # Another process may be removing it, too.
        with contextlib.suppress(OSError):
            state = path.stat()
            if _is_abandoned(path.name, state.st_mtime):
                path.unlink()
                freed += state.st_size
    return freed


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _is_abandoned(name: str, written: float) -> bool:
    """Whether the writer of a draft is dead, as far as can be told from here."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        return False
    machine, process = parts[1], int(parts[2])
    # A process's number means nothing on another machine, and Windows cannot ask.
    if machine == _machine() and os.name == "posix":
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass
    return written < time.time() - _DAY


#: To be raised when the layout changes. Rows are in the machine's order of bytes.
FORMAT = f"1 {sys.byteorder}"
#: The first bytes, the length of the header in bytes, and its checksum.
PREAMBLE = struct.Struct("<8sII")
MAGIC = b"KERASTL\n"
#: After the rows: one checksum for each, and one of these checksums.
CHECKSUM = np.dtype("<u4")


@dataclass(frozen=True)
class Header:
    """What a file of rows holds.

    Attributes:
        key: Stands for the content of the rows.
        shape: `(rows, ...)`.
        dtype: NumPy's name of their type, such as `"float16"`.
        created: Seconds since 1970.
        note: What people are told about the rows.
    """

    key: str
    shape: tuple[int, ...]
    dtype: str
    created: float = 0.0
    note: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def start(self) -> int:
        """Bytes before the first row."""
        return len(self.encode())

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file."""
        rows = self.shape[0]
        return self.start + rows * self.row_bytes + (rows + 1) * CHECKSUM.itemsize

    def encode(self) -> bytes:
        """The bytes before the first row."""
        text = json.dumps({"format": FORMAT, **asdict(self)}).encode()
        return PREAMBLE.pack(MAGIC, len(text), zlib.crc32(text)) + text


def write_rows(path: Path, header: Header, blocks: Iterable[np.ndarray]) -> None:
    """Write a new file, and wait until it is on the disk.

    Args:
        path: A file that does not exist yet.
        header: What the file will hold.
        blocks: Consecutive rows, in order.

    Raises:
        ValueError: If the blocks are not the rows that the header announces.
        CacheWriteError: If the file cannot be written.
    """
    checksums = np.zeros(header.shape[0], CHECKSUM)
    done = 0
    with explained(path.parent):
        file = _create(path)
    try:
        with explained(path.parent):
            file.write(header.encode())
        for block in blocks:
            rows = _as_bytes(block, header, done)
            for row in rows:
                checksums[done] = zlib.crc32(row.data)
                done += 1
            with explained(path.parent):
                file.write(rows.data)
        if done != header.shape[0]:
            fail("blocks", f"{header.shape[0]} rows in all", done)
        table = checksums.tobytes()
        with explained(path.parent):
            file.write(table + zlib.crc32(table).to_bytes(CHECKSUM.itemsize, "little"))
            file.flush()
            os.fsync(file.fileno())
    finally:
        # After a failure, closing may fail as well: what is buffered has no place.
        with contextlib.suppress(OSError):
            file.close()


class CacheWriteError(OSError):
    """The cache cannot be written: one sentence that says why, and the way out."""


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Say in one sentence why a file in `folder` cannot be written, and what to do.

    Raises:
        CacheWriteError: In place of any `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise CacheWriteError(
            f"The cache in {folder} cannot be written ({error.strerror or error}). "
            "Make room there, run `kerastl cache clear`, or name another folder in the "
            "environment variable KERASTL_CACHE."
        ) from error


def _create(path: Path) -> BinaryIO:
    """Open a new file; a full disk raises here or when it is written to."""
    return path.open("xb")


def _as_bytes(block: Any, header: Header, done: int) -> np.ndarray:
    """A block as bytes, `(rows, row_bytes)`, if it is what the header announces."""
    block = np.asarray(block)
    if block.ndim != len(header.shape) or block.shape[1:] != header.shape[1:]:
        fail("blocks", f"of shape (rows, {str(header.shape[1:])[1:]}", block.shape)
    if block.dtype != np.dtype(header.dtype):
        fail("blocks", f"of type {header.dtype}", str(block.dtype))
    if done + len(block) > header.shape[0]:
        fail("blocks", f"{header.shape[0]} rows in all", done + len(block))
    data = np.ascontiguousarray(block).reshape(-1).view(np.uint8)
    return data.reshape(len(block), header.row_bytes)


_AT_ONCE = 4_000_000


class DamagedFileError(OSError):
    """A cache file that does not hold what was written to it.

    Args:
        path: The file.
        reason: In what it differs.
    """

    def __init__(self, path: Path, reason: str) -> None:
        """See the class."""
        super().__init__(
            f"The cache file {path} is damaged: {reason}. Run `kerastl cache clear`, "
            "then start again."
        )
        self.reason = reason


class RowFile:
    """An open file that several threads may read at any position.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        """See the class."""
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()
        # A finalizer closes what was forgotten, without a ResourceWarning.
        self.close = weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._file.fileno()).st_size

    def fill(self, array: np.ndarray, offset: int) -> None:
        """Fill a contiguous array with the bytes from `offset` on.

        Raises:
            DamagedFileError: If the file ends before, or the disk cannot read it.
        """
        view = array.reshape(-1).view(np.uint8).data
        while len(view):
            try:
                count = self._read(view, offset)
            except OSError as error:
                raise DamagedFileError(
                    self.path, str(error.strerror or error)
                ) from error
            if not count:
                raise DamagedFileError(self.path, "it ends too early")
            view, offset = view[count:], offset + count

    def _read(self, view: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], offset)
        # Windows has one position for all threads.
        with self._lock:
            self._file.seek(offset)
            return self._file.readinto(view) or 0

    def header(self) -> Header:
        """What the file says that it holds.

        Raises:
            DamagedFileError: If the header is not what was written.
        """
        start = np.zeros(PREAMBLE.size, np.uint8)
        self.fill(start, 0)
        magic, length, checksum = PREAMBLE.unpack(start.tobytes())
        if magic != MAGIC or length > len(self):
            raise DamagedFileError(self.path, "it is no file of rows")
        text = np.zeros(length, np.uint8)
        self.fill(text, PREAMBLE.size)
        if zlib.crc32(text.data) != checksum:
            raise DamagedFileError(self.path, "its header has changed")
        fields = json.loads(text.tobytes())
        if fields.pop("format") != FORMAT:
            raise DamagedFileError(self.path, "another version of kerastl wrote it")
        return Header(**{**fields, "shape": tuple(fields["shape"])})


class CachedRows:
    """Rows in a file that stays open: no harm if it is replaced or removed.

    Each row is checked when it is read, so none comes out other than it went in.
    Threads may read at the same time.

    Args:
        path: The file.
        key: What it must say that its rows are of.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedFileError: If the file is not what was written, as far as its length, its
            header and its checksums tell; the rows come later.
    """

    def __init__(self, path: Path, key: str) -> None:
        """See the class."""
        self._file = RowFile(path)
        try:
            self.header = self._file.header()
            if self.header.key != key:
                raise DamagedFileError(path, "it holds something else")
            if len(self._file) != self.header.file_bytes:
                raise DamagedFileError(path, "its length has changed")
            self._start = self.header.start
            self._checksums = self._read_checksums()
        except BaseException:
            self.close()
            raise

    @property
    def shape(self) -> tuple[int, ...]:
        """`(rows, ...)`."""
        return self.header.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the rows."""
        return np.dtype(self.header.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self.header.row_bytes

    def __len__(self) -> int:
        """Number of rows."""
        return self.header.shape[0]

    def close(self) -> None:
        """Let go of the file; no row can be read any more."""
        self._file.close()

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows at `indices`, in that order, as a new array.

        Args:
            indices: Integers `(b,)` from 0; one may come several times.

        Returns:
            Array `(b, ...)`.

        Raises:
            ValueError: If an index is out of range, or the file was closed.
            DamagedFileError: If a row is not what was written.
        """
        indices = np.asarray(indices, np.int64)
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            extremes = [int(indices.min()), int(indices.max())]
            fail("indices", f"from 0 to {len(self) - 1}", extremes)
        found = np.empty((len(indices), *self.shape[1:]), self.dtype)
        if not found.size:
            return found
        data = found.reshape(-1).view(np.uint8).reshape(len(indices), -1)
        # Neighbours come in one read.
        breaks = np.flatnonzero(np.diff(indices) != 1) + 1
        edges = [0, *breaks.tolist(), len(indices)]
        for first, stop in pairwise(edges):
            offset = self._start + int(indices[first]) * self.header.row_bytes
            self._file.fill(data[first:stop], offset)
        expected = self._checksums[indices].tolist()
        for row, checksum in zip(data, expected, strict=True):
            if zlib.crc32(row.data) != checksum:
                raise DamagedFileError(self._file.path, "rows in it have changed")
        return found

    def verify(self) -> None:
        """Read all rows once, a few megabytes at a time.

        Raises:
            DamagedFileError: If one is not what was written.
        """
        step = max(1, _AT_ONCE // max(1, self.header.row_bytes))
        for start in range(0, len(self), step):
            self.rows(np.arange(start, min(start + step, len(self))))

    def _read_checksums(self) -> np.ndarray:
        table = np.zeros(len(self) + 1, CHECKSUM)
        self._file.fill(table, self._start + self.nbytes)
        if zlib.crc32(table[:-1].data) != table[-1]:
            raise DamagedFileError(self._file.path, "its checksums have changed")
        return table[:-1]


def read_header(path: Path) -> Header:
    """What a file says that it holds.

    Raises:
        OSError: If it cannot be read, or is damaged.
    """
    file = RowFile(path)
    try:
        return file.header()
    finally:
        file.close()


FOLDER_VARIABLE, LIMIT_VARIABLE = "KERASTL_CACHE", "KERASTL_CACHE_LIMIT"
#: Bytes of all files together.
DEFAULT_LIMIT = 20_000_000_000
_DAY_disk_cache = 86_400.0
_SUFFIX_disk_cache = ".rows"
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
            before = time.time() - older_than_days * _DAY_disk_cache
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
    key, used = path.name.removesuffix(_SUFFIX_disk_cache), state.st_mtime
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
    warn(f"The cache file {message}", RuntimeWarning)
