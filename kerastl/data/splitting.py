"""Sets cut into train, validation and test: by class, and copies kept together."""

from collections.abc import Sequence

import numpy as np

from kerastl._checks import check_integer, check_number, fail
from kerastl.data.sets import (
    Examples,
    Splits,
    conflicts,
    counted,
    integer_codes,
    joined,
    keep_mask,
    warn_user,
)

_NAMED = 10
_ATTEMPTS = 20
_GOOD_ENOUGH = 0.02


def split_set(
    image_set: Examples,
    *,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    groups: Sequence[object] | None = None,
) -> Splits:
    """An image set cut into train, validation and test.

    Copies of one image never straddle two parts; copies under different labels
    are dropped with a warning, since nobody can say which label is right.

    Args:
        image_set: What to cut.
        validation: Share of each class for validation, in [0, 1).
        test: Share of each class for test, in [0, 1).
        seed: Non-negative integer; the same seed gives the same parts.
        groups: One key for each image; images of one key stay together.

    Returns:
        The parts; one with share 0 is None. Each class is in each part.

    Raises:
        ValueError: If a class has too few images or groups for the parts.

    Example:
        >>> import numpy as np, kerastl
        >>> pixels = np.arange(10, dtype="uint8").repeat(64).reshape(10, 8, 8)
        >>> ten = kerastl.ImageSet(pixels, np.arange(10) % 2, ("even", "odd"))
        >>> train, validation, _ = split_set(ten, validation=0.4)
        >>> len(train), validation.counts()
        (6, {'even': 2, 'odd': 2})
    """
    check_shares(validation, test, seed)
    if groups is not None and len(groups) != len(image_set):
        fail("groups", f"of length {len(image_set)}, as the images", len(groups))
    contents = image_set.digests()
    keep = keep_mask(len(image_set), drop_conflicts(image_set, contents))
    keys = [contents[keep]]
    if groups is not None:
        keys.append(integer_codes(groups)[keep])
    kept = image_set if keep.all() else image_set.subset(keep)
    return cut(kept, joined(*keys), validation=validation, test=test, seed=seed)


def cut(
    image_set: Examples,
    clusters: np.ndarray,
    *,
    validation: float,
    test: float,
    seed: int,
) -> Splits:
    """Cut a set along clusters that are known."""
    labels, names = image_set.labels, image_set.class_names
    if image_set.dense:
        return _cut_dense(image_set, clusters, (validation, test), seed)
    if labels is None or image_set.target_names:
        # Numbers have no classes that each part must hold.
        labels, names = np.zeros(len(image_set), np.int64), ("all",)
    parts = split_labels(
        labels,
        validation=validation,
        test=test,
        seed=seed,
        clusters=clusters,
        class_names=names,
        noun=image_set.noun,
    )
    sets = [image_set.subset(part) if len(part) else None for part in parts]
    return Splits(*sets)


def _cut_dense(
    image_set: Examples, clusters: np.ndarray, shares: tuple[float, float], seed: int
) -> Splits:
    """A set of images that show several classes each, cut by the classes they show.

    A class of few images cannot be in each part: that is said, and is no error.
    """
    shows, ids = image_set.labels.presence(), integer_codes(clusters)
    noun = image_set.noun
    parts = np.array([1.0 - sum(shares), *shares])
    wanted = np.flatnonzero(parts > 0)
    _check_enough(np.ones((len(ids), 1), bool), ids, ("all",), len(wanted), noun)
    enough = [len(np.unique(ids[column])) >= len(wanted) for column in shows.T]
    chosen = _best_parts(shows[:, enough], ids, parts, seed)
    sets = []
    for number, part in enumerate(("train", "validation", "test")):
        rows = np.flatnonzero(chosen == number)
        sets.append(image_set.subset(rows) if len(rows) else None)
        absent = np.flatnonzero(shows.any(axis=0) & ~shows[rows].any(axis=0))
        if len(rows) and len(absent):
            names = [image_set.class_names[c] for c in absent]
            warn_user(f"No {noun} of the {part} part shows some classes", names)
    return Splits(*sets)


