"""Whatever a user gives as data: one way in for all of it, and samples of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from kerastl._checks import check_choice, check_integer, fail, nearest, warn
from kerastl._progress import Progress
from kerastl.data.catalog import DATASETS, load_dataset
from kerastl.data.columns import Table, is_table, read_table
from kerastl.data.decoding import as_pixels, promised_formats
from kerastl.data.folders import list_files
from kerastl.data.images import resize_images
from kerastl.data.loading import (
    DENSE_LABELS,
    Groups,
    inspect_files,
    load_images,
    without_bad,
)
from kerastl.data.pairs import parts_at_hand
from kerastl.data.sets import (
    Examples,
    ImageSet,
    Splits,
    channels_fit,
    counted,
    warn_user,
)
from kerastl.data.splitting import split_set
from kerastl.data.tables import load_table
from kerastl.data.texts import is_text_data, load_texts, text_column


def open_data(
    data: Any,
    *,
    images: str | None = None,
    text: str | None = None,
    targets: str | Sequence[str] | None = None,
    labels: str | Sequence[str] | None = None,
    separator: str | None = None,
    groups: str | Groups | None = None,
    split: str | None = None,
    folder: str | Path | None = None,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    on_bad: str = "error",
    on_leak: str = "drop",
    progress: Progress | None = None,
) -> Splits:
    """The three parts of a folder, a table, a named data set, or examples at hand.

    It is what `transfer` and every command use. A folder of that name goes before a
    data set of that name. A table that names no image files, and has a column of
    several words a cell, is one of texts. Streams of batches are for `fine_tune`: they
    cannot be cut and compared.

    Args:
        data: A folder (see `load_images`), a .csv file or DataFrame (see `load_table`),
            either of texts (see `load_texts`), a name in `load_dataset`; an `ImageSet`
            or `TextSet`; `(images, labels)`: an array, files, PIL images or texts, and
            names, integers, or rows of 0 and 1; `(images, labels, names)`, the names of
            the classes in order, or of what the numbers measure; or `Splits`, or train,
            validation and test, of such.
        images: Column of file names, for a table: see `load_table`.
        text: Column of texts, for a table of such.
        targets: Columns of numbers, for a table.
        labels: Column of class names, or columns of 0 and 1, for a table; `"masks"` or
            `"boxes"` for a folder that has both.
        separator: What stands between several class names in a cell of a table.
        groups: Column of what must stay in one part (a patient, a video), for a table;
            for a folder a function of the path.
        split: Column that says which part a row is in, for a table.
        folder: What the file names of a table are relative to.
        validation: Share to choose by, where the data bring no such part.
        test: Share to score at the end, where the data bring none.
        seed: Non-negative integer, for the cut.
        on_bad: `"error"` or `"skip"`, for files that cannot be read.
        on_leak: `"drop"` or `"error"`, for training copies of held-out images.
        progress: Called with (done, total), or None.

    Returns:
        Train, validation and test; a part that is not there is None.

    Raises:
        ValueError: If the data do not fit, or columns are named for no table.
        FileNotFoundError: If there is no such folder and no such data set.
        TypeError: If `data` is of no known kind.

    Example:
        >>> import kerastl
        >>> train, validation, test = kerastl.open_data("digits", validation=0.2)
        >>> train.num_classes, test is None
        (10, True)
        >>> pixels = np.arange(10, dtype="uint8").repeat(64).reshape(10, 8, 8)
        >>> kerastl.open_data((pixels, ["odd", "even"] * 5)).validation.counts()
        {'even': 1, 'odd': 1}
    """
    shares = {"validation": validation, "test": test, "seed": seed}
    columns = {"images": images, "targets": targets, "labels": labels}
    columns |= {"separator": separator, "split": split, "folder": folder}
    leaving = {"on_bad": on_bad, "on_leak": on_leak, "progress": progress}
    if is_table(data):
        table = read_table(data)
        if text is not None or (images is None and _is_of_texts(table)):
            return _texts(table, text, groups=groups, **columns, **leaving, **shares)
        return load_table(table, groups=groups, **columns, **leaving, **shares)
    columns["text"] = text
    dense = columns.pop("labels") if labels in DENSE_LABELS else None
    if isinstance(groups, str):
        columns["groups"] = groups
    for name, given in columns.items():
        if given is not None:
            fail(name, "None for data that are no table", given)
    splits = parts_at_hand(data)
    if dense and not (isinstance(data, (str, Path)) and Path(data).is_dir()):
        fail("labels", "None for data that are no folder", dense)
    if splits is not None:
        if groups is not None:
            fail("groups", "None for examples at hand", type(groups).__name__)
        return _checked(splits, on_bad, validation, test, seed, on_leak)
    if not isinstance(data, (str, Path)):
        _refuse(data)
    if groups is None and is_text_data(data):
        leaving.pop("progress")
        return load_texts(data, **leaving, **shares)
    if isinstance(data, Path) or Path(data).exists() or {"/", "\\"} & set(data):
        options = {"labels": dense, "groups": groups}
        return load_images(data, **options, **leaving, **shares)
    if groups is not None:
        fail("groups", "None for data that are no folder and no table", groups)
    if data not in DATASETS:
        # Most names that are none are folders misspelt, or another working folder.
        listed = ", ".join(repr(name) for name in DATASETS)
        hint = f"{str(Path(data).absolute())!r} does not exist. "
        hint += nearest(data, DATASETS)
        expected = f"an existing folder or one of {listed}"
        fail("data", expected, data, hint, FileNotFoundError)
    return load_dataset(data, progress=progress, **shares)


def _refuse(data: Any) -> NoReturn:
    """Say what data of another kind would have to be."""
    kinds, received = "a folder, a table, a data set's name, sets or pairs", type(data)
    hint = ""
    if hasattr(data, "shape"):
        hint = "Pass (images, labels)."
    elif not isinstance(data, Mapping) and (
        hasattr(data, "__iter__") or hasattr(data, "__getitem__")
    ):
        kinds = "examples that can be counted, compared and cut into parts"
        hint = "Train on batches with kerastl.fine_tune(model, train, validation), or "
        hint += "pass the files or arrays behind them."
    fail("data", kinds, received.__name__, hint, TypeError)


def _is_of_texts(table: Table) -> bool:
    """Whether a table names no image files, and has a column of texts."""
    first = [cells[0] for cells in table.columns.values()]
    if any(Path(str(cell)).suffix.lower() in promised_formats() for cell in first):
        return False
    return text_column(table.columns) is not None


def _texts(table: Table, text: str | None, **options: Any) -> Splits:
    """A table of texts; what is asked of images alone is refused."""
    for name in ("images", "folder"):
        if options.pop(name) is not None:
            fail(name, "None for a table of texts", table.name)
    options.pop("progress")
    return load_texts(table, text=text, **options)


def _checked(
    splits: Splits,
    on_bad: str,
    validation: float,
    test: float,
    seed: int,
    on_leak: str,
) -> Splits:
    """Parts that are at hand, less what leaks, and those that are missing cut."""
    check_choice("on_bad", on_bad, ("error", "skip"))
    check_choice("on_leak", on_leak, ("drop", "error"))
    train, check, last = (_readable(part, on_bad) for part in splits)
    for part in (check, last):
        if part is None:
            continue
        if part.class_names != train.class_names:
            names = part.class_names
            fail("data", f"of the classes {train.class_names}", names)
        if part.target_names != train.target_names:
            names = part.target_names
            fail("data", f"of the numbers {train.target_names}", names)
    train = _apart(train, [check, last], on_leak)
    check = None if check is None else _apart(check, [last], on_leak)
    if last is None and test:
        train, _, last = split_set(train, validation=0.0, test=test, seed=seed)
    if check is None and validation:
        train, check, _ = split_set(train, validation=validation, test=0.0, seed=seed)
    return Splits(train, check, last)


def _readable(part: Examples | None, on_bad: str) -> Examples | None:
    """A part without the files that cannot be decoded, where these are to be skipped.

    By default nothing is decoded here: who decodes them for training names them.
    """
    if on_bad == "error" or part is None or part.paths is None:
        return part
    return part.subset(without_bad(inspect_files(part.paths), on_bad))


def _apart(part: Examples, later: list[Examples | None], on_leak: str) -> Examples:
    """A part without the examples that a later part holds too."""
    held = [other.digests() for other in later if other is not None]
    if not held:
        return part
    leaking = np.isin(part.digests(), np.concatenate(held))
    if not leaking.any():
        return part
    named = [part.describe(int(i)) for i in np.flatnonzero(leaking)[:5]]
    if on_leak == "error":
        hint = 'Remove the copies, or have them dropped with on_leak="drop".'
        fail("data", f"made of parts that share no {part.noun}", named, hint)
    count = int(leaking.sum())
    text = f"Dropped {counted(count, part.noun)} that a held-out part holds too"
    warn_user(text, named, count)
    return part.subset(np.flatnonzero(~leaking))


def as_image_set(inputs: Any, image_size: tuple[int, int], resize: str) -> ImageSet:
    """Whatever holds images, as an unlabelled `ImageSet`.

    Raises:
        ValueError: If there is no image.
        TypeError: If the inputs are of no known kind.
    """
    if isinstance(inputs, ImageSet):
        return inputs
    if hasattr(inputs, "shape"):
        inputs = np.asarray(inputs)
        # Paths in an array, or in a column of a table.
        inputs = inputs.tolist() if inputs.ndim == 1 else inputs
    if isinstance(inputs, np.ndarray):
        return ImageSet(_several(inputs), None, ())
    if isinstance(inputs, (str, Path)) or hasattr(inputs, "convert"):
        inputs = [inputs]
    kinds = "files, folders, arrays of pixels or PIL images"
    if not isinstance(inputs, Sequence):
        fail("inputs", kinds, type(inputs).__name__, error=TypeError)
    if not inputs:
        fail("inputs", kinds, inputs)
    if all(isinstance(item, (str, Path)) for item in inputs):
        return ImageSet(_files(inputs), None, ())
    resized = [
        resize_images(pixels[None], image_size=image_size, resize=resize)
        for pixels in (as_pixels(item, "inputs") for item in inputs)
    ]
    return ImageSet(np.concatenate(resized), None, ())


def _several(array: np.ndarray) -> np.ndarray:
    """An array of images, of one or of several."""
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3:
        return array
    first, *middle, last = array.shape
    if last in (1, 3, 4):
        return array[None]
    one = ""
    if first in (3, 4):
        one = "images.transpose(1, 2, 0)"
    elif last < middle[0] and channels_fit((1, *array.shape)):
        one = "images[None]"
    if one:
        hint = f"Pass {one} for one image of {min(first, last)} channels, or "
        hint += f"images[..., None] for {first} gray ones."
        fail("inputs", "of a shape that has one reading", array.shape, hint)
    if first > 1:
        size = f"{middle[0]} x {last}"
        warn(
            f"An array of shape {array.shape} is read as {first} gray images of {size} "
            "pixels: pass images[..., None] to say so."
        )
    return array


def _files(inputs: Sequence[str | Path]) -> tuple[str, ...]:
    """The image files among files and folders, in order."""
    found: list[str] = []
    for given in inputs:
        item = Path(given)
        # Path takes no name, as of an unset variable, for the working folder.
        if item.is_dir() and str(given):
            inside, said = list_files(item)
            for line in said:
                warn(line)
            if not inside:
                fail("inputs", "folders with images inside", str(item))
            found += map(str, inside)
        elif item.is_file():
            found.append(str(item))
        else:
            hint = "Check the spelling and the working folder."
            fail("inputs", "files that exist", str(given), hint, FileNotFoundError)
    return tuple(found)


_NAMED = 5


def training_images(data: Examples | Splits | str | Path | Any) -> Examples:
    """The training part of whatever says where the images or texts are, one label each.

    Args:
        data: An `ImageSet`, `Splits`, a folder, or a data set's name.

    Raises:
        ValueError: If images have no label or several.
        TypeError: If the data are of no known kind.
    """
    if not isinstance(data, Examples):
        data = open_data(data, validation=0.0).train
    if data.labels is None or data.dense or data.labels.ndim != 1:
        fail("data", f"{data.noun}s with one label each", data)
    return data


def stratified_sample(
    whole: Examples, *, images: int, per_class: int, seed: int
) -> Examples:
    """At most `images` of a set, in the proportions of its classes, without copies.

    A copy would let a leave-one-out probe remember instead of recognise.

    Args:
        whole: Images with one label each.
        images: How many at most.
        per_class: Images that each class must have, and keeps.
        seed: Non-negative integer.

    Raises:
        ValueError: If there are too few classes, or too few images of one.
    """
    check_integer("images", images, 1)
    check_integer("seed", seed, 0)
    _check_classes(whole, per_class)
    classes = int((np.bincount(whole.labels) > 0).sum())
    if images < per_class * classes:
        expected = f"at least {per_class * classes}, {per_class} for each class"
        fail("images", expected, images)
    order = np.random.default_rng(seed).permutation(len(whole))
    keys = np.empty(len(whole))
    for label in np.unique(whole.labels):
        mine = order[whole.labels[order] == label]
        # Places spread evenly over 0 to 1: any share of them is the same of each class.
        keys[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
        keys[mine[:per_class]] = -1.0
    chosen = np.sort(order[np.argsort(keys[order], kind="stable")[:images]])
    sample = whole.subset(chosen)
    _, first = np.unique(sample.digests(), return_index=True)
    sample = sample.subset(np.sort(first))
    _check_classes(sample, per_class)
    return sample


def _check_classes(images: Examples, per_class: int) -> None:
    """Raise unless there are two classes, and enough different images of each."""
    counts = {name: count for name, count in images.counts().items() if count}
    if len(counts) < 2:
        fail("data", f"{images.noun}s of at least two classes", list(counts))
    short = {name: count for name, count in counts.items() if count < per_class}
    if short:
        shown = dict(list(short.items())[:_NAMED])
        hint = f"Add {images.noun}s of that class, or leave it out."
        expected = f"at least {per_class} different {images.noun}s of each class"
        fail("data", expected, shown, hint)
