"""JSON as every reader takes it: no nan, no infinity, numbers as they are printed."""

import json
import math
from collections.abc import Mapping
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


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as `kerastl predict` prints it: six digits after the point."""
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in row.items()
    }
