"""Tables of image files with what is asked of each: class names or numbers."""

import csv
import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import check_choice, fail, nearest, warn
from kerastl._progress import Progress
from kerastl.data.decoding import promised_formats
from kerastl.data.folders import few, part_of
from kerastl.data.loading import (
    brought,
    cut_whole,
    empty_looking,
    existing_folder,
    inspect_files,
    without_bad,
)
from kerastl.data.sets import ImageSet, Splits, integer_codes, joined, natural_key
from kerastl.data.splitting import check_shares

#: The options that say how a table is read.
COLUMNS = ("images", "targets", "labels", "separator", "groups", "split", "folder")
_NAMED = 5
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


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
        table: A CSV (or TSV) file with a header, or a DataFrame.
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
    columns, place, name = _read(table)
    images, targets, labels = _chosen(columns, images, targets, labels, groups, split)
    root = place if folder is None else existing_folder(folder)
    paths = [str(root / str(file)) for file in columns[images]]
    _check_files(paths, images)
    # Before the images are read: a wrong column is told at once.
    asked = _asked(columns, targets, labels, separator)
    keys, where = _keys(columns, groups), _where(columns, split)
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


def is_table(data: Any) -> bool:
    """Whether these data are a table: a DataFrame, or a file with such an ending."""
    if isinstance(data, (str, Path)):
        return Path(data).suffix.lower() in _DELIMITERS
    return hasattr(data, "columns") and hasattr(data, "iloc")


def _read(table: Any) -> tuple[dict[str, list[Any]], Path, str]:
    """Columns by name, the folder that file names are relative to, and a name."""
    if not is_table(table):
        kinds = "a .csv or .tsv file, or a DataFrame"
        given = table if isinstance(table, (str, Path)) else type(table).__name__
        fail("table", kinds, given, error=TypeError)
    if not isinstance(table, (str, Path)):
        columns = {str(name): table[name].tolist() for name in table.columns}
        return _filled(columns, "table"), Path(), "table"
    path = Path(table).expanduser()
    if not path.is_file():
        hint = f"{str(path.absolute())!r} does not exist."
        fail("table", "an existing file", str(table), hint, FileNotFoundError)
    delimiter = _DELIMITERS[path.suffix.lower()]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error) as error:
        fail("table", "CSV text in UTF-8", str(table), f"{error}.")
    rows = [row for row in rows if row]
    header = rows[0] if rows else []
    uneven = [n for n, row in enumerate(rows, 1) if len(row) != len(header)]
    if uneven:
        expected = f"of rows with {len(header)} fields, as its header"
        fail("table", expected, f"other rows: {uneven[:_NAMED]}")
    if len(set(header)) != len(header):
        fail("table", "of columns with different names", header)
    columns = {name: [row[n] for row in rows[1:]] for n, name in enumerate(header)}
    return _filled(columns, str(table)), path.parent, path.stem


def _filled(columns: dict[str, list[Any]], name: str) -> dict[str, list[Any]]:
    if not columns or not next(iter(columns.values())):
        fail("table", "a header and at least one row", name)
    return columns


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
            _columns(option, [name], columns)
    others = [name for name in columns if name not in named.values()]
    if split is None:
        _say_parts(columns, others)
    if targets is None and labels is None:
        targets, labels = _guessed(columns, others)
    return (
        images,
        _columns("targets", targets, columns),
        _columns("labels", labels, columns),
    )


def _guessed(
    columns: Mapping[str, list[Any]], others: list[str]
) -> tuple[list[str] | None, list[str] | None]:
    """Which of the columns that nobody named are targets, or labels."""
    values = {n: [_number(value) for value in columns[n]] for n in others}
    if len(others) > 1 and all(set(each) <= {0, 1} for each in values.values()):
        return None, others
    if others and all(each[0] is not None for each in values.values()):
        for name, each in values.items():
            few_levels = len(set(each)) <= min(20, len(each) // 2)
            if few_levels and all(n is not None and n == round(n) for n in each):
                hint = f"pass labels={name!r} if it names classes."
                warn(f"Column {name!r} is read as a number to predict: {hint}")
        return others, None
    if len(others) != 1:
        hint = f"Its columns are {list(columns)}."
        fail("targets", "given, or `labels`, for this table", None, hint)
    return None, others


def _columns(option: str, names: Any, columns: Any) -> tuple[str, ...]:
    """The columns that an option names, all of them there."""
    if names is None:
        return ()
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, Sequence) or not names:
        kind = "a column's name or several"
        fail(option, kind, names, f"The table has {list(columns)}.", TypeError)
    for name in names:
        if name not in columns:
            listed = f"a column of the table: {', '.join(map(repr, columns))}"
            fail(option, listed, name, nearest(str(name), columns))
    return tuple(names)


