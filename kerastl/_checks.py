"""Argument checks: one error sentence for the whole library."""

import contextlib
import difflib
import inspect
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NoReturn


def fail(
    name: str,
    expected: str,
    value: Any,
    hint: str = "",
    error: type[Exception] = ValueError,
) -> NoReturn:
    """Raise the library's one argument error: expected, received, way out.

    Args:
        name: The argument's name, as the caller wrote it.
        expected: What it must be, to complete the words "must be".
        value: What came. Pass a shape or a count rather than an array.
        hint: The way out, one sentence.
        error: The class to raise.

    Raises:
        error: Always.
    """
    message = f"`{name}` must be {expected}. Received: {name}={value!r}."
    raise error(f"{message} {hint}".rstrip())


#: Frames that no user wrote: the package's, and those of its context managers.
_OURS = (f"{Path(__file__).parent}{os.sep}", contextlib.__file__)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's code that called into the library.

    Args:
        message: What is the matter, and the way out.
        category: The class of the warning.
    """
    # Python 3.12 has `skip_file_prefixes` for this.
    frame, level = inspect.currentframe().f_back, 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def passed_on(given: Mapping[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """The options of another function among one's own: `passed_on(locals(), other)`."""
    parameters = inspect.signature(function).parameters.values()
    options = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    return {name: given[name] for name in options if name in given}


def nearest(value: str, choices: Iterable[str]) -> str:
    """`"Did you mean 'x'?"` for the choice most like `value`, or an empty string."""
    folded = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(str(value).lower(), folded, n=1, cutoff=0.5)
    return f"Did you mean {folded[found[0]]!r}?" if found else ""


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise unless `value` is one of the strings in `choices`."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        fail(name, f"one of {listed}", value, nearest(str(value), choices))


#: What every generator of NumPy, scikit-learn and JAX takes for a seed.
_SEEDS = 2**32 - 1


def check_integer(name: str, value: Any, minimum: int) -> None:
    """Raise unless `value` is an integer of at least `minimum` that backends hold."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        fail(name, "an integer", value, error=TypeError)
    if value < minimum:
        fail(name, f"at least {minimum}", value)
    most = _SEEDS if name == "seed" else 2**63 - 1
    if value > most:
        fail(name, f"at most {most}", value)


#: Backends compute with no larger numbers.
_FLOAT32 = 3e38


def check_number(
    name: str,
    value: Any,
    minimum: float = float("-inf"),
    maximum: float = float("inf"),
    *,
    above: float = float("-inf"),
    below: float = float("inf"),
) -> None:
    """Raise unless `minimum <= value <= maximum` and `above < value < below`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        fail(name, "a number", value, error=TypeError)
    if abs(value) > _FLOAT32:
        fail(name, f"finite, of at most {_FLOAT32:.1g}", value)
    if minimum <= value <= maximum and above < value < below:
        return
    limits = [
        f"{word} {limit:g}"
        for word, limit in (
            ("at least", minimum),
            ("above", above),
            ("at most", maximum),
            ("below", below),
        )
        if abs(limit) != float("inf")
    ]
    fail(name, " and ".join(limits) or "a finite number", value)


def image_size_pair(name: str, value: Any) -> tuple[int, int]:
    """`(height, width)` in pixels from one integer or a pair of them."""
    pair = (value, value) if isinstance(value, Integral) else value
    if (
        isinstance(value, bool)
        or not isinstance(pair, (tuple, list))
        or len(pair) != 2
        or not all(isinstance(side, Integral) and side > 0 for side in pair)
    ):
        fail(name, "a positive integer or a (height, width) pair of them", value)
    return int(pair[0]), int(pair[1])
