"""Features kept by the content of their images, in memory and between runs."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np

from kerastl.datasets.duplicates import digests
from kerastl.datasets.sets import ImageSet
from kerastl.inference.disk_cache import DiskCache

#: Bytes of features that one extractor and its clones keep.
MEMORY_LIMIT = 500_000_000


def image_keys(images: ImageSet) -> list[str]:
    """A key for the content of each image: of the file's bytes, or of the pixels."""
    if images.paths is not None:
        return [f"file {digest}" for digest in digests(images)]
    # Equal bytes are another image in another shape or type.
    pixels = images.images
    form = f"{pixels.dtype.str} {pixels.shape[1:]}"
    return [f"{form} {digest}" for digest in digests(images)]


class FeatureStore:
    """Rows of features by image, a bounded number of bytes of them.

    Rows of a network that was not used for longest go first. A data set too large
    for the store keeps the rows that came first: to drop them for later ones would
    leave none of them when the next pass begins.

    Args:
        memory_limit: Bytes.
    """

    def __init__(self, memory_limit: int = MEMORY_LIMIT) -> None:
        """See the class."""
        self.memory_limit = memory_limit
        self.held = 0
        self._spaces: OrderedDict[Hashable, dict[str, np.ndarray]] = OrderedDict()

    def space(self, key: Hashable) -> dict[str, np.ndarray]:
        """The rows of one network, by image; do not write to it."""
        found = self._spaces.setdefault(key, {})
        self._spaces.move_to_end(key)
        return found

    def keep(self, key: Hashable, rows: dict[str, np.ndarray]) -> None:
        """Add rows of one network, as many as fit."""
        space = self.space(key)
        for image, row in rows.items():
            while self.held + row.nbytes > self.memory_limit and len(self._spaces) > 1:
                _, dropped = self._spaces.popitem(last=False)
                self.held -= sum(old.nbytes for old in dropped.values())
            if self.held + row.nbytes > self.memory_limit:
                return
            # A view would keep the whole batch alive.
            space[image] = row.copy()
            self.held += row.nbytes


def remember(
    store: FeatureStore,
    space: Hashable,
    images: ImageSet,
    compute: Callable[[ImageSet], np.ndarray],
) -> np.ndarray:
    """Features of the images, computed for those whose content was not seen before.

    Args:
        store: Where features are kept.
        space: All that decides the features besides the image.
        images: The images.
        compute: Makes `(n, d)` from images.

    Returns:
        Float array `(n, d)`, in the order of `images`.
    """
    keys, held = image_keys(images), store.space(space)
    first: dict[str, int] = {}
    for position, key in enumerate(keys):
        if key not in held:
            first.setdefault(key, position)
    made: dict[str, np.ndarray] = {}
    if first:
        features = compute(images.subset([*first.values()]))
        made = dict(zip(first, features, strict=True))
    rows = np.stack([made[key] if key in made else held[key] for key in keys])
    store.keep(space, made)
    return rows


def through_disk(key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Features of that key from the disk, or computed and written there.

    Args:
        key: Stands for network and images: see `cache_key`.
        compute: Makes `(n, d)`.

    Returns:
        Float array `(n, d)`.
    """
    disk = DiskCache()
    found = disk.find(key)
    if found is not None:
        try:
            return found.rows(np.arange(len(found)))
        finally:
            found.close()
    features = compute()
    note = {"kind": "features", "images": len(features), "width": features.shape[1]}
    try:
        dtype = features.dtype.name
        disk.store(key, features.shape, dtype, [features], note=note).close()
    except OSError as error:
        # The features are there; only the next run has to compute them again.
        warnings.warn(str(error), RuntimeWarning, stacklevel=2)
    return features
