"""Results that show themselves: a table in a notebook, a frame for pandas."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

#: Side of a small picture, in pixels.
THUMBNAIL = 128
#: Rows that a notebook shows.
_LISTED = 50


class Tabular:
    """A result that is rows: a table in notebooks, and a DataFrame where asked for.

    The rows are those of `rows`, else what iterating gives; a class may say others.
    """

    def to_frame(self) -> "pandas.DataFrame":
        """The rows as a table of pandas.

        Raises:
            ImportError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            words = "`to_frame` needs pandas. Install it: pip install pandas."
            raise ImportError(words) from error
        return pandas.DataFrame(self.to_rows())

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row, all with the same keys."""
        rows: Any = getattr(self, "rows", self)
        rows = rows() if callable(rows) else rows
        return [dict(row if isinstance(row, Mapping) else vars(row)) for row in rows]

    def _heading(self) -> str:
        """What stands above the rows in a notebook: the first line that is printed."""
        printed = type(self).__str__ is not object.__str__
        return str(self).partition("\n")[0] if printed else ""

    def _repr_html_(self) -> str:
        """The result in a notebook."""
        return self._html(self._heading())

    def _html(self, heading: str) -> str:
        """The first rows under a heading."""
        rows = self.to_rows()
        more = len(rows) - _LISTED
        said = f"<pre>{plain(heading)}</pre>" if heading else ""
        end = f"<p>and {more} more</p>" if more > 0 else ""
        return f"{said}{table(rows[:_LISTED])}{end}"


def singles(values: Mapping[str, Any]) -> dict[str, Any]:
    """What fits a cell: the values that are no lists and no mappings."""
    return {k: v for k, v in values.items() if not isinstance(v, (list, dict))}


def plain(value: Any) -> str:
    """Anything as text that stays text: `<img onerror=...>` is shown, and does nothing.

    Example:
        >>> plain("<b> & 'c'")
        '&lt;b&gt; &amp; &#x27;c&#x27;'
    """
    # Characters that draw nothing, or turn the line around, would hide what is there.
    shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(value))
    return html.escape(shown)


def cell(value: Any) -> str:
    """A value as a cell shows it: shares and numbers short, nothing as a dash."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value))
    return plain(value)


def table(
    rows: Sequence[Mapping[str, Any]], *, caption: str = "", sortable: bool = False
) -> str:
    """Rows that share their keys, as a table under the keys.

    Args:
        rows: The rows; none gives an empty text.
        caption: Said above it.
        sortable: Whether a script of the page may sort it by a column.
    """
    if not rows:
        return ""
    head = "".join(
        f'<th scope="col"{_kind(value)}>{plain(name.replace("_", " "))}</th>'
        for name, value in rows[0].items()
    )
    body = "".join(f"<tr>{''.join(map(_cell, row.values()))}</tr>\n" for row in rows)
    title = f"<caption>{plain(caption)}</caption>" if caption else ""
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<div class="wide"><table{kind}>{title}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    data = f' data-value="{value}"' if _kind(value) else ""
    return f"<td{_kind(value)}{data}>{cell(value)}</td>"


def _kind(value: Any) -> str:
    """The class of a number's cell, and of the title above it."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return ' class="number"' if number else ""


def picture(pixels: np.ndarray, text: str, *, side: int = THUMBNAIL) -> str:
    """A small copy of an image inside the page.

    Args:
        pixels: 0-255, `(h, w)` or `(h, w, channels)`; of other than 1, 3 or 4 channels
            their mean is shown.
        text: What it shows, for those who cannot see it.
        side: Its longer side at most, in pixels.
    """
    from PIL import Image

    array = np.clip(np.asarray(pixels, np.float32), 0, 255)
    if array.ndim == 3 and array.shape[2] not in (3, 4):
        array = array.mean(axis=-1)
    image = Image.fromarray(array.round().astype(np.uint8)).convert("RGB")
    image.thumbnail((side, side))
    kind = "PNG" if max(image.size) <= 48 else "JPEG"
    held = io.BytesIO()
    image.save(held, kind)
    data = base64.b64encode(held.getvalue()).decode("ascii")
    width, height = image.size
    return (
        f'<img src="data:image/{kind.lower()};base64,{data}" alt="{plain(text)}" '
        f'width="{width}" height="{height}">'
    )
