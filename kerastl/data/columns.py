"""Columns of tables: where they are read from, and what their cells ask for."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import fail, nearest, warn
from kerastl.data.folders import few, part_of
from kerastl.data.sets import integer_codes, natural_key

_NAMED = 5
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
#: Characters of a cell: far more than any document, and less than Python allows.
_LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True)
class Table:
    """A table that was read.

    Attributes:
        columns: Name -> cells, one a row.
        folder: What file names in it are relative to.
        name: What to call it.
    """

    columns: dict[str, list[Any]]
    folder: Path
    name: str


def is_table(data: Any) -> bool:
    """Whether these data are a table: a DataFrame, or a file with such an ending."""
    if isinstance(data, (str, Path)):
        return Path(data).suffix.lower() in (*_DELIMITERS, *_JSON_LINES)
    return isinstance(data, Table) or (
        hasattr(data, "columns") and hasattr(data, "iloc")
    )


def read_table(table: Any, encoding: str = "utf-8") -> Table:
    """A .csv, .tsv or .jsonl file, or a DataFrame, as columns of cells.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If its rows are uneven, its text is not in that encoding, or it has
            no row.
        TypeError: If it is no table.
    """
    if isinstance(table, Table):
        return table
    if not is_table(table):
        kinds = "a .csv, .tsv or .jsonl file, or a DataFrame"
        given = table if isinstance(table, (str, Path)) else type(table).__name__
        fail("table", kinds, given, error=TypeError)
    if not isinstance(table, (str, Path)):
        columns = {str(name): table[name].tolist() for name in table.columns}
        return Table(_filled(columns, "table"), Path(), "table")
    path = Path(table).expanduser()
    if not path.is_file():
        hint = f"{str(path.absolute())!r} does not exist."
        fail("table", "an existing file", str(table), hint, FileNotFoundError)
    text = read_text(path, encoding)
    if path.suffix.lower() in _JSON_LINES:
        columns = _json_columns(text, str(table))
    else:
        columns = _csv_columns(text, str(table), _DELIMITERS[path.suffix.lower()])
    return Table(_filled(columns, str(table)), path.parent, path.stem)


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """A file's text, without the mark that some programs put before it."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        other = "cp1252" if encoding.lower().startswith("utf") else "utf-8"
        hint = (
            f"Its line {line} is in another, perhaps {other}: save it as UTF-8; "
            f"load_texts also takes encoding={other!r}."
        )
        fail("table", f"text in {encoding.upper()} throughout", str(path), hint)
    except LookupError:
        fail("encoding", "an encoding that Python knows, such as 'cp1252'", encoding)
    return text.removeprefix("\ufeff")


def _csv_columns(text: str, name: str, delimiter: str) -> dict[str, list[Any]]:
    quoting = csv.QUOTE_MINIMAL
    if delimiter == "\t" and not _is_quoted(text):
        # Such files seldom quote, and texts begin with quotation marks.
        quoting = csv.QUOTE_NONE
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        lines = io.StringIO(text, newline="")
        rows = list(csv.reader(lines, delimiter=delimiter, quoting=quoting))
    except csv.Error as error:
        fail("table", "CSV text", name, f"{error}.")
    finally:
        csv.field_size_limit(limit)
    rows = [row for row in rows if row]
    header = rows[0] if rows else []
    uneven = [n for n, row in enumerate(rows, 1) if len(row) != len(header)]
    if uneven:
        expected = f"of rows with {len(header)} fields, as its header"
        fail("table", expected, f"other rows: {uneven[:_NAMED]}")
    if len(set(header)) != len(header):
        fail("table", "of columns with different names", header)
    return {name: [row[n] for row in rows[1:]] for n, name in enumerate(header)}


def _is_quoted(text: str) -> bool:
    """Whether each field that begins with a quotation mark is a quoted one."""
    fields = re.findall(r'(?m)(?:^|\t)"([^\t\n]*)', text)
    whole = [re.fullmatch(r'(?:[^"]|"")*"\r?', field) for field in fields]
    return bool(fields) and all(whole)


def _json_columns(text: str, name: str) -> dict[str, list[Any]]:
    """Objects, one a line, as columns of the same names in each."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            hint = f"Line {number}: {error.msg}."
            fail("table", "one JSON object a line", name, hint)
        if not isinstance(row, dict):
            hint = f"Line {number} holds {type(row).__name__}."
            fail("table", "one JSON object a line", name, hint)
        if rows and row.keys() != rows[0].keys():
            odd = sorted(row.keys() ^ rows[0].keys())
            fail("table", "of objects with the same names", f"line {number}: {odd}")
        rows.append(row)
    return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}


def _filled(columns: dict[str, list[Any]], name: str) -> dict[str, list[Any]]:
    if not columns or not next(iter(columns.values())):
        fail("table", "a header and at least one row", name)
    return columns


def guessed_columns(
    columns: Mapping[str, list[Any]], others: list[str]
) -> tuple[list[str] | None, list[str] | None]:
    """Which of the columns that nobody named are targets, or labels."""
    values = {n: [as_number(value) for value in columns[n]] for n in others}
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


def check_columns(option: str, names: Any, columns: Any) -> tuple[str, ...]:
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


def say_parts(columns: Mapping[str, list[Any]], others: list[str]) -> None:
    """A line on a column that names parts and that nobody named."""
    for name in others:
        values = {str(value) for value in columns[name]}
        if "train" in map(_part, values) and all(map(_part, values)):
            warn(f"Column {name!r} names parts and is not used: pass split={name!r}.")


def _part(value: Any) -> str:
    part, rest = part_of(str(value).strip())
    return "" if rest else part


def part_column(columns: Mapping[str, list[Any]], split: str | None) -> np.ndarray:
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


def key_column(columns: Mapping[str, list[Any]], groups: str | None) -> np.ndarray:
    """The group of each row; each its own without a column of them."""
    if groups is None:
        return np.arange(len(next(iter(columns.values()))))
    keys = [_class_name(value) for value in columns[groups]]
    if "" in keys:
        fail("groups", "a key in each row", f"none in row {keys.index('') + 1}")
    return integer_codes(keys)


def asked_of(
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
        column = [as_number(value) for value in columns[name]]
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
        read = [words.get(str(cell).strip().lower(), as_number(cell)) for cell in cells]
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


def as_number(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
