"""Examples and their labels at hand, in pairs, as sets: one reading of both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import fail
from kerastl.data.decoding import promised_formats
from kerastl.data.dense import DenseLabels
from kerastl.data.sets import Examples, ImageSet, Splits, as_array
from kerastl.data.texts import TextSet

_NAMED = 5
#: Characters of a file's name at most.
_LONGEST_NAME = 1000


def parts_at_hand(data: Any) -> Splits | None:
    """Sets and pairs as parts; None for data of other kinds.

    Labels that are names, or integers without names, are the training part's classes;
    the other parts are read by these.

    Args:
        data: `Splits`; or a set, or `(examples, labels)`, or `(examples, labels,
            names)`; or two or three of these.

    Raises:
        ValueError: If lengths, labels or names do not agree.
        TypeError: If a part is of another kind.
        FileNotFoundError: If an example is the name of a file that does not exist.
    """
    if isinstance(data, Splits):
        parts = list(data)
    elif isinstance(data, Examples):
        parts = [data]
    elif not isinstance(data, (tuple, list)) or not data:
        return None
    elif len(data) <= 3 and (_holds_sets(data) or all(map(_is_pair, data))):
        parts = list(data)
    else:
        parts = [data]
    train, *others = parts
    first = _as_set(train)
    # Integers of a pair without names are what its classes are called.
    called = _are_indices(train)
    others = [_as_set(part, first, called) for part in others]
    return Splits(first, *others, *[None] * (2 - len(others)))


def _holds_sets(data: Sequence[Any]) -> bool:
    return any(isinstance(part, Examples) for part in data)


def _is_pair(item: Any) -> bool:
    """Whether it looks like examples and labels, with names or without, or is none."""
    if item is None:
        return True
    if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
        return False
    return has_rows(item[0]) and has_rows(item[1]) and len(item[0]) == len(item[1])


def has_rows(part: Any) -> bool:
    """Whether it may hold one thing for each example."""
    if isinstance(part, (str, bytes, Path, Mapping)) or hasattr(part, "convert"):
        return False
    return hasattr(part, "__len__") and getattr(part, "shape", None) != ()


def are_names(labels: np.ndarray) -> bool:
    """Whether labels are names; raises where some are and some are missing."""
    if labels.dtype.kind != "O":
        return labels.dtype.kind == "U" and labels.size > 0
    cells = labels.ravel().tolist()
    named = np.array([isinstance(label, str) for label in cells], bool)
    # Of a table's column, where an empty cell is a number that is none.
    missing = np.array([label is None or label != label for label in cells], bool)
    if named.any() and missing.any():
        rows = np.flatnonzero(missing)[:_NAMED].tolist()
        fail("labels", "a name for each example", f"none at {rows}")
    return bool(named.any())


def name_indices(
    labels: np.ndarray, names: Sequence[str], name: str, whose: str
) -> np.ndarray:
    """Class names as indices into `names`.

    Args:
        labels: Strings, `(n,)` or `(n, 1)`.
        names: The classes, in order.
        name: The argument's name, for the error.
        whose: Whose classes they are, as `"the model"`.

    Raises:
        ValueError: If a label is none of them.
    """
    if labels.ndim != 1 and labels.shape[1:] != (1,):
        fail(name, "labelled by one name an example", f"names of {labels.shape}")
    places = {each: place for place, each in enumerate(names)}
    given = labels.ravel().tolist()
    unknown = sorted({str(label) for label in given if label not in places})
    if unknown:
        hint = f"{whose[0].upper()}{whose[1:]}'s classes are {', '.join(names[:12])}."
        fail(name, f"of {whose}'s classes", unknown[:_NAMED], hint)
    return np.array([places[label] for label in given], np.int64)


def _are_indices(part: Any) -> bool:
    """Whether a part is a pair of examples and integers, without names."""
    if part is None or isinstance(part, Examples) or len(part) != 2:
        return False
    if isinstance(part[1], DenseLabels):
        return False
    labels = _labels(part[1])
    return labels.ndim == 1 and labels.dtype.kind in "iub"


def _labels(labels: Any) -> np.ndarray:
    """Labels as an array, a single column of them as a row."""
    labels = as_array(labels)
    return labels[:, 0] if labels.shape[1:] == (1,) else labels


def _as_set(part: Any, train: Examples | None = None, called: bool = False) -> Any:
    """One part: a set as it is, a pair as a set, the training part's names its own."""
    if isinstance(part, Examples) or (part is None and train is not None):
        return part
    if part is None or not _is_pair(part):
        _refuse(part)
    examples, labels, *names = part
    kind = TextSet if _are_texts(examples) else ImageSet
    if isinstance(labels, DenseLabels):
        return kind(examples, labels)
    labels = _labels(labels)
    if names:
        (names,) = names
        if not all(isinstance(name, str) for name in names):
            hint = "Weights of examples come in batches, as Keras takes them."
            fail("data", "(examples, labels, names)", "other names", hint, TypeError)
        numbers = len(names) == 1 or (labels.dtype.kind == "f" and not _hot(labels))
        field = "target_names" if numbers else "class_names"
        return kind(examples, labels, **{field: tuple(names)})
    if train is not None and train.target_names:
        return kind(examples, labels, target_names=train.target_names)
    if (called or _are_indices(part)) and labels.dtype.kind in "iub":
        return _called(kind, examples, labels, train)
    if train is not None:
        if are_names(labels):
            of = "the training part"
            labels = name_indices(labels, train.class_names, "data", of)
        return kind(examples, labels, train.class_names)
    return _with_own_names(kind, examples, labels)


