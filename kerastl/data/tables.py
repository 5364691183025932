"""Tables of image files with what is asked of each: class names or numbers."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import check_choice, fail, nearest, warn
from kerastl._progress import Progress
from kerastl.data.images import promised_formats
from kerastl.data.loading import (
    cut_whole,
    empty_looking,
    existing_folder,
    inspect_files,
    without_bad,
)
from kerastl.data.sets import (
    ImageSet,
    Splits,
    check_shares,
    integer_codes,
    joined,
    natural_key,
)

_NAMED = 5
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def load_table(
    table: Any,
    *,
    images: str | None = None,
    targets: str | Sequence[str] | None = None,
    labels: str | None = None,
    folder: str | Path | None = None,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    on_bad: str = "error",
    progress: Progress | None = None,
) -> Splits:
    r"""A table of image files, with numbers or class names, as splits.

    Rows with equal bytes of an image never lie in two parts; where they disagree in
    what is asked, they are dropped with a warning.

    Args:
        table: A CSV (or TSV) file with a header, or a DataFrame.
        images: The column of file names; None: the one column that names image files.
        targets: Columns of numbers, for regression. Without `labels` and `targets`
            all other columns are, if they hold numbers; or the only other one is
            `labels`.
        labels: The column of class names, for classification.
        folder: What the file names are relative to; None: the table's folder, or the
            working folder of a DataFrame.
        validation: Share to choose by, in [0, 1); of each class, where there are such.
        test: Share to score at the end, in [0, 1).
        seed: Non-negative integer; the same seed gives the same splits.
        on_bad: `"error"` names files that cannot be decoded, `"skip"` leaves them
            out with a warning.
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
    columns, place, name = _read(table)
    images, targets, labels = _chosen(columns, images, targets, labels)
    root = place if folder is None else existing_folder(folder)
    paths = [str(root / str(file)) for file in columns[images]]
    _check_files(paths, images)
    # Before the images are read: a wrong column is told at once.
    asked = _asked(columns, targets, labels)
    records = inspect_files(paths, progress=progress)
    good = without_bad(records, on_bad, "table")
    whole = ImageSet(tuple(paths), name=name, **asked).subset(good)
    for line in empty_looking([(records[i], name) for i in good]):
        warn(line)
    contents = np.array([records[i].digest for i in good])
    clusters = joined(contents, integer_codes(whole.paths))
    return cut_whole(whole, contents, clusters, validation, test, seed)


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
    targets: str | Sequence[str] | None,
    labels: str | None,
) -> tuple[str, tuple[str, ...], str | None]:
    """The columns of file names, of numbers, and of class names, guessed if need be."""
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
    if targets is None and labels is None:
        others = [name for name in columns if name != images]
        if others and all(_number(columns[name][0]) is not None for name in others):
            targets = others
        elif len(others) == 1:
            labels = others[0]
        else:
            hint = f"Its columns are {list(columns)}."
            fail("targets", "given, or `labels`, for this table", None, hint)
    targets = (targets,) if isinstance(targets, str) else tuple(targets or ())
    for option, names in (("images", [images]), ("targets", targets)):
        _check_columns(option, names, columns)
    _check_columns("labels", [] if labels is None else [labels], columns)
    return images, targets, labels


def _check_columns(option: str, names: Sequence[str], columns: Any) -> None:
    for name in names:
        if name not in columns:
            listed = f"a column of the table: {', '.join(map(repr, columns))}"
            fail(option, listed, name, nearest(str(name), columns))


def _check_files(paths: Sequence[str], column: str) -> None:
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        hint = f"{len(missing)} of {len(paths)} do not exist. "
        hint += "Say what the names are relative to with `folder`."
        expected = f"a column of files that exist ({column!r})"
        fail("images", expected, missing[:_NAMED], hint, FileNotFoundError)


def _asked(
    columns: Mapping[str, list[Any]], targets: tuple[str, ...], labels: str | None
) -> dict[str, Any]:
    """Labels with the names of classes, or numbers with theirs."""
    if labels is not None:
        given = [_class_name(value) for value in columns[labels]]
        names = tuple(sorted(set(given), key=natural_key))
        if "" in names:
            row = given.index("") + 1
            fail("labels", "a class name in each row", f"none in row {row}")
        if len(names) < 2:
            fail("labels", "of at least two classes", names)
        places = {name: place for place, name in enumerate(names)}
        return {"labels": [places[name] for name in given], "class_names": names}
    numbers = []
    for name in targets:
        column = [_number(value) for value in columns[name]]
        wrong = [
            f"row {row}: {value!r}"
            for row, value in enumerate(columns[name], 1)
            if column[row - 1] is None
        ]
        if wrong:
            fail("targets", f"columns of numbers ({name!r})", wrong[:_NAMED])
        numbers.append(column)
    return {"labels": np.array(numbers).T, "target_names": targets}


def _class_name(value: Any) -> str:
    """A class name; empty for the None or NaN of an empty cell of a DataFrame."""
    empty = value is None or (isinstance(value, float) and np.isnan(value))
    return "" if empty else str(value)


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
