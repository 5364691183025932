"""From whatever says where the images are to their three parts."""

from collections.abc import Sequence
from pathlib import Path

from kerastl._checks import fail
from kerastl.datasets.catalog import load_dataset
from kerastl.datasets.folders import load_images
from kerastl.datasets.parallel import Progress
from kerastl.datasets.sets import ImageSet, Splits


def open_splits(
    data: str | Path | Splits | Sequence[ImageSet | None],
    *,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    on_bad: str = "error",
    progress: Progress | None = None,
) -> Splits:
    """The three parts of a folder, a named data set, or parts that are at hand.

    A folder of that name goes before a data set of that name.

    Args:
        data: Folder, name in `load_dataset`, `Splits`, or two or three image sets.
        validation: Share to choose by, where the data bring no such part.
        test: Share to score at the end, where the data bring none.
        seed: Non-negative integer, for the cut.
        on_bad: `"error"` or `"skip"`, for a folder's unreadable files.
        progress: Called with (done, total), or None.

    Returns:
        Train, validation and test.

    Raises:
        ValueError: If the data do not fit.
        FileNotFoundError: If there is no such folder.
        TypeError: If `data` is of no known kind.
    """
    if isinstance(data, (tuple, list)) and 2 <= len(data) <= 3:
        for part in data:
            if part is not None and not isinstance(part, ImageSet):
                kind = type(part).__name__
                fail("data", "made of ImageSets", kind, error=TypeError)
        return Splits(*data, *[None] * (3 - len(data)))
    if isinstance(data, Splits):
        return data
    if not isinstance(data, (str, Path)):
        kinds = "a folder, a data set's name or Splits"
        fail("data", kinds, type(data).__name__, error=TypeError)
    shares = {"validation": validation, "test": test, "seed": seed}
    if isinstance(data, Path) or Path(data).exists() or {"/", "\\"} & set(data):
        return load_images(data, on_bad=on_bad, progress=progress, **shares)
    return load_dataset(data, progress=progress, **shares)
