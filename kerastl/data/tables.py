"""Tables of image files with what is asked of each: class names or numbers."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import check_choice, fail, warn
from kerastl._progress import Progress
from kerastl.data.columns import (
    asked_of,
    check_columns,
    guessed_columns,
    key_column,
    part_column,
    read_table,
    say_parts,
)
from kerastl.data.decoding import promised_formats
from kerastl.data.folders import few
from kerastl.data.loading import (
    brought,
    cut_whole,
    empty_looking,
    existing_folder,
    inspect_files,
    without_bad,
)
from kerastl.data.sets import ImageSet, Splits, integer_codes, joined
from kerastl.data.splitting import check_shares

#: The options that say how a table is read.
COLUMNS = ("images", "text", "targets", "labels", "separator", "groups", "split")
COLUMNS += ("folder",)
_NAMED = 5


def load_table(
    table: Any,
    *,
    images: str | None = None,
    targets: str | Sequence[str] | None = None,
    labels: str | Sequence[str] | None = None,
    separator: str | None = None,
    groups: str | None = None,
    split: str | None = None,
    folder: str | Path | None = None,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    on_bad: str = "error",
    on_leak: str = "drop",
    progress: Progress | None = None,
) -> Splits:
    r"""A table of image files, with numbers or class names, as splits.

    Rows with equal bytes of an image never lie in two parts; where they disagree in
    what is asked, they are dropped with a warning. A row that says the same of the same
    file again counts once.

    Args:
        table: A CSV (or TSV) file with a header, a JSONL file, or a DataFrame.
        images: The column of file names; None: the one column that names image files.
        targets: Columns of numbers, for regression. Without `labels` and `targets`
            all other columns are, if they hold numbers; or the only other one is
            `labels`.
        labels: The column of class names, for classification; or several columns of 0
            and 1, one a class, of which a row may hold several.
        separator: What stands between the class names in a cell of `labels`, where an
            image may have several, as `"|"`; an empty cell has none.
        groups: Column of what must stay in one part: a patient, a video.
        split: Column that says which part a row is in: train, validation (val, dev) or
            test.
        folder: What the file names are relative to; None: the table's folder, or the
            working folder of a DataFrame.
        validation: Share to choose by, in [0, 1), where no `split` says; of each class,
            where there are such.
        test: Share to score at the end, in [0, 1), where there is no `split`.
        seed: Non-negative integer; the same seed gives the same splits.
        on_bad: `"error"` names files that cannot be decoded, `"skip"` leaves them
            out with a warning.
        on_leak: As in `load_images`, for the parts of `split`.
        progress: Called with (done, total) files, or None.

    Returns:
        Train, validation and test; a part that is not there is None.

    Raises:
        FileNotFoundError: If the table, the folder or a file does not exist.
        ValueError: If a column is missing, a number is none, or a file cannot be
            decoded.
        TypeError: If it is no table.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> lines = ["file,age"]
        >>> for age in range(10):
        ...     Image.effect_noise((8, 8), 90).save(root / f"{age}.png")
        ...     lines.append(f"{age}.png,{age}")
        >>> _ = (root / "people.csv").write_text("\n".join(lines))
        >>> train, validation, _ = load_table(root / "people.csv", targets="age")
        >>> train.target_names, len(train), len(validation)
        (('age',), 8, 2)
    """
    check_shares(validation, test, seed)
    check_choice("on_bad", on_bad, ("error", "skip"))
    check_choice("on_leak", on_leak, ("drop", "error"))
    table = read_table(table)
    columns, place, name = table.columns, table.folder, table.name
    images, targets, labels = _chosen(columns, images, targets, labels, groups, split)
    root = place if folder is None else existing_folder(folder)
    paths = [str(root / str(file)) for file in columns[images]]
    _check_files(paths, images)
    # Before the images are read: a wrong column is told at once.
    asked = asked_of(columns, targets, labels, separator)
    keys, where = key_column(columns, groups), part_column(columns, split)
    records = inspect_files(paths, progress=progress)
    good = without_bad(records, on_bad, "table")
    whole = ImageSet(tuple(paths), name=name, **asked)
    good = good[_first(whole.subset(good), keys[good], where[good])]
    whole, where = whole.subset(good), where[good]
    for line in empty_looking([(records[i], name) for i in good]):
        warn(line)
    contents = np.array([records[i].digest for i in good])
    clusters = joined(contents, integer_codes(whole.paths), keys[good])
    if split is None:
        return cut_whole(whole, contents, clusters, validation, test, seed)
    parts = whole, contents, clusters, where
    return brought(*parts, validation, seed, on_leak, name="table")


def _chosen(
    columns: Mapping[str, list[Any]],
    images: str | None,
    targets: Any,
    labels: Any,
    groups: str | None,
    split: str | None,
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The columns of file names, of numbers, and of classes, guessed if need be."""
    if targets is not None and labels is not None:
        fail("labels", "None where `targets` are given", labels)
    if images is None:
        found = [
            name
            for name, column in columns.items()
            if Path(str(column[0])).suffix.lower() in promised_formats()
        ]
        if len(found) != 1:
            hint = ""
            if len(columns) == 1:
                hint = "One column only: are fields separated by commas (.tsv: tabs)?"
            fail("images", f"one of the columns {list(columns)}", images, hint)
        images = found[0]
    named = {"images": images, "groups": groups, "split": split}
    for option, name in named.items():
        if name is not None:
            check_columns(option, [name], columns)
    others = [name for name in columns if name not in named.values()]
    if split is None:
        say_parts(columns, others)
    if targets is None and labels is None:
        targets, labels = guessed_columns(columns, others)
    return (
        images,
        check_columns("targets", targets, columns),
        check_columns("labels", labels, columns),
    )


def _first(whole: ImageSet, keys: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The rows but those that say what an earlier one has said."""
    rows: dict[Any, int] = {}
    single = len(set(keys.tolist())) == len(keys)
    for i, path in enumerate(whole.paths):
        key = None if single else int(keys[i])
        rows.setdefault((path, whole.labels[i].tobytes(), where[i], key), i)
    kept = sorted(rows.values())
    if len(kept) < len(whole):
        again = sorted(set(range(len(whole))) - set(kept))
        named = few(whole.paths[i] for i in again)
        warn(f"Rows that say the same of a file again count once: {named}.")
    return np.array(kept, int)


def _check_files(paths: Sequence[str], column: str) -> None:
    missing = [path for path in paths if not Path(path).is_file()]
    if not missing:
        return
    hint = f"{len(missing)} of {len(paths)} do not exist. "
    first = Path(missing[0])
    near = [each.suffix for each in first.parent.glob(f"{glob.escape(first.name)}.*")]
    if near:
        hint += f"With the ending {near[0]!r} the first does: write it into the table."
    else:
        hint += "Say what the names are relative to with `folder`."
    expected = f"a column of files that exist ({column!r})"
    fail("images", expected, missing[:_NAMED], hint, FileNotFoundError)
