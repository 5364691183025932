"""Files written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A draft beside a file, which takes its place when the block ends well.

    Otherwise the draft is removed, and what was there stays.

    Args:
        path: The file; its folder must exist.

    Yields:
        Name of the draft, an empty file with the same ending.
    """
    handle, name = tempfile.mkstemp(path.suffix, f".{path.stem}-", path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        # mkstemp keeps files to their owner; this is to be an ordinary file.
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o666 & ~mask)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
