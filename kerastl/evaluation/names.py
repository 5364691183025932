"""Class names, short enough for a table or a picture."""


def short_name(name: str, limit: int) -> str:
    """`name` on one line, its middle left out where it is longer than `limit`.

    Both ends stay: "American pit bull terrier" and its kin differ at either.

    Args:
        name: Any text.
        limit: Most characters, at least 3.

    Returns:
        A line of at most `limit` characters.

    Example:
        >>> short_name("Staffordshire bull terrier", 13)
        'Staffo…errier'
    """
    line = " ".join(str(name).split())
    if len(line) <= limit:
        return line
    tail = (limit - 1) // 2
    return f"{line[: limit - 1 - tail]}…{line[len(line) - tail :]}"


def plain_text(text: str) -> str:
    """`text` for Matplotlib, which reads `$...$` as a formula."""
    return text.replace("$", r"\$")
