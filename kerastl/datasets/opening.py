"""From whatever says where the images are to their three parts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerastl._checks import check_choice, fail, nearest
from kerastl.datasets.catalog import DATASETS, load_dataset
from kerastl.datasets.duplicates import digests
from kerastl.datasets.folders import load_images
from kerastl.datasets.parallel import Progress
from kerastl.datasets.sets import ImageSet, Splits
from kerastl.datasets.splits import counted, describe, split_set, warn_user


def open_splits(
    data: str | Path | Splits | Sequence[ImageSet | None],
    *,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    on_bad: str = "error",
    on_leak: str = "drop",
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
        on_leak: `"drop"` or `"error"`, for training copies of held-out images.
        progress: Called with (done, total), or None.

    Returns:
        Train, validation and test.

    Raises:
        ValueError: If the data do not fit.
        FileNotFoundError: If there is no such folder and no such data set.
        TypeError: If `data` is of no known kind.
    """
    if isinstance(data, (tuple, list)) and 2 <= len(data) <= 3:
        for part in data:
            if part is not None and not isinstance(part, ImageSet):
                kind = type(part).__name__
                fail("data", "made of ImageSets", kind, error=TypeError)
        data = Splits(*data, *[None] * (3 - len(data)))
    if isinstance(data, Splits):
        return _checked(data, validation, test, seed, on_leak)
    if not isinstance(data, (str, Path)):
        kinds = "a folder, a data set's name or Splits"
        fail("data", kinds, type(data).__name__, error=TypeError)
    shares = {"validation": validation, "test": test, "seed": seed}
    if isinstance(data, Path) or Path(data).exists() or {"/", "\\"} & set(data):
        return load_images(
            data, on_bad=on_bad, on_leak=on_leak, progress=progress, **shares
        )
    if data not in DATASETS:
        # Most names that are none are folders misspelt, or another working folder.
        listed = ", ".join(repr(name) for name in DATASETS)
        hint = f"{str(Path(data).absolute())!r} does not exist. "
        hint += nearest(data, DATASETS)
        expected = f"an existing folder or one of {listed}"
        fail("data", expected, data, hint, FileNotFoundError)
    return load_dataset(data, progress=progress, **shares)


def _checked(
    splits: Splits, validation: float, test: float, seed: int, on_leak: str
) -> Splits:
    """Parts that are at hand, less what leaks, and those that are missing cut."""
    check_choice("on_leak", on_leak, ("drop", "error"))
    train, check, last = splits
    for part in (check, last):
        if part is not None and part.class_names != train.class_names:
            names = part.class_names
            fail("data", f"of the classes {train.class_names}", names)
    train = _apart(train, [check, last], on_leak)
    check = None if check is None else _apart(check, [last], on_leak)
    if last is None and test:
        train, _, last = split_set(train, validation=0.0, test=test, seed=seed)
    if check is None and validation:
        train, check, _ = split_set(train, validation=validation, test=0.0, seed=seed)
    return Splits(train, check, last)


def _apart(part: ImageSet, later: list[ImageSet | None], on_leak: str) -> ImageSet:
    """A part without the images that a later part holds too."""
    held = [digests(other) for other in later if other is not None]
    if not held:
        return part
    leaking = np.isin(digests(part), np.concatenate(held))
    if not leaking.any():
        return part
    named = [describe(part, int(i)) for i in np.flatnonzero(leaking)[:5]]
    if on_leak == "error":
        hint = 'Remove the copies, or have them dropped with on_leak="drop".'
        fail("data", "made of parts that share no image", named, hint)
    count = int(leaking.sum())
    text = f"Dropped {counted(count)} that a held-out part holds too"
    warn_user(text, named, count)
    return part.subset(np.flatnonzero(~leaking))
