"""Features on disk: `.npy` files with checksums, written once, checked when read."""

import base64
import contextlib
import io
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
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kerastl._checks import check_integer, check_number, fail, warn
from kerastl._files import READ_ERRORS

FOLDER_VARIABLE, LIMIT_VARIABLE = "KERASTL_CACHE", "KERASTL_CACHE_LIMIT"
#: Bytes of all files together.
DEFAULT_LIMIT = 20_000_000_000
#: To be raised when the layout changes. Rows are in the machine's order of bytes.
FORMAT = f"2 {sys.byteorder}"
_SUFFIX, _DRAFT_SUFFIX = ".rows", ".part"
_KEY = re.compile(r"[0-9a-z_-]{1,100}")
#: Key, machine, process, and a part that no other draft has.
_DRAFT = re.compile(rf".+-([0-9a-f]{{8}})-(\d+)-[0-9a-f]{{32}}\{_DRAFT_SUFFIX}")
_DAY = 86_400.0
_CHECKSUM = np.dtype("<u4")
#: Length of the description in bytes, and its checksum.
_FOOTER = struct.Struct("<II")
#: Bytes that `verify` reads at once.
_AT_ONCE = 4_000_000


class CacheWriteError(OSError):
    """The cache cannot be written: one sentence that says why, and the way out."""


class DamagedFileError(OSError):
    """A cache file that does not hold what was written to it."""

    def __init__(self, path: Path, reason: str) -> None:
        """See the class."""
        super().__init__(
            f"The cache file {path} is damaged: {reason}. Run `kerastl cache clear`, "
            "then start again."
        )
        self.reason = reason


