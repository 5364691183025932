"""What commands print: JSON that every reader accepts, and aligned tables."""

import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerastl._json import json_line


@dataclass(frozen=True)
class Reply:
    """What a command has found.

    Attributes:
        record: For `--json`: a mapping, or what has `to_dict()`; None where the text
            is for scripts as it is.
        text: For people; None: what is printed of the record.
        rows: Printed as a table above the text.
    """

    record: Any
    text: str | None = None
    rows: Sequence[Mapping[str, Any]] | None = None

    def shown(self, *, as_json: bool, terminal: bool) -> str:
        """What to print."""
        if as_json and self.record is not None:
            known = isinstance(self.record, Mapping)
            return json_line(self.record if known else self.record.to_dict())
        text = str(self.record) if self.text is None else self.text
        if self.rows is None:
            return text
        return f"{table(self.rows, terminal=terminal)}\n{text}".rstrip("\n")


def say(line: str) -> None:
    """Write one line to standard error, under the program's name."""
    print(f"kerastl: {line}", file=sys.stderr, flush=True)


def cell_text(value: Any) -> str:
    """A table cell: numbers with separators, booleans as yes or a blank."""
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return " x ".join(str(item) for item in value)
    return str(value)


def table(rows: Sequence[Mapping[str, Any]], *, terminal: bool = False) -> str:
    """Rows that share their keys, as aligned columns under the keys.

    Args:
        rows: The rows.
        terminal: Whether a terminal shows it: names are bold then, and long cells
            are folded to its width.
    """
    if not rows:
        return "(none)"
    # Imported here: `kerastl --help` need not wait for it.
    from rich.console import Console
    from rich.table import Table

    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in rows[0]:
        values = [row[name] for row in rows]
        number = all(
            isinstance(value, int | float | None) and not isinstance(value, bool)
            for value in values
        )
        made.add_column(name.replace("_", " "), justify="right" if number else "left")
    for row in rows:
        made.add_row(*(cell_text(value) for value in row.values()))
    text = io.StringIO()
    width = None if terminal else 10_000
    Console(file=text, width=width, force_terminal=terminal, markup=False).print(made)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def percent(value: float | None) -> str:
    """A proportion in percent, or a dash when there is none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def size_text(size: float) -> str:
    """Bytes in the unit that leaves one to three digits before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