def _called(kind: Any, examples: Any, labels: Any, train: Examples | None) -> Examples:
    """A set whose classes are called by their integers."""
    values = np.unique(labels)
    names = tuple(map(str, values.tolist())) if train is None else train.class_names
    called = np.array([str(label) for label in labels.tolist()], str)
    indices = name_indices(called, names, "data", "the training part")
    return kind(examples, indices, names)


def _with_own_names(kind: Any, examples: Any, labels: np.ndarray) -> Examples:
    """A training part whose labels bring their names, or have none."""
    if labels.ndim == 2 and labels.dtype.kind in "iub":
        return kind(examples, labels, tuple(map(str, range(labels.shape[1]))))
    if labels.dtype.kind == "f" and not _hot(labels):
        hint = 'Name what they measure: (images, numbers, ("age",)); or pass integers.'
        fail("data", "labelled by classes, or by numbers with names", "numbers", hint)
    are_names(labels)
    return kind(examples, labels)


def _hot(labels: np.ndarray) -> bool:
    """Whether they are rows of 0 and 1."""
    return labels.ndim == 2 and bool(np.isin(labels, (0, 1)).all())


def _are_texts(examples: Any) -> bool:
    """Whether examples are texts; raises for names of files that are not there."""
    first = next(iter(examples), None)
    if not isinstance(first, (str, Path)):
        return False
    known = Path(first).suffix.lower() in promised_formats()
    if isinstance(first, str) and not known and not _is_file(first):
        if any(len(text.split()) > 1 for text in examples if isinstance(text, str)):
            return True
        hint = "Of texts of one word each pass a TextSet."
        kinds = "image files that exist, or texts"
        fail("data", kinds, str(first), hint, FileNotFoundError)
    missing = [str(path) for path in examples if not _is_file(path)]
    if missing:
        hint = f"{len(missing)} of {len(examples)} do not exist."
        fail("data", "files that exist", missing[:_NAMED], hint, FileNotFoundError)
    return False


def _is_file(name: Any) -> bool:
    return len(str(name)) < _LONGEST_NAME and Path(name).is_file()


def _refuse(part: Any) -> None:
    """Say what a part must be."""
    kinds, error = "made of sets or of (examples, labels) pairs", ValueError
    if not isinstance(part, (tuple, list)):
        fail("data", kinds, type(part).__name__, error=TypeError)
    rows = len(part) in (2, 3) and has_rows(part[0]) and has_rows(part[1])
    if rows:
        kinds = "made of as many labels as examples"
        fail("data", kinds, f"{len(part[0])} examples, {len(part[1])} labels")
    shown = ", ".join(type(item).__name__ for item in part[:_NAMED])
    hint = "Pass (images, labels), or files with labels, or a folder."
    fail("data", kinds, f"({shown})", hint, error)
