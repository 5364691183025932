"""BatchNorm statistics of averaged weights, computed anew."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_integer, fail, nearest
from kerastl._compat import sublayers
from kerastl._progress import Progress
from kerastl.data.images import PixelStore
from kerastl.data.inputs import as_image_set
from kerastl.data.sets import ImageSet
from kerastl.models.blocks import check_functional
from kerastl.models.layers import (
    hold_statistics,
    is_holding_statistics,
    is_noise,
    make_freezable,
)
from kerastl.models.record import find_preprocessing, find_record, network_size

_BatchNorm = keras.layers.BatchNormalization


def recompute_batchnorm(
    model: keras.Model,
    data: Any,
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> None:
    """Set BatchNorm statistics to those of a whole data set under the present weights.

    For weights that were averaged, not trained. Statistics that stayed frozen, as
    over loaded weights they do by default, are right already. One pass in training
    mode with dropout off: each layer gets the mean and the variance of its inputs over
    all images, while the layers before it normalise by batch. The moving statistics do
    not enter, so a second call changes nothing; larger batches come nearer to what
    inference does.

    Args:
        model: Functional model, changed in place.
        data: Training images without augmentation: an `ImageSet`, an array, or a pair
            `(images, labels)`; for a model that was not built here, arrays as it takes
            them.
        layers: Names of the BatchNorm layers; None: those whose statistics train now.
        batch_size: Images at a time, at least 2; batches are made equal to one image.
        progress: Called with (done, total) images.

    Raises:
        ValueError: If no layer's statistics train, a name is none of a BatchNorm
            layer, or there are fewer than two images.
        TypeError: If the model is not functional or the data are of no known kind.

    Example:
        >>> x = keras.Input((1,))
        >>> model = keras.Model(x, keras.layers.BatchNormalization(name="norm")(x))
        >>> recompute_batchnorm(model, np.array([[1.0], [3.0], [5.0], [7.0]]))
        >>> [float(weight[0]) for weight in model.get_layer("norm").get_weights()[2:]]
        [4.0, 5.0]

    Reference:
        Izmailov et al. (2018), Averaging Weights Leads to Wider Optima and Better
        Generalization, arXiv:1803.05407, section 3.2; with the variance between
        batches, which a mean of batch variances leaves out.
    """
    check_functional("model", model)
    check_integer("batch_size", batch_size, 2)
    chosen = _choose(model, layers)
    rows, total = _rows(model, data)
    if total < 2:
        fail("data", "at least two images", total)
    moments: dict[int, list[Any]] = {id(layer): [] for layer in chosen}
    parts = np.array_split(np.arange(total), -(-total // batch_size))
    counts, done = [len(part) for part in parts], 0
    with _batch_statistics(model, chosen):
        for part in parts:
            for layer, mean, variance in _pass(model, chosen, rows(part)):
                moments[id(layer)].append((mean, variance))
            done += len(part)
            if progress is not None:
                progress(done, total)
    for layer in chosen:
        means, variances = map(np.array, zip(*moments[id(layer)], strict=True))
        mean = np.average(means, axis=0, weights=counts)
        # Within the batches, and between them.
        spread = variances + (means - mean) ** 2
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(np.average(spread, axis=0, weights=counts))


def moved_statistics(
    model: keras.Model, states: Sequence[Sequence[np.ndarray]]
) -> tuple[str, ...]:
    """Names of the BatchNorm layers whose statistics differ between states."""
    places = {id(weight): place for place, weight in enumerate(model.weights)}
    return tuple(
        layer.name
        for layer in _batch_norms(model)
        if any(
            not np.array_equal(states[0][places[id(w)]], state[places[id(w)]])
            for w in (layer.moving_mean, layer.moving_variance)
            for state in states[1:]
        )
    )


def _batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in sublayers(model) if isinstance(layer, _BatchNorm)]


def _choose(
    model: keras.Model, names: Sequence[str] | None
) -> list[keras.layers.BatchNormalization]:
    """The layers to measure."""
    known = {layer.name: layer for layer in _batch_norms(model)}
    if names is None:
        chosen = [
            layer
            for layer in known.values()
            if layer.trainable and not is_holding_statistics(layer)
        ]
        if not chosen:
            hint = "Frozen statistics never moved: they need nothing."
            expected = "a model with a BatchNormalization whose statistics train"
            fail("model", expected, model.name, hint)
    else:
        for name in names:
            if name not in known:
                hint = nearest(str(name), known)
                fail("layers", "names of BatchNormalization layers", name, hint)
        chosen = [known[name] for name in names]
    renormed = [layer.name for layer in chosen if getattr(layer, "renorm", False)]
    if renormed:
        fail("layers", "without batch renormalization", renormed)
    return chosen


def _rows(
    model: keras.Model, data: Any
) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """A getter of inputs by index, and their number."""
    if isinstance(data, tuple) and len(data) == 2:
        data = data[0]
    if not isinstance(data, (ImageSet, np.ndarray)):
        kinds = "an ImageSet, an array or an (images, labels) pair"
        fail("data", kinds, type(data).__name__, error=TypeError)
    if find_preprocessing(model) is None and isinstance(data, np.ndarray):
        return lambda places: data[places], len(data)
    record = find_record(model)
    size = record.image_size if record else network_size(model)
    resize = record.resize if record else "stretch"
    images = as_image_set(data, size, resize)
    return PixelStore(images, image_size=size, resize=resize).rows, len(images)


@contextmanager
def _batch_statistics(
    model: keras.Model, chosen: Sequence[keras.layers.BatchNormalization]
) -> Iterator[None]:
    """The chosen layers normalise by batch and keep nothing else; noise is off."""
    selected = {id(layer) for layer in chosen}
    touched = [x for x in sublayers(model) if is_noise(x) or isinstance(x, _BatchNorm)]
    before = [(layer, type(layer), layer.trainable) for layer in touched]
    # Of a layer that is on, single weights may be off: see `train_only`.
    flags = [(w, w.trainable) for layer in touched for w in layer.weights]
    momenta = [(layer, layer.momentum) for layer in chosen]
    try:
        for layer in touched:
            make_freezable(layer)
            layer.trainable = id(layer) in selected
        for layer in chosen:
            hold_statistics(layer, False)
            # What is stored after a pass is then the batch's own statistics.
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in momenta:
            layer.momentum = momentum
        for layer, kind, flag in before:
            layer.__class__ = kind
            layer.trainable = flag
        for weight, flag in flags:
            weight.trainable = flag


def _pass(
    model: keras.Model,
    chosen: Sequence[keras.layers.BatchNormalization],
    batch: np.ndarray,
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Mean and variance of each layer's inputs over one batch, without a trace."""
    others = model.non_trainable_variables
    places = {id(variable): place for place, variable in enumerate(others)}
    state = [variable.value for variable in others]
    for layer in chosen:
        # A statistic that is not finite would survive a factor of zero.
        for variable in (layer.moving_mean, layer.moving_variance):
            state[places[id(variable)]] = keras.ops.zeros_like(variable.value)
    _, after = model.stateless_call(
        [variable.value for variable in model.trainable_variables],
        state,
        keras.ops.convert_to_tensor(batch.astype("float32", copy=False)),
        training=True,
    )
    for layer in chosen:
        pair = (layer.moving_mean, layer.moving_variance)
        mean, variance = (
            keras.ops.convert_to_numpy(after[places[id(v)]]).astype("float64")
            for v in pair
        )
        yield layer, mean, variance
