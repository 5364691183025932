"""Progress of long work: a bar, a line in a notebook, now and then one in a log."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TextIO

#: What long work calls with the steps done so far and all there are.
Progress = Callable[[int, int], None]

# Redrawing more often than this is not seen and slows a fast loop.
SECONDS_BETWEEN_DRAWS = 0.1
# In a file each stays: seldom enough to be no flood, often enough to show life.
SECONDS_BETWEEN_LINES = 30.0


class ProgressLine:
    """One counter, such as `reading images: 120/3670`, redrawn in place.

    In a file or a pipe it is a line of its own every half minute. Call it with the work
    done so far, and close it (or use it as a context manager) so that the next line of
    output starts at the margin.

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
        self._in_notebook = type(self._stream).__module__.startswith("ipykernel")
        self._on_terminal = self._stream is not None and self._stream.isatty()
        self._redrawn = self._in_notebook or self._on_terminal
        self._pause = SECONDS_BETWEEN_DRAWS if self._redrawn else SECONDS_BETWEEN_LINES
        self._drawn_at = float("-inf") if self._redrawn else time.monotonic()
        self._width = 0
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` steps are finished."""
        now = time.monotonic()
        due = now - self._drawn_at >= self._pause or (self._redrawn and done >= total)
        if not due or self._stream is None:
            return
        self._drawn_at = now
        if not self._redrawn:
            self._stream.write(f"{self.description}: {done}/{total}\n")
            self._stream.flush()
            return
        if self._in_notebook:
            self._draw_line(f"{self.description}: {done}/{total}")
            return
        if self._bar is None:
            self._bar = _terminal_bar(self._stream)
            self._bar.add_task(self.description, total=total, completed=done)
            self._bar.start()
        self._bar.update(0, completed=done, total=total, refresh=True)

    def _draw_line(self, line: str) -> None:
        # Spaces wipe a longer line that stood there: notebooks know no erase code,
        # and rich draws in them only with a package of widgets.
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)

    def close(self) -> None:
        """End the line, if one was drawn."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
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


def _terminal_bar(stream: TextIO) -> Any:
    """A bar with the steps and the time that is left."""
    # Imported here: most processes draw none.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    return Bar(
        *columns,
        console=Console(file=stream),
        # No thread: it is drawn when the work says so.
        auto_refresh=False,
        # What others print is theirs.
        redirect_stdout=False,
        redirect_stderr=False,
    )


def as_verbosity(verbose: int | str) -> int:
    """`verbose` as Keras takes it: for `"auto"` a bar where somebody watches it."""
    if verbose != "auto":
        return int(verbose)
    return 1 if sys.stdout.isatty() or "ipykernel" in sys.modules else 0


class Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        """Start the first stage."""
        self._start = self._last = time.perf_counter()
        self._stages: dict[str, float] = {}

    def stop(self, stage: str) -> None:
        """End a stage; the next one begins."""
        now = time.perf_counter()
        self._stages[stage] = now - self._last
        self._last = now

    def report(self) -> dict[str, float]:
        """Seconds of each stage and in all."""
        total = self._last - self._start
        stages = {name: round(value, 3) for name, value in self._stages.items()}
        return {**stages, "total": round(total, 3)}
