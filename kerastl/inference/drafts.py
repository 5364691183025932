"""Files that are being written, and those whose writer was killed."""

import contextlib
import os
import platform
import re
import time
import uuid
import zlib
from pathlib import Path

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
