"""Reading rows back from a file, by position.

Never through a memory map: a truncated file raises instead of killing the process,
and what the process holds in memory does not grow with what it has read.
"""

import json
import os
import threading
import weakref
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np

from kerastl._checks import fail
from kerastl.inference.row_files import CHECKSUM, FORMAT, MAGIC, PREAMBLE, Header

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
