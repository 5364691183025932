"""Progress of long work: a line on a terminal or in a notebook, nothing in a pipe."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

#: What long work calls with the steps done so far and all there are.
Progress = Callable[[int, int], None]

# Redrawing more often than this is not seen and slows a fast loop.
SECONDS_BETWEEN_DRAWS = 0.1


def is_watched(stream: TextIO | None) -> bool:
    """Whether a person sees `stream` as it is written."""
    if stream is None:
        return False
    if type(stream).__module__.startswith("ipykernel"):
        return True
    return stream.isatty()


class ProgressLine:
    """One counter, such as `reading images: 120/3670`, redrawn in place.

    Call it with the work done so far, and close it (or use it as a context
    manager) so that the next line of output starts at the margin.

    Args:
        description: What is being done, such as `"reading images"`.
        stream: Where to write. Standard error when None.

    Example:
        >>> with ProgressLine("reading images") as progress:
        ...     for done in range(3):
        ...         progress(done + 1, 3)
    """

    def __init__(self, description: str, stream: TextIO | None = None) -> None:
        self.description = description
        # Looked up now, not at import: notebooks and tests replace sys.stderr.
        self._stream = sys.stderr if stream is None else stream
        self._watched = is_watched(self._stream)
        self._drawn_at = float("-inf")
        self._width = 0

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` steps are finished."""
        now = time.monotonic()
        due = done >= total or now - self._drawn_at >= SECONDS_BETWEEN_DRAWS
        if not self._watched or not due:
            return
        line = f"{self.description}: {done}/{total}"
        # Spaces wipe a longer line that stood there: notebooks know no erase code.
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._drawn_at, self._width = now, len(line)

    def close(self) -> None:
        """End the line, if one was drawn."""
        if self._width:
            self._stream.write("\n")
            self._stream.flush()
            self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
