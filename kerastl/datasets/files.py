"""Image files: which there are, what they hold, and in what order they come."""

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerastl.datasets.decoding import decoding_errors, reason
from kerastl.datasets.parallel import Progress, for_each

EXTENSIONS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
}
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
)
_OPENABLE = tuple(dict.fromkeys(EXTENSIONS.values()))


@dataclass(frozen=True)
class FileRecord:
    """What one image file holds.

    Attributes:
        path: The file.
        digest: sha256 of its bytes, in hexadecimal; empty when it cannot be read.
        format: True format by its first bytes, such as `"JPEG"`; None if none of
            the five.
        size: (width, height) in pixels, or None when it cannot be opened.
        mode: Pillow's mode, such as `"RGB"`, or None.
        fault: Why it cannot be decoded, or None.
    """

    path: str
    digest: str
    format: str | None
    size: tuple[int, int] | None
    mode: str | None
    fault: str | None

    @property
    def wrong_extension(self) -> bool:
        """Whether the name promises another format than the bytes hold."""
        promised = EXTENSIONS.get(Path(self.path).suffix.lower())
        return self.format is not None and promised != self.format


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which `'2'` comes before `'10'`."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    keys = [(0, int(p), p) if p[0] in "0123456789" else (1, 0, p) for p in parts]
    # The text itself breaks ties such as '1' and '01'.
    return (*keys, (2, 0, text))


def is_hidden(path: Path) -> bool:
    """Whether systems put the file there, not people."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def subfolders(folder: Path) -> list[Path]:
    """The folders inside that are not hidden, in natural order."""
    found = [path for path in folder.iterdir() if path.is_dir() and not is_hidden(path)]
    return sorted(found, key=lambda path: natural_key(path.name))


def list_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """(image files, other files) below a folder, each in natural order."""
    images, others, waiting = [], [], [folder]
    while waiting:
        for path in waiting.pop().iterdir():
            if is_hidden(path):
                others.append(path)
            elif path.is_dir():
                waiting.append(path)
            else:
                fits = path.suffix.lower() in EXTENSIONS
                (images if fits else others).append(path)
    return _in_order(images), _in_order(others)


def sniff(data: bytes) -> str | None:
    """The image format that the first bytes tell, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for start, name in _SIGNATURES if data.startswith(start)), None)


def inspect_files(
    paths: Sequence[str | Path],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[FileRecord]:
    """Read, hash and decode each file once.

    A JPEG is decoded at an eighth of its scale: its whole bit stream is read, at a
    third of the cost.
    """
    records: list[FileRecord] = [None] * len(paths)  # type: ignore[list-item]

    def work(i: int) -> None:
        records[i] = inspect_file(str(paths[i]))

    for_each(work, len(paths), threads=threads, progress=progress)
    return records


def inspect_file(path: str) -> FileRecord:
    """Read, hash and decode one file."""
    from PIL import Image

    try:
        data = Path(path).read_bytes()
    except OSError as error:
        return FileRecord(path, "", None, None, None, str(error))
    digest, kind = hashlib.sha256(data).hexdigest(), sniff(data)
    if kind is None:
        fault = "the file is empty" if not data else "not an image by its content"
        return FileRecord(path, digest, None, None, None, fault)
    size = mode = None
    try:
        with Image.open(io.BytesIO(data), formats=_OPENABLE) as image:
            size, mode = image.size, image.mode
            image.draft(None, (1, 1))
            image.load()
    except decoding_errors() as error:
        return FileRecord(path, digest, kind, size, mode, reason(error))
    return FileRecord(path, digest, kind, size, mode, None)


def _in_order(paths: list[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: natural_key(path.as_posix()))
