"""A frozen network as a function of images, run over batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from kerastl._checks import check_choice, check_integer, fail
from kerastl._compat import device_names, note_process
from kerastl._processes import is_shared, join_processes, shared_outputs
from kerastl._progress import Progress
from kerastl.data.batches import only_or_all
from kerastl.data.images import PixelStore
from kerastl.data.sets import ImageSet
from kerastl.data.sources import Source, text_source
from kerastl.data.texts import TextSet
from kerastl.models.adapting import adapt_backbone, below_head, refuse_unprepared
from kerastl.models.backbones import build_backbone, draw_weights
from kerastl.models.blocks import as_functional, cut_points, truncate
from kerastl.models.layers import FeatureColumns, SpatialPyramid
from kerastl.models.record import find_preprocessing, find_record, read_encoder
from kerastl.models.text_backbones import (
    is_text_network,
    pool_tokens,
    sequence_output,
    text_below_head,
)
from kerastl.models.text_layers import TokenInputs, find_tokens
from kerastl.models.weights import is_model_file
from kerastl.tasks.compiling import jit_mode
from kerastl.tasks.text_models import open_text_backbone

STRATEGIES = ("auto", "cpu", "mirrored", "tpu")


def device_strategy(kind: Any = "auto", *, devices: int | None = None) -> Any:
    """A distribution strategy in whose scope a model is built and trained.

    Build the model inside `strategy.scope()`, and give the strategy to `run_phases`
    or `transfer`, which compile in its scope and keep every replica busy. The batch
    size is for all replicas together.

    Args:
        kind: `"auto"`: TPU if there is one, all GPUs if there are several, else the
            one device; `"cpu"`; `"mirrored"`: a copy on each device; `"tpu"`;
            `"multihost"`: the devices of several processes, on JAX, which the
            environment names: call it first of all; or a `tf.distribute` strategy,
            which is returned as it is.
        devices: For `"mirrored"`, how many devices at most; None: all.

    Returns:
        On TensorFlow a `tf.distribute.Strategy`. On JAX a `Scope` with the same
        method, which sets `keras.distribution.DataParallel` while it is entered.

    Raises:
        ValueError: If the kind is unknown, or there is no such device.

    Example:
        >>> import kerastl
        >>> strategy = kerastl.device_strategy("cpu")
        >>> with strategy.scope():
        ...     model = kerastl.build_backbone("MobileNet", alpha=0.25, weights=None)
    """
    if hasattr(kind, "scope"):
        if type(kind).__name__.startswith(("MultiWorker", "ParameterServer")):
            hint = "Keras 3 cannot train in it. For several machines use JAX and "
            hint += "device_strategy('multihost')."
            fail("kind", "a strategy of one machine", type(kind).__name__, hint)
        return kind
    check_choice("kind", kind, (*STRATEGIES, "multihost"))
    if devices is not None:
        check_integer("devices", devices, 1)
    if kind == "multihost":
        join_processes()
        found = keras.distribution.list_devices()
        shared = keras.distribution.DataParallel(
            devices=found, auto_shard_dataset=False
        )
        return Scope(shared, len(found))
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_strategy(kind, devices)
    return _jax_scope(kind, devices)


def _tensorflow_strategy(kind: str, devices: int | None) -> Any:
    import tensorflow as tf

    if kind == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if kind == "tpu" or (kind == "auto" and tf.config.list_physical_devices("TPU")):
        return _tpu_strategy()
    found = [device.name for device in tf.config.list_logical_devices("GPU")]
    if kind == "auto" and len(found) < 2:
        return tf.distribute.get_strategy()
    names = found or [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(names[:devices])


def _tpu_strategy() -> Any:
    """Connect to a TPU. Written after TensorFlow's guide; not run on a TPU by us."""
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0]
        fail("kind", "'tpu' where a TPU is attached", "tpu", f"TensorFlow: {reason}")
    return tf.distribute.TPUStrategy(resolver)


