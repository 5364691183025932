"""Images that belong together: equal content, or one group."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerastl.datasets.sets import ImageSet


def digests(image_set: ImageSet) -> np.ndarray:
    """A hash of each image's content: the file's bytes, or the pixels."""
    if image_set.paths is not None:
        contents = (Path(path).read_bytes() for path in image_set.paths)
    else:
        pixels = np.ascontiguousarray(image_set.images)
        contents = (row.tobytes() for row in pixels)
    return np.array([hashlib.sha256(data).hexdigest() for data in contents], str)


def integer_codes(keys: Sequence[object] | np.ndarray) -> np.ndarray:
    """Equal keys get equal numbers, counted in order of appearance."""
    codes: dict[object, int] = {}
    return np.array([codes.setdefault(key, len(codes)) for key in keys], np.int64)


def joined(*keys: np.ndarray) -> np.ndarray:
    """Cluster numbers `(n,)`: images that share any key, even through others.

    With digests and groups as keys, the copies of an image pull their groups
    together.
    """
    parents = list(range(len(keys[0])))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    for key in keys:
        first: dict[object, int] = {}
        for i, value in enumerate(key.tolist()):
            a, b = root(first.setdefault(value, i)), root(i)
            parents[max(a, b)] = min(a, b)
    return integer_codes([root(i) for i in range(len(parents))])


def copies(contents: np.ndarray) -> list[np.ndarray]:
    """Index arrays of the images whose content appears more than once."""
    codes = integer_codes(contents)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    return [same for same in np.split(order, starts) if len(same) > 1]


def conflicts(contents: np.ndarray, labels: np.ndarray | None) -> list[np.ndarray]:
    """Index arrays of copies that carry different labels."""
    if labels is None:
        return []
    return [
        same for same in copies(contents) if (labels[same] != labels[same[0]]).any()
    ]


def keep_mask(count: int, dropped: Sequence[np.ndarray]) -> np.ndarray:
    """Booleans `(count,)`, False at each dropped index."""
    keep = np.ones(count, bool)
    for indices in dropped:
        keep[indices] = False
    return keep
