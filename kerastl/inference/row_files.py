"""Writing one file of rows: a header, the rows, and a checksum of each row."""

import contextlib
import json
import math
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kerastl._checks import fail

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