def split_labels(
    labels: np.ndarray,
    *,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    clusters: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    noun: str = "image",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of train, validation and test, each in ascending order.

    Each class is cut in the given shares as nearly as whole clusters allow.

    Args:
        labels: Integers `(n,)`, or 0/1 `(n, num_classes)`.
        validation: Share for validation, in [0, 1).
        test: Share for test, in [0, 1).
        seed: Non-negative integer.
        clusters: Integers `(n,)`: what stays together; None if nothing does.
        class_names: Names for the errors.
        noun: What they call an example.

    Returns:
        Three disjoint integer arrays that cover all images.

    Raises:
        ValueError: If some class cannot be in each part.

    Example:
        >>> train, validation, test = split_labels([0, 0, 1, 1], validation=0.5)
        >>> len(train), len(validation), len(test)
        (2, 2, 0)
    """
    check_shares(validation, test, seed)
    labels = np.asarray(labels)
    members = _members(labels)
    names = class_names or [str(c) for c in range(members.shape[1])]
    shares = np.array([1.0 - validation - test, validation, test])
    wanted = np.flatnonzero(shares > 0)
    ids = np.arange(len(labels)) if clusters is None else integer_codes(clusters)
    _check_enough(members, ids, names, len(wanted), noun)
    parts = _best_parts(members, ids, shares, seed)
    present = [members[parts == part].any(axis=0) for part in wanted]
    if not np.all(present):
        short = [names[c] for c in np.flatnonzero(~np.all(present, axis=0))]
        expected = "small enough for each class to be in each part"
        hint = "Give smaller groups, or ask for fewer parts."
        fail("groups", expected, short[:_NAMED], hint)
    train, middle, last = (np.flatnonzero(parts == part) for part in range(3))
    return train, middle, last


def drop_conflicts(image_set: Examples, contents: np.ndarray) -> list[np.ndarray]:
    """The copies with different labels, after a warning that names them."""
    found = conflicts(contents, image_set.labels)
    if found:
        named = [" = ".join(image_set.describe(i) for i in same) for same in found]
        count = counted(sum(map(len, found)), image_set.noun)
        warn_user(f"Dropped {count}: equal content, different labels", named)
    return found


def check_shares(validation: float, test: float, seed: int) -> None:
    """Raise unless the shares leave something to train on."""
    check_number("validation", validation, 0, below=1)
    check_number("test", test, 0, below=1)
    check_integer("seed", seed, 0)
    if validation + test >= 1:
        hint = "Some images must remain to train on."
        fail("validation + test", "below 1", validation + test, hint)


def _members(labels: np.ndarray) -> np.ndarray:
    """Which image has which label: booleans `(n, num_classes)`."""
    if labels.ndim == 2:
        return labels.astype(bool)
    return labels[:, None] == np.arange(labels.max(initial=0) + 1)


def _check_enough(
    members: np.ndarray, ids: np.ndarray, names: Sequence[str], parts: int, noun: str
) -> None:
    for c, name in enumerate(names):
        size = len(np.unique(ids[members[:, c]])) if c < members.shape[1] else 0
        if size < parts and names == ("all",):
            expected = f"at least {parts} different {noun}s or groups"
            hint = f"Add {noun}s, or ask for fewer parts."
            fail(f"{noun}s", expected, size, hint)
        if size < parts:
            expected = f"classes of at least {parts} different {noun}s or groups"
            hint = f"Class {name!r} has {size}: add {noun}s, or ask for fewer parts."
            fail("labels", expected, {name: size}, hint)


def _targets(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Images of each class `(3, num_classes)`; never 0 where a share is asked for."""
    targets = np.rint(shares[:, None] * counts)
    asked = (shares[1:, None] > 0) & (counts > 0)
    targets[1:] = np.maximum(targets[1:], asked)
    # Rounding up must leave train an image: the largest part gives it.
    short = (counts - targets[1:].sum(axis=0) < 1) & (counts > 0)
    largest = targets[1:].argmax(axis=0) + 1
    targets[largest[short], np.flatnonzero(short)] -= 1
    targets[0] = counts - targets[1:].sum(axis=0)
    return targets


def _best_parts(
    members: np.ndarray, ids: np.ndarray, shares: np.ndarray, seed: int
) -> np.ndarray:
    """The part (0, 1 or 2) of each image: the best of some seeded attempts."""
    wanted = np.flatnonzero(shares > 0)
    # Images without any label are spread like a class of their own.
    loads = np.column_stack([members, ~members.any(axis=1)]).astype(np.int64)
    if (loads.sum(axis=1) > 1).any():
        # Several labels to an image: their shares do not settle the parts' sizes.
        loads = np.column_stack([loads, np.ones_like(ids)])
    targets = _targets(loads.sum(axis=0), shares)
    best, least = np.zeros(len(ids), np.int64), np.inf
    for attempt in range(_ATTEMPTS):
        random = np.random.default_rng([seed, attempt])
        parts = _allocate(loads, ids, targets, wanted, random, spread=attempt % 2 > 0)
        counts = np.stack([loads[parts == part].sum(axis=0) for part in range(3)])
        missing = np.sum((counts[wanted] == 0) & (counts.sum(axis=0) > 0))
        error = np.max(np.abs(counts - targets) / np.maximum(counts.sum(axis=0), 1))
        if missing + error < least:
            best, least = parts, missing + error
        if least < _GOOD_ENOUGH:
            break
    return best


def _allocate(
    loads: np.ndarray,
    ids: np.ndarray,
    targets: np.ndarray,
    wanted: np.ndarray,
    random: np.random.Generator,
    *,
    spread: bool,
) -> np.ndarray:
    """One attempt: clusters choose in random order, then single images fill up.

    A cluster goes where most of its classes are lacking (Sechidis et al. 2011);
    `spread` measures the lack against the part's size, so that small parts are not
    left empty when clusters are few.
    """
    sizes = np.bincount(ids)
    single = (sizes[ids] == 1) & (loads.sum(axis=1) == 1)
    need = targets.astype(np.float64)
    parts = np.zeros(len(ids), np.int64)
    images = np.split(np.argsort(ids, kind="stable"), np.cumsum(sizes)[:-1])
    scale = np.maximum(targets if spread else targets.sum(axis=0), 1)
    for cluster in random.permutation(len(sizes)):
        rows = images[cluster]
        if single[rows[0]]:
            continue
        load = loads[rows].sum(axis=0)
        part = wanted[np.argmax((load * need / scale).sum(axis=1)[wanted])]
        parts[rows] = part
        need[part] -= load
    for c in range(loads.shape[1]):
        rows = random.permutation(np.flatnonzero(single & (loads[:, c] > 0)))
        parts[rows] = np.repeat(np.arange(3), _fill(need[:, c], len(rows)))
    return parts


def _fill(need: np.ndarray, count: int) -> np.ndarray:
    """How many of `count` single images each part gets: its need, train the rest."""
    held = np.clip(need[1:], 0, None).astype(np.int64)
    last = min(held[1], count)
    middle = min(held[0], count - last)
    return np.array([count - middle - last, middle, last])
