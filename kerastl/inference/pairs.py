"""One network in two states: what it makes of the same images before and after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl.datasets.sets import ImageSet
from kerastl.datasets.stores import PixelStore
from kerastl.inference.feature_networks import below_head, feature_network
from kerastl.inference.features import extract_features
from kerastl.inference.prediction import as_image_set
from kerastl.models.graph import check_functional
from kerastl.models.manifest import find_manifest, network_size


@dataclass(frozen=True, eq=False)
class StatePair:
    """A network before and after some training.

    Attributes:
        after: The network after it.
        before: Another model of the same structure; None where only its weights are
            at hand.
        start: Weights before, in the order of `after.weights`.
        end: Weights after.
    """

    after: keras.Model
    before: keras.Model | None
    start: tuple[np.ndarray, ...]
    end: tuple[np.ndarray, ...]

    def features(
        self,
        images: Any,
        *,
        at: tuple[int, ...] | None = None,
        batch_size: int = 64,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Averaged features of the images, before and after.

        Args:
            images: Whatever `predict` takes.
            at: Positions of the cuts among the network's operations; None: the top.
            batch_size: Images at a time.
            progress: Called with (done, total) images of the second pass.

        Returns:
            Two arrays `(n, d)`, the cuts side by side.
        """
        store = self._store(images)
        options = {"store": store, "batch_size": batch_size}
        second = self._extract(self.after, at, {**options, "progress": progress})
        if self.before is not None:
            return self._extract(self.before, at, options), second
        try:
            _assign(self.after, self.start)
            return self._extract(self.after, at, options), second
        finally:
            _assign(self.after, self.end)

    def _extract(
        self, model: keras.Model, at: tuple[int, ...] | None, options: dict[str, Any]
    ) -> np.ndarray:
        network = backbone_of(model)
        names = None if at is None else [network.operations[i].name for i in at]
        joined = feature_network(network, at=names)
        store = options["store"]
        size = store.image_size
        return extract_features(joined, store.image_set, image_size=size, **options)

    def _store(self, images: Any) -> PixelStore:
        """The pixels, decoded once for both passes."""
        record = find_manifest(self.after)
        resize = record.resize if record else "stretch"
        size = record.image_size if record else _size(self.after, images)
        found = as_image_set(images, size, resize)
        if not len(found):
            fail("images", "at least one image", "none")
        return PixelStore(found, image_size=size, resize=resize)


def _size(model: keras.Model, images: Any) -> tuple[int, int]:
    """The network's own size; of a network for any size, the images'."""
    pixels = images.images if isinstance(images, ImageSet) else images
    own = tuple(model.input_shape[1:3])
    if None in own and isinstance(pixels, np.ndarray) and pixels.ndim >= 3:
        return int(pixels.shape[1]), int(pixels.shape[2])
    return network_size(model)


def backbone_of(model: keras.Model) -> keras.Model:
    """A classifier's backbone; any other model as it is."""
    return below_head(model) if find_manifest(model) is not None else model


def pair_states(before: Any, after: keras.Model) -> StatePair:
    """A network in two states; raises unless they are of one structure.

    Args:
        before: A model, or weights in the order of `after.weights`.
        after: Functional model.

    Raises:
        ValueError: If the structures differ.
        TypeError: If an argument is of no known kind.
    """
    check_functional("after", after)
    if isinstance(before, keras.Model):
        check_functional("before", before)
        start, model = _copies(before), before
    elif isinstance(before, Sequence) and all(hasattr(a, "shape") for a in before):
        start, model = tuple(np.array(array) for array in before), None
    else:
        hint = "Take model.get_weights() before training."
        kinds = "a model or a list of arrays"
        fail("before", kinds, type(before).__name__, hint, TypeError)
    end = _copies(after)
    if [array.shape for array in start] != [array.shape for array in end]:
        expected = f"of the structure of `after`, {len(end)} weights"
        fail("before", expected, f"{len(start)} weights, not of the same shapes")
    return StatePair(after, model, start, end)


def _copies(model: keras.Model) -> tuple[np.ndarray, ...]:
    return tuple(np.array(keras.ops.convert_to_numpy(w)) for w in model.weights)


def _assign(model: keras.Model, values: Sequence[np.ndarray]) -> None:
    for weight, value in zip(model.weights, values, strict=True):
        weight.assign(value)
