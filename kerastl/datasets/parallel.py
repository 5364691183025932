"""Work spread over the processor's cores, with progress."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

Progress = Callable[[int, int], None]


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def for_each(
    work: Callable[[int], None],
    count: int,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    step: int = 16,
) -> None:
    """Call `work(i)` for each `i < count`, in threads, in no promised order."""

    def stretch(start: int) -> int:
        stop = min(start + step, count)
        for i in range(start, stop):
            work(i)
        return stop

    starts = range(0, count, step)
    workers = min(threads or num_cores(), len(starts))
    if workers <= 1:
        for start in starts:
            _report(progress, stretch(start), count)
        return
    with ThreadPoolExecutor(workers) as pool:
        for stop in pool.map(stretch, starts):
            _report(progress, stop, count)


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
