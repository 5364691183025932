"""What a frozen network makes of images, computed once."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np

from kerastl.datasets.sets import ImageSet
from kerastl.datasets.stores import PixelStore
from kerastl.models.compiling import jit_mode

_BATCH = 64


def run_batches(
    model: keras.Model,
    rows: Callable[[np.ndarray], np.ndarray],
    total: int,
    *,
    batch_size: int = _BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """A network's outputs for `total` inputs, in order, in inference mode.

    The last batch is filled up and cut: one shape is compiled once, and no replica
    of a distribution strategy is left empty.

    Args:
        model: Network with one input and one output.
        rows: `rows(indices)` gives the inputs at those positions.
        total: Number of inputs.
        batch_size: Inputs at a time, at least 1.
        progress: Called with (done, total).

    Returns:
        Float array `(total, ...)`.
    """
    replicas = replica_count(model)
    batch_size = min(batch_size, max(total, 1))
    batch_size = -(-batch_size // replicas) * replicas
    inputs = (
        rows(np.arange(start, min(start + batch_size, total)))
        for start in range(0, total, batch_size)
    )
    outputs: np.ndarray | None = None
    done = 0
    for made in output_blocks(model, inputs, batch_size):
        if outputs is None:
            outputs = np.empty((total, *made.shape[1:]), made.dtype)
        outputs[done : done + len(made)] = made
        done += len(made)
        if progress is not None:
            progress(done, total)
    if outputs is None:
        outputs = np.empty((0, *model.output_shape[1:]), "float32")
    return outputs


def output_blocks(
    model: keras.Model, inputs: Iterable[np.ndarray], batch_size: int
) -> Iterator[np.ndarray]:
    """A network's outputs in inference mode, batch after batch.

    Args:
        model: Network with one input and one output.
        inputs: Batches of at most `batch_size` inputs; smaller ones are filled up,
            and the outputs cut.
        batch_size: A multiple of the number of replicas.
    """
    replicas = replica_count(model)
    if model.jit_compile is not False:
        model.jit_compile = jit_mode()
    for batch in inputs:
        batch = batch.astype("float32", copy=False)
        count = len(batch)
        if count < batch_size:
            batch = batch[np.resize(np.arange(count), batch_size)]
        yield _outputs(model, batch, replicas)[:count]


def _outputs(model: keras.Model, batch: np.ndarray, replicas: int) -> np.ndarray:
    if replicas == 1:
        return np.asarray(model.predict_on_batch(batch))
    # predict_on_batch gives each replica the whole batch instead of its share.
    return model.predict(batch, batch_size=len(batch), verbose=0)


def replica_count(model: keras.Model) -> int:
    """How many replicas of a `tf.distribute` strategy the model was built on."""
    strategy = getattr(model, "distribute_strategy", None)
    return getattr(strategy, "num_replicas_in_sync", 1)


def extract_features(
    model: keras.Model,
    image_set: ImageSet,
    *,
    image_size: int | tuple[int, int],
    resize: str = "stretch",
    batch_size: int = _BATCH,
    store: PixelStore | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """A frozen network's outputs for every image of a set, in order.

    Args:
        model: Backbone or part of one, taking pixels 0-255.
        image_set: Files or arrays.
        image_size: Pixels the network takes.
        resize: `"stretch"`, `"crop"` or `"pad"`.
        batch_size: Images at a time.
        store: Decoded pixels of this set, where they are at hand.
        progress: Called with (done, total).

    Returns:
        Float array `(n, ...)`, as the network's output.
    """
    if store is None:
        store = PixelStore(image_set, image_size=image_size, resize=resize)
    return run_batches(
        model, store.rows, len(image_set), batch_size=batch_size, progress=progress
    )


def is_deterministic(model: keras.Model, sample: Any) -> bool:
    """Whether training mode changes nothing: no noise, no batch statistics.

    Args:
        model: The part of a network that is to be computed once.
        sample: A small batch of its inputs.
    """
    sample = keras.ops.convert_to_tensor(sample)
    calm = keras.ops.convert_to_numpy(model(sample, training=False))
    return _same(calm, _training_outputs(model, sample))


def _training_outputs(model: keras.Model, sample: Any) -> Iterator[np.ndarray]:
    """Two passes in training mode, without leaving a trace in the weights."""
    trainable = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    for _ in range(2):
        # The state goes on, so that noise is drawn anew.
        output, others = model.stateless_call(trainable, others, sample, training=True)
        yield keras.ops.convert_to_numpy(output)


def _same(calm: np.ndarray, others: Iterator[np.ndarray]) -> bool:
    return all(np.allclose(calm, other, rtol=1e-4, atol=1e-5) for other in others)
