"""Class weights by name, and seeds for the noise inside a network."""

from collections.abc import Mapping

import keras
import numpy as np

from kerastl._checks import check_number, fail, nearest
from kerastl._compat import sublayers
from kerastl.models.layers import is_noise
from kerastl.models.manifest import find_manifest
from kerastl.training.sources import Source, StreamSource


def class_weights(
    model: keras.Model,
    train: Source,
    class_weight: str | Mapping[str, float] | None,
) -> dict[int, float] | None:
    """Class weights as Keras takes them, by index.

    Keras accepts names and then ignores them; here they are checked.

    Args:
        model: The classifier that knows the names.
        train: The training data, for `"balanced"`.
        class_weight: A weight for every class by name (or index), `"balanced"` for
            `n / (classes * images of the class)`, or None.

    Raises:
        ValueError: If a class is missing or unknown, or counts cannot be known.
    """
    if class_weight is None:
        return None
    record = find_manifest(model)
    if record is None or record.task == "multilabel":
        hint = "Class weights need a classifier with one class an image."
        fail("class_weight", "None for this model", class_weight, hint)
    names = record.class_names
    if isinstance(class_weight, Mapping):
        return _by_index(names, class_weight)
    if class_weight != "balanced":
        expected = "'balanced' or a weight for each class name"
        fail("class_weight", expected, class_weight)
    if isinstance(train, StreamSource):
        hint = "The images of a dataset of batches are not counted; pass the weights."
        fail("class_weight", "weights by name here", class_weight, hint)
    counts = np.bincount(np.asarray(train.labels).astype(int), minlength=len(names))
    if not counts.all():
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        fail("train", "with images of every class for 'balanced'", missing)
    return {i: len(train) / (len(names) * count) for i, count in enumerate(counts)}


def _by_index(
    names: tuple[str, ...], weights: Mapping[str | int, float]
) -> dict[int, float]:
    known: dict[str | int, int] = {name: i for i, name in enumerate(names)}
    known.update({i: i for i in range(len(names))})
    unknown = [key for key in weights if key not in known]
    if unknown:
        hint = nearest(str(unknown[0]), names)
        fail("class_weight", f"given for {', '.join(names)}", unknown, hint)
    found = {known[key]: value for key, value in weights.items()}
    missing = [name for i, name in enumerate(names) if i not in found]
    if missing:
        fail("class_weight", "given for every class", weights, f"Missing: {missing}.")
    for value in found.values():
        check_number("class_weight", value, 0.0)
    return {i: float(value) for i, value in found.items()}


def seed_noise(model: keras.Model, seed: int) -> None:
    """Start every dropout-like layer of the model from a seed of its own."""
    noisy = [layer for layer in sublayers(model) if is_noise(layer)]
    for number, layer in enumerate(noisy):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            state = np.random.SeedSequence([seed, number]).generate_state(2)
            shape = tuple(generator.state.shape)
            values = (state % (2**31)).astype("int64")[: shape[0]]
            generator.state.assign(values.astype(str(generator.state.dtype)))