@dataclass(frozen=True)
class Scope:
    """A `keras.distribution` with the one method of a TensorFlow strategy.

    Attributes:
        distribution: The distribution set while the scope is entered; None: one
            device, nothing is set.
        num_replicas_in_sync: Number of devices that share a batch.
    """

    distribution: Any
    num_replicas_in_sync: int = 1

    def scope(self) -> Any:
        """A context manager that sets the distribution."""
        from contextlib import nullcontext

        return nullcontext() if self.distribution is None else self.distribution.scope()


def _jax_scope(kind: str, devices: int | None) -> Scope:
    found, backend = device_names(), keras.backend.backend()
    if kind == "tpu":
        seen = ", ".join(found)
        found = [name for name in found if name.startswith("tpu")]
        if not found:
            hint = f"Keras's backend {backend} sees {seen}."
            fail("kind", "'tpu' where a TPU is attached", kind, hint)
    if kind == "cpu":
        return Scope(None)
    if kind == "mirrored" and backend != "jax":
        hint = f"Keras shares no work between devices on {backend}."
        fail("kind", "'auto' or 'cpu' on this backend", kind, hint)
    names = found[:devices]
    if len(names) < 2 and kind == "auto":
        return Scope(None)
    return Scope(keras.distribution.DataParallel(devices=names), len(names))


def replicas(strategy: Any) -> int:
    """Number of devices that share a batch; 1 without a strategy."""
    return getattr(strategy, "num_replicas_in_sync", 1)


_BATCH = 64


