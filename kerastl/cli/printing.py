"""What commands print: JSON that every reader accepts, and aligned tables."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def finite(value: Any) -> Any:
    """`value` with NaN and infinity replaced by None: JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def json_line(value: Mapping[str, Any]) -> str:
    """One JSON object on one line."""
    return json.dumps(finite(value), ensure_ascii=False, allow_nan=False)


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


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows that share their keys, as aligned columns under the keys."""
    if not rows:
        return "(none)"
    columns = list(rows[0])
    lines = [[name.replace("_", " ") for name in columns]]
    lines += [[cell_text(row[name]) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [
        all(isinstance(row[name], int | float | None) for row in rows)
        and not any(isinstance(row[name], bool) for row in rows)
        for name in columns
    ]
    return "\n".join(
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def percent(value: float | None) -> str:
    """A proportion in percent, or a dash when there is none."""
    return "-" if value is None else f"{100 * value:.1f} %"