def _say_parts(columns: Mapping[str, list[Any]], others: list[str]) -> None:
    """A line on a column that names parts and that nobody named."""
    for name in others:
        values = {str(value) for value in columns[name]}
        if "train" in map(_part, values) and all(map(_part, values)):
            warn(f"Column {name!r} names parts and is not used: pass split={name!r}.")


def _part(value: Any) -> str:
    part, rest = part_of(str(value).strip())
    return "" if rest else part


def _where(columns: Mapping[str, list[Any]], split: str | None) -> np.ndarray:
    """The part of each row; empty texts without a column that says so."""
    if split is None:
        return np.full(len(next(iter(columns.values()))), "")
    where = [_part(value) for value in columns[split]]
    if "" in where:
        parts = [part or None for part in where]
        kinds = "a column of train, validation and test"
        _check_cells("split", kinds, columns[split], parts)
    if "train" not in where:
        fail("split", "a column with rows of train", sorted(set(where)))
    return np.array(where)


def _keys(columns: Mapping[str, list[Any]], groups: str | None) -> np.ndarray:
    """The group of each row; each its own without a column of them."""
    if groups is None:
        return np.arange(len(next(iter(columns.values()))))
    keys = [_class_name(value) for value in columns[groups]]
    if "" in keys:
        fail("groups", "a key in each row", f"none in row {keys.index('') + 1}")
    return integer_codes(keys)


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


def _asked(
    columns: Mapping[str, list[Any]],
    targets: tuple[str, ...],
    labels: tuple[str, ...],
    separator: str | None,
) -> dict[str, Any]:
    """Labels with the names of classes, or numbers with theirs."""
    if separator is not None and (len(labels) != 1 or not separator):
        expected = "None but for one column of labels, or a text"
        fail("separator", expected, separator)
    if len(labels) > 1:
        return _flags(columns, labels)
    if labels:
        cells = [_class_name(value) for value in columns[labels[0]]]
        return _named(cells) if separator is None else _several(cells, separator)
    numbers = []
    for name in targets:
        column = [_number(value) for value in columns[name]]
        _check_cells("targets", f"columns of numbers ({name!r})", columns[name], column)
        numbers.append(column)
    return {"labels": np.array(numbers).T, "target_names": targets}


def _check_cells(
    option: str, expected: str, cells: Sequence[Any], read: Sequence[Any]
) -> None:
    wrong = [
        f"row {i}: {cell!r}" for i, cell in enumerate(cells, 1) if read[i - 1] is None
    ]
    if wrong:
        fail(option, expected, wrong[:_NAMED])


def _named(cells: list[str]) -> dict[str, Any]:
    """One class a row."""
    names = tuple(sorted(set(cells), key=natural_key))
    if "" in names:
        row = cells.index("") + 1
        fail("labels", "a class name in each row", f"none in row {row}")
    if len(names) < 2:
        fail("labels", "of at least two classes", names)
    for separator in "|;,":
        joint = [name for name in names if {*name.split(separator)} & {*names} - {name}]
        if joint:
            hint = f"pass separator={separator!r} if these are several classes."
            warn(f"Classes are named {few(joint)}: {hint}")
    places = {name: place for place, name in enumerate(names)}
    return {"labels": [places[name] for name in cells], "class_names": names}


def _several(cells: list[str], separator: str) -> dict[str, Any]:
    """Any number of classes a row, in one cell."""
    rows = [
        {name for each in cell.split(separator) if (name := each.strip())}
        for cell in cells
    ]
    if all(len(row) < 2 for row in rows):
        hint = "Leave it out where each image has one label."
        fail("separator", "found between the labels of a cell", separator, hint)
    names = tuple(sorted(set().union(*rows), key=natural_key))
    if len(names) < 2:
        fail("labels", "of at least two classes", names)
    flags = np.array([[name in row for name in names] for row in rows], np.int64)
    return {"labels": flags, "class_names": names}


def _flags(columns: Mapping[str, list[Any]], names: tuple[str, ...]) -> dict[str, Any]:
    """A column of 0 and 1 for each class."""
    flags = []
    for name in names:
        cells = columns[name]
        words = {"true": 1, "false": 0}
        read = [words.get(str(cell).strip().lower(), _number(cell)) for cell in cells]
        read = [value if value in (0, 1) else None for value in read]
        _check_cells("labels", f"columns of 0 and 1 ({name!r})", cells, read)
        flags.append(read)
    rows = np.array(flags, np.int64).T
    # One of them in each row is the same as a class name.
    one = (rows.sum(axis=1) == 1).all()
    return {"labels": rows.argmax(axis=1) if one else rows, "class_names": names}


def _class_name(value: Any) -> str:
    """A class name; empty for the None or NaN of an empty cell of a DataFrame."""
    empty = value is None or (isinstance(value, float) and np.isnan(value))
    return "" if empty else str(value).strip()


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