def whole_batch(model: keras.Model, total: int, batch_size: int) -> int:
    """Inputs that `run_batches` takes at a time, of so many in all."""
    replicas = replica_count(model)
    return -(-min(batch_size, max(total, 1)) // replicas) * replicas


def run_batches(
    model: keras.Model,
    rows: Callable[[np.ndarray], np.ndarray],
    total: int,
    *,
    batch_size: int = _BATCH,
    span: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """A network's outputs for `total` inputs, in order, in inference mode.

    The last batch is filled up and cut: one shape is compiled once, and no replica
    of a distribution strategy is left empty.

    Args:
        model: Network with one input and one output.
        rows: `rows(indices)` gives the inputs at those positions.
        total: Number of inputs.
        batch_size: Inputs at a time, at least 1.
        span: `(first, stop)`: only these of them. Where `first` is a multiple of the
            batch size, the batches are those of a whole run, so the bits are too.
        progress: Called with (done, total).

    Returns:
        Float array `(total, ...)`, or of the span.
    """
    batch_size = whole_batch(model, total, batch_size)
    first, stop = span or (0, total)
    total = stop - first
    inputs = (
        rows(np.arange(start, min(start + batch_size, stop)))
        for start in range(first, stop, batch_size)
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


def source_outputs(
    model: keras.Model, source: Source, batch_size: int = _BATCH
) -> np.ndarray:
    """A network's outputs for all rows of a source: see `run_batches`."""

    def rows(indices: np.ndarray) -> Any:
        return only_or_all(source.rows(indices))

    return run_batches(model, rows, len(source), batch_size=batch_size)


def output_blocks(
    model: keras.Model, inputs: Iterable[Any], batch_size: int
) -> Iterator[Any]:
    """A network's outputs in inference mode, batch after batch.

    Args:
        model: Network; several inputs and outputs go by name.
        inputs: Batches of at most `batch_size` inputs; smaller ones are filled up,
            and the outputs cut.
        batch_size: A multiple of the number of replicas.
    """
    note_process()
    replicas, shared = replica_count(model), is_shared(model)
    if model.jit_compile is not False:
        model.jit_compile = jit_mode()
    for batch in inputs:
        batch = as_fed(model, batch)
        count = len(keras.tree.flatten(batch)[0])
        if count < batch_size:
            batch = _rows_of(batch, np.resize(np.arange(count), batch_size))
        if shared:
            made = shared_outputs(model, batch)
        elif replicas == 1:
            made = model.predict_on_batch(batch)
        else:
            # predict_on_batch gives each replica the whole batch, not its share.
            made = model.predict(batch, batch_size=batch_size, verbose=0)
        yield _rows_of(made, slice(count))


def _rows_of(arrays: Any, rows: Any) -> Any:
    """The same rows of each array."""
    return keras.tree.map_structure(lambda array: np.asarray(array)[rows], arrays)


def check_inputs(model: keras.Model, inputs: Mapping[str, Any], name: str) -> None:
    """Raise unless arrays by name are what the model takes: those, and no more.

    Keras maps a dictionary with a key too many to the wrong inputs, and only warns.

    Args:
        model: What they will be fed to.
        inputs: Its inputs by name.
        name: What error messages call them.
    """
    wanted = [x.name for x in model.inputs]
    if isinstance(model.input, Mapping):
        wanted = list(model.input)
    if set(inputs) != set(wanted):
        lacking = ", ".join(map(repr, sorted(set(wanted) - set(inputs))))
        strange = ", ".join(map(repr, sorted(set(inputs) - set(wanted))))
        hint = f"It lacks {lacking}." if lacking else f"It has no {strange}."
        expected = f"of the inputs {', '.join(sorted(wanted))}"
        fail(name, expected, ", ".join(sorted(inputs)), hint)
    tokens = find_tokens(model)
    if tokens is not None:
        check_tokens(tokens, inputs, name)


def check_tokens(tokens: TokenInputs, inputs: Mapping[str, Any], name: str) -> None:
    """Raise unless ids are in the vocabulary, and masks are 0 and 1.

    TensorFlow ends with a page of its own for an id that is none; JAX takes another.
    """
    ids = np.asarray(inputs["token_ids"])
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        shape = f"{ids.dtype} {ids.shape}"
        fail(name, "whole numbers `token_ids` of shape (n, t)", shape)
    size, longest = tokens.vocabulary_size, tokens.max_length
    if ids.size and size is not None and not 0 <= ids.min() <= ids.max() < size:
        hint = "They come from the tokenizer of another network."
        received = f"{ids.min()} to {ids.max()}"
        fail(name, f"`token_ids` from 0 to {size - 1}", received, hint)
    if longest is not None and ids.shape[1] > longest:
        fail(name, f"at most {longest} tokens a text", ids.shape[1])
    shapes = {key: np.shape(rows) for key, rows in inputs.items()}
    if set(shapes.values()) != {ids.shape}:
        fail(name, "inputs of one shape (n, t)", shapes)
    mask = np.asarray(inputs.get("padding_mask", [1]))
    if not np.isin(mask, (0, 1)).all():
        fail(name, "a `padding_mask` of 1 (a token) and 0", np.unique(mask)[:5])


def as_fed(model: keras.Model, batch: Any) -> Any:
    """Inputs in single precision, but for whole numbers where the model takes them."""
    if isinstance(batch, dict):
        if find_tokens(model) is not None:
            check_inputs(model, batch, "inputs")
        types = {x.name: x.dtype for x in model.inputs}
        whole = {name for name, dtype in types.items() if "int" in dtype}
        return {
            name: rows if name in whole else rows.astype("float32", copy=False)
            for name, rows in batch.items()
        }
    whole = "int" in model.inputs[0].dtype
    return batch if whole else batch.astype("float32", copy=False)


def text_outputs(
    model: keras.Model,
    texts: TextSet,
    *,
    batch_size: int = _BATCH,
    span: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """A network's outputs for texts, in order, encoded by its own encoder."""
    source = text_source(texts, read_encoder(model))
    options = {"batch_size": batch_size, "span": span, "progress": progress}
    return run_batches(model, source.rows, len(texts), **options)


def replica_count(model: keras.Model) -> int:
    """How many replicas of a `tf.distribute` strategy the model was built on."""
    if is_shared(model):
        return model.weights[0].value.sharding.mesh.size
    strategy = getattr(model, "distribute_strategy", None)
    return getattr(strategy, "num_replicas_in_sync", 1)


def extract_features(
    model: keras.Model,
    image_set: ImageSet | TextSet,
    *,
    image_size: int | tuple[int, int],
    resize: str = "stretch",
    batch_size: int = _BATCH,
    span: tuple[int, int] | None = None,
    store: PixelStore | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """A frozen network's outputs for every image of a set, in order.

    Args:
        model: Backbone or part of one, taking pixels 0-255.
        image_set: Files or arrays; texts for a network of texts.
        image_size: Pixels the network takes; empty for texts.
        resize: `"stretch"`, `"crop"` or `"pad"`.
        batch_size: Images at a time.
        span: `(first, stop)`: only these images; see `run_batches`.
        store: Decoded pixels of this set, where they are at hand.
        progress: Called with (done, total).

    Returns:
        Float array `(n, ...)`, as the network's output.
    """
    options = {"batch_size": batch_size, "span": span, "progress": progress}
    if isinstance(image_set, TextSet):
        return text_outputs(model, image_set, **options)
    if store is None:
        channels = model.input_shape[-1]
        store = PixelStore(
            image_set, image_size=image_size, resize=resize, channels=channels
        )
    return run_batches(model, store.rows, len(image_set), **options)


def is_deterministic(model: keras.Model, sample: Any) -> bool:
    """Whether training mode changes nothing: no noise, no batch statistics.

    Args:
        model: The part of a network that is to be computed once.
        sample: A small batch of its inputs.
    """
    sample = keras.tree.map_structure(keras.ops.convert_to_tensor, sample)
    calm = _flat(model(sample, training=False))
    trainable = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    for _ in range(2):
        # Without a trace in the weights; the state goes on, so noise is drawn anew.
        output, others = model.stateless_call(trainable, others, sample, training=True)
        pairs = zip(calm, _flat(output), strict=True)
        if not all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs):
            return False
    return True


def _flat(outputs: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(x) for x in keras.tree.flatten(outputs)]


POOLINGS = ("avg", "max", "spp")
#: Of texts; `"avg"` is the mean over the real tokens.
TEXT_POOLINGS = ("avg", "mean", "cls", "last")


def open_backbone(
    backbone: str | Path | keras.Model,
    *,
    alpha: float | None = None,
    image_size: int | tuple[int, int] | None = None,
    weights: str | Path | None = "tiny",
    preprocessing: Any = None,
    seed: int = 0,
) -> keras.Model:
    """A network from 0-255 pixels to features, from whatever names or holds one.

    Args:
        backbone: Name, backbone, or classifier, whose head is left out; or its file.
        alpha: Width multiplier, for a backbone given by name.
        image_size: Pixels, for a backbone given by name or a foreign one.
        weights: For a backbone given by name.
        preprocessing: For a foreign model: see `adapt_backbone`. It is copied then.
        seed: For `weights=None`.

    Returns:
        Functional model that begins with its preprocessing.

    Raises:
        ValueError: If the arguments do not fit the backbone.
        TypeError: If it is neither a name nor a functional model.
    """
    if is_text_network(backbone):
        known = isinstance(backbone, keras.Model) and find_tokens(backbone) is not None
        if known and find_record(backbone) is not None:
            return text_below_head(backbone)
        return backbone if known else open_text_backbone(backbone)
    if isinstance(backbone, (str, Path)):
        size = {"image_size": image_size, "alpha": alpha}
        built = build_backbone(backbone, weights=weights, **size)
        if weights is None and not is_model_file(backbone):
            draw_weights(built, seed)
        return built
    backbone = as_functional("backbone", backbone)
    if find_record(backbone) is not None:
        backbone = below_head(backbone)
    elif preprocessing is not None:
        return adapt_backbone(
            backbone, preprocessing=preprocessing, image_size=image_size
        )
    if find_preprocessing(backbone) is None:
        refuse_unprepared()
    return backbone


def feature_network(
    backbone: keras.Model,
    *,
    at: str | Sequence[str] | None = None,
    pooling: str = "avg",
) -> keras.Model:
    """One network from pixels to a row of features, taken at one cut or several.

    It shares the backbone's variables. All cuts come from one forward pass.

    Args:
        backbone: Functional model from `open_backbone`.
        at: Name in `cut_points(backbone)`, several of them, or None: the top.
        pooling: `"avg"`, `"max"` or `"spp"`; a flat output passes as it is. Of texts
            `"avg"` or `"mean"` over the real tokens, `"cls"` or `"last"`.

    Returns:
        Functional model, `(n, height, width, 3)` to float32 `(n, d)`, whose last
        layer is a `FeatureColumns`.

    Raises:
        ValueError: If a cut is none, is named twice, or cannot be pooled.
    """
    texts = find_tokens(backbone) is not None
    check_choice("pooling", pooling, TEXT_POOLINGS if texts else POOLINGS)
    if at is None and isinstance(backbone.layers[-1], FeatureColumns):
        return backbone
    cuts = _check_cuts(backbone, at)
    parts = []
    for number, cut in enumerate(cuts):
        whole = backbone if at is None else truncate(backbone, cut)
        if texts:
            parts.append(_pooled_text(whole, cut, pooling, number))
        else:
            parts.append(_pooled(whole.output, cut, pooling, number))
    joined = layers.Concatenate(name="feature_join", dtype="float32")
    row = joined(parts) if len(parts) > 1 else parts[0]
    columns = FeatureColumns(cuts, [part.shape[-1] for part in parts], pooling)
    return keras.Model(backbone.input, columns(row), name=f"{backbone.name}_features")


def _check_cuts(
    backbone: keras.Model, at: str | Sequence[str] | None
) -> tuple[str, ...]:
    if at is None:
        return (cut_points(backbone)[-1],)
    if not isinstance(at, str) and not isinstance(at, Sequence):
        kinds = "None, the name of a cut point or a sequence of them"
        fail("at", kinds, at, error=TypeError)
    cuts = (at,) if isinstance(at, str) else tuple(at)
    if not cuts or len(set(cuts)) < len(cuts):
        fail("at", "different cut points, at least one", cuts)
    return cuts


def _pooled_text(
    network: keras.Model, cut: str, pooling: str, number: int
) -> keras.KerasTensor:
    """Turn vectors of tokens into a row of features, by the mask."""
    sequence = sequence_output(network)
    if len(sequence.shape) != 3:
        expected = "cuts whose output is a vector for each token"
        fail("at", expected, cut, f"Its output has the shape {sequence.shape}.")
    kind = "mean" if pooling == "avg" else pooling
    return pool_tokens(network, sequence, kind, f"feature_pool_{number}")


def _pooled(
    tensor: keras.KerasTensor, cut: str, pooling: str, number: int
) -> keras.KerasTensor:
    """Turn a feature map into a row of features."""
    if len(tensor.shape) == 2:
        return tensor
    if len(tensor.shape) != 4:
        expected = "cuts whose output is a feature map or flat"
        fail("at", expected, cut, f"Its output has the shape {tensor.shape}.")
    if pooling == "spp" and None in tensor.shape[1:3]:
        expected = "'avg' or 'max' where the backbone takes images of any size"
        fail("pooling", expected, pooling)
    kinds = {
        "avg": layers.GlobalAveragePooling2D,
        "max": layers.GlobalMaxPooling2D,
        "spp": SpatialPyramid,
    }
    # In bfloat16 an average of many values loses all but two digits.
    return kinds[pooling](name=f"feature_pool_{number}", dtype="float32")(tensor)