class CachedRows:
    """Rows in a file that stays open: no harm if it is replaced or removed.

    The file is a `.npy`, which `numpy.load` reads, then a description as JSON with a
    CRC-32 of each row, then the length and the CRC-32 of that description. Each row is
    checked when it is read, so none comes out other than it went in. Threads may read
    at the same time. No memory map: one of a file that is cut kills the process.

    Attributes:
        key: Stands for the content of the rows.
        shape: `(rows, ...)`.
        dtype: Type of the rows.
        nbytes: Bytes of all rows.
        created: Seconds since 1970.
        note: What people are told about the rows.
        close: Lets go of the file; no row can be read any more.

    Raises:
        DamagedFileError: If anything but the rows is not what was written.
    """

    def __init__(self, path: Path) -> None:
        """See the class."""
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()
        # A finalizer closes what was forgotten, without a ResourceWarning.
        self.close = weakref.finalize(self, self._file.close)
        try:
            self._read_description()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The rows at `indices` `(b,)`, in that order, as a new array `(b, ...)`.

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
        for first, stop in pairwise([0, *breaks.tolist(), len(indices)]):
            offset = self._start + int(indices[first]) * data.shape[1]
            self._fill(data[first:stop], offset)
        expected = self._checksums[indices].tolist()
        for row, checksum in zip(data, expected, strict=True):
            if zlib.crc32(row.data) != checksum:
                raise DamagedFileError(self.path, "rows in it have changed")
        return found

    def verify(self) -> None:
        """Read all rows once, a few megabytes at a time; raises if one has changed."""
        step = max(1, _AT_ONCE * len(self) // max(1, self.nbytes))
        for start in range(0, len(self), step):
            self.rows(np.arange(start, min(start + step, len(self))))

    def _read_description(self) -> None:
        end = os.fstat(self._file.fileno()).st_size - _FOOTER.size
        if end < 0:
            raise DamagedFileError(self.path, "it ends too early")
        length, checksum = _FOOTER.unpack(self._bytes(end, _FOOTER.size))
        # Of a damaged footer it may be gigabytes: more than there is memory.
        if length > end:
            raise DamagedFileError(self.path, "its description has changed")
        text = self._bytes(end - length, length)
        # A file of zeros says that its empty description has the checksum 0.
        if not text or zlib.crc32(text) != checksum:
            raise DamagedFileError(self.path, "its description has changed")
        try:
            header = self._take(json.loads(text))
        except DamagedFileError:
            raise
        except READ_ERRORS as error:
            raise DamagedFileError(self.path, "its description has changed") from error
        self._start = len(header)
        if end - length != len(header) + self.nbytes:
            raise DamagedFileError(self.path, "its length has changed")
        if self._bytes(0, len(header)) != header:
            raise DamagedFileError(self.path, "its header has changed")

    def _take(self, fields: Mapping[str, Any]) -> bytes:
        """Take over a description; returns the header that goes with it."""
        if fields["format"] != FORMAT:
            raise DamagedFileError(self.path, "another version of kerastl wrote it")
        self.key, self.created, self.note = map(fields.get, ("key", "created", "note"))
        self.shape, self.dtype = tuple(fields["shape"]), _dtype(fields["dtype"])
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        table = base64.b64decode(fields["checksums"])
        self._checksums = np.frombuffer(table, _CHECKSUM)
        return _npy_header(self.shape, self.dtype)

    def _bytes(self, offset: int, length: int) -> bytes:
        found = np.empty(length, np.uint8)
        self._fill(found, offset)
        return found.tobytes()

    def _fill(self, array: np.ndarray, offset: int) -> None:
        """Fill a contiguous array with the bytes from `offset` on."""
        view = array.reshape(-1).data
        try:
            # The file has one position for all threads.
            with self._lock:
                self._file.seek(offset)
                while view and (count := self._file.readinto(view)):
                    view = view[count:]
        except OSError as error:
            reason = str(error.strerror or error)
            raise DamagedFileError(self.path, reason) from error
        if view:
            raise DamagedFileError(self.path, "it ends too early")


def _dtype(name: str) -> np.dtype:
    """A type of numbers by NumPy's name, or the one of machine learning."""
    if str(name) == "bfloat16":
        from ml_dtypes import bfloat16

        return np.dtype(bfloat16)
    dtype = np.dtype(name)
    if dtype.kind not in "biuf":
        fail("dtype", "a type of numbers", str(name), error=TypeError)
    return dtype


def _npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    # The format knows NumPy's own types: to it, bfloat16 is two bytes.
    kind = dtype if dtype.isbuiltin == 1 else np.dtype(f"u{dtype.itemsize}")
    header = {"descr": kind.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file := io.BytesIO(), header)
    return file.getvalue()


def _description(fields: Mapping[str, Any], checksums: np.ndarray) -> bytes:
    """What stands after the rows."""
    table = base64.b64encode(checksums).decode()
    text = json.dumps({**fields, "checksums": table}).encode()
    return text + _FOOTER.pack(len(text), zlib.crc32(text))


def _write(path: Path, fields: Mapping[str, Any], blocks: Iterable[np.ndarray]) -> None:
    """Write a new file, and wait until it is on the disk."""
    shape, dtype = fields["shape"], _dtype(fields["dtype"])
    checksums, done = np.zeros(shape[0], _CHECKSUM), 0
    with explained(path.parent):
        file = _create(path)
    try:
        with explained(path.parent):
            file.write(_npy_header(shape, dtype))
        for block in blocks:
            rows = _as_bytes(block, shape, dtype, done)
            for row in rows:
                checksums[done] = zlib.crc32(row.data)
                done += 1
            with explained(path.parent):
                file.write(rows.data)
        if done != shape[0]:
            fail("blocks", f"{shape[0]} rows in all", done)
        with explained(path.parent):
            file.write(_description(fields, checksums))
            file.flush()
            os.fsync(file.fileno())
    finally:
        # After a failure, closing may fail as well: what is buffered has no place.
        with contextlib.suppress(OSError):
            file.close()


def _create(path: Path) -> BinaryIO:
    """Open a new file; a full disk raises here or when it is written to."""
    return path.open("xb")


def _as_bytes(
    block: Any, shape: tuple[int, ...], dtype: np.dtype, done: int
) -> np.ndarray:
    """A block as bytes, one row each, if it is what was announced."""
    block = np.asarray(block)
    if block.ndim != len(shape) or block.shape[1:] != shape[1:]:
        fail("blocks", f"of shape (rows, {str(shape[1:])[1:]}", block.shape)
    if block.dtype != dtype:
        fail("blocks", f"of type {dtype.name}", str(block.dtype))
    if done + len(block) > shape[0]:
        fail("blocks", f"{shape[0]} rows in all", done + len(block))
    data = np.ascontiguousarray(block).reshape(-1).view(np.uint8)
    return data.reshape(len(block), math.prod(shape[1:]) * dtype.itemsize)


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Say in one sentence why a file in `folder` cannot be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise CacheWriteError(
            f"The cache in {folder} cannot be written ({error.strerror or error}). "
            "Make room there, run `kerastl cache clear`, or name another folder in the "
            f"environment variable {FOLDER_VARIABLE}."
        ) from error


@dataclass(frozen=True)
class CacheEntry:
    """One file of the cache.

    Attributes:
        key: Stands for what its rows are of.
        bytes: Size of the file.
        created: When it was written, in seconds since 1970.
        last_used: When it was last found or written, in seconds since 1970.
        note: What its writer told about it: network, images, cut.
        damaged: Whether it is of no use: another version, or a damaged description.
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

        Raises:
            ValueError: If the key is not 1 to 100 of the characters 0-9, a-z, _ and -.
        """
        path, rows = self._path(key), None
        try:
            rows = CachedRows(path)
            if rows.key != key:
                raise DamagedFileError(path, "it holds something else")
            rows.verify()
        except DamagedFileError as error:
            if rows is not None:
                rows.close()
            with contextlib.suppress(OSError):
                path.unlink()
            reason = f"is damaged ({error.reason})"
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
        else:
            _touch(path)
            return rows
        warn(f"The cache file {path} {reason}; it is computed again.", RuntimeWarning)
        return None

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

        Raises:
            ValueError: If the blocks are not of that shape and type in all.
            TypeError: If the type cannot be stored, or the note is no words and
                integers.
            CacheWriteError: If the rows are larger than the limit or the disk, or
                cannot be written; nothing of them stays. Errors of whoever makes the
                blocks pass through.
        """
        path = self._path(key)
        fields = _fields(key, shape, dtype, dict(note or {}))
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        needed = math.prod(fields["shape"]) * _dtype(dtype).itemsize
        needed += len(_npy_header(fields["shape"], _dtype(dtype)))
        needed += len(_description(fields, np.zeros(fields["shape"][0], _CHECKSUM)))
        self._make_room(path, needed)
        draft = draft_path(self.folder, key)
        try:
            _write(draft, fields, blocks)
            _touch(draft)
            with explained(self.folder):
                draft.replace(path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        # Another process may have written meanwhile.
        self._evict(self.limit - needed, keep=path)
        with explained(self.folder):
            return CachedRows(path)

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
        """
        before = float("inf")
        if older_than_days is not None:
            check_number("older_than_days", older_than_days, 0)
            before = time.time() - older_than_days * _DAY
        freed = self._remove_abandoned()
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

    def _files(self, suffix: str = _SUFFIX) -> Iterator[tuple[Path, os.stat_result]]:
        """The files of the folder, with their sizes and times."""
        for path in sorted(self.folder.glob(f"*{suffix}")):
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
        self._remove_abandoned()
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

    def _remove_abandoned(self) -> int:
        """Remove the drafts of killed processes; returns the bytes freed."""
        freed = 0
        for path, state in self._files(_DRAFT_SUFFIX):
            if _is_abandoned(path.name, state.st_mtime):
                # Another process may be removing it, too.
                with contextlib.suppress(OSError):
                    path.unlink()
                    freed += state.st_size
        return freed


def draft_path(folder: Path, key: str) -> Path:
    """A name for a file that is being written, unlike that of any other writer."""
    name = f"{key}-{_machine()}-{os.getpid()}-{uuid.uuid4().hex}{_DRAFT_SUFFIX}"
    return folder / name


def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _is_abandoned(name: str, written: float) -> bool:
    """Whether the writer of a draft is dead, as far as can be told from here."""
    parts = _DRAFT.fullmatch(name)
    # A process's number means nothing on another machine, and Windows cannot ask.
    if parts and parts[1] == _machine() and os.name == "posix":
        try:
            os.kill(int(parts[2]), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass
    return parts is not None and written < time.time() - _DAY


def _default_folder() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    # Imported here: it loads Keras, and the cache itself needs none.
    from kerastl._compat import keras_home

    return keras_home() / "kerastl" / "features"


def _default_limit() -> int:
    named = os.environ.get(LIMIT_VARIABLE) or DEFAULT_LIMIT
    try:
        return int(float(named))
    except (ValueError, OverflowError):
        return fail(LIMIT_VARIABLE, "a number of bytes, such as 5e9", named)


def _fields(key: str, shape: Any, dtype: str, note: dict[str, Any]) -> dict[str, Any]:
    """The description of a file that is to be written, all but the checksums."""
    shape = tuple(int(side) for side in shape)
    if not shape or min(shape) < 0:
        fail("shape", "(rows, ...)", shape)
    for name, value in note.items():
        if not isinstance(name, str) or not isinstance(value, str | int):
            fail("note", "names with words or integers", note, error=TypeError)
    fields = {"format": FORMAT, "key": key, "shape": shape, "dtype": _dtype(dtype).name}
    return {**fields, "created": time.time(), "note": note}


def _entry(path: Path, state: os.stat_result) -> CacheEntry:
    key, used = path.name.removesuffix(_SUFFIX), state.st_mtime
    try:
        rows = CachedRows(path)
    except OSError:
        return CacheEntry(key, state.st_size, used, used, {}, damaged=True)
    rows.close()
    return CacheEntry(key, state.st_size, rows.created, used, rows.note)


def _touch(path: Path) -> None:
    """Note that a file was used; where that is not allowed, no harm."""
    with contextlib.suppress(OSError):
        # The system's own clock for files is too coarse to tell which was first.
        os.utime(path, ns=(time.time_ns(), time.time_ns()))
