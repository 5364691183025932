"""What a model says of itself, kept inside its `.keras` file."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_number, fail, image_size_pair, warn
from kerastl._compat import sublayers
from kerastl.models.layers import Preprocessing, TaskOutputs
from kerastl.models.text_layers import find_tokens
from kerastl.models.tokenizing import TextEncoder


@dataclass(frozen=True)
class Record:
    """What a model says of itself: what it was asked, and what it wants as input.

    Attributes:
        task: JSON of what its outputs mean: `"name"` and the task's own fields, such
            as `"class_names"`; see `kerastl.tasks.Task`.
        image_size: `(height, width)` in pixels; empty for texts.
        resize: How other sizes are brought to `image_size`: `"stretch"`, `"crop"`
            or `"pad"`.
        backbone: The backbone's name.
        weights: Where the backbone's weights come from; `"none"`: random.
        head_layers: Names of the layers that make up the head, the last one included.
        temperature: What the logits are divided by; 1: not calibrated.
        channels: Of its images: 3 is RGB, 1 grey.
        text: Of a model of texts its encoder, as `TextEncoder.to_config` writes it,
            the vocabulary included; None for images.
        pooling: Of a model of texts how tokens become one vector: `"mean"`, `"cls"`,
            `"last"` or `"pooler"`; empty where they do not.
        trained_size: `(height, width)` of the images that the weights were trained on,
            where it is another than `image_size`: see `with_image_size`.
        prior: What `fold_prior` has added to the head's bias; empty: nothing.
        operating: Of a classifier of two classes the `"threshold"` from which on the
            second is given, the aim and images that chose it; None: one half.
        version: Of this form of record.
    """

    task: dict[str, Any]
    image_size: tuple[int, int]
    resize: str
    backbone: str
    weights: str
    head_layers: tuple[str, ...]
    temperature: float = 1.0
    channels: int = 3
    text: dict[str, Any] | None = None
    pooling: str = ""
    trained_size: tuple[int, int] | None = None
    prior: tuple[float, ...] = ()
    operating: dict[str, Any] | None = None
    version: int = 2

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the outputs; empty where no class is asked for."""
        return tuple(self.task.get("class_names", ()))

    def to_config(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Record":
        """Rebuild from `to_config`.

        Raises:
            ValueError: If it has a field too many or too few, or a later version.
        """
        known = {field.name: field.default is MISSING for field in fields(cls)}
        later = config.get("version", 0) > cls.version
        strange = sorted(set(config) - set(known))
        strange += [each for each in known if known[each] and each not in config]
        if later or strange:
            shown = ", ".join([f"version {config.get('version')}", *strange])
            expected = f"of a record that this kerastl reads (version {cls.version})"
            fail("model", expected, shown, "Update kerastl, or build the model anew.")
        return cls(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in config.items()
            }
        )


def find_record(model: keras.Model) -> Record | None:
    """What the model says of itself, or None if it was not built here."""
    for layer in reversed(model.layers):
        if isinstance(layer, TaskOutputs):
            return Record.from_config(layer.record)
    return None


def read_record(model: keras.Model) -> Record:
    """What the model says of itself.

    Raises:
        ValueError: If the model was not built here.
    """
    found = find_record(model)
    if found is None:
        fail(
            "model",
            "a classifier built by build_classifier",
            getattr(model, "name", type(model).__name__),
            "A finished model gets its names by kerastl.adapt_model(model, names).",
        )
    return found


def set_temperature(model: keras.Model, temperature: float) -> None:
    """Divide the classifier's logits by `temperature` from now on.

    Args:
        model: A classifier.
        temperature: Above 0; 1: the head's own logits.

    Raises:
        ValueError: If it is not above 0, or the model is no classifier.
    """
    check_number("temperature", temperature, above=0.0, below=float("inf"))
    record = read_record(model)
    if record.temperature == temperature:
        return
    for layer in model.layers:
        if isinstance(layer, TaskOutputs):
            layer.record["temperature"] = float(temperature)
    if record.operating is not None:
        # Where it was in logits, so that each decision stays.
        moved = dict(record.operating)
        ratio = record.temperature / temperature
        moved["threshold"] = _rescaled(moved["threshold"], ratio)
        set_operating(model, moved)
    # Compiled functions hold the old one; Keras makes new ones where there is none.
    model.train_function = model.test_function = model.predict_function = None


def fold_prior(model: keras.Model, log_ratio: np.ndarray | None) -> None:
    """Add numbers to a classifier's logits, in the bias of its head.

    What was added before is taken back first, to the bit.

    Args:
        model: A classifier.
        log_ratio: One number a logit; None: nothing is added.

    Raises:
        ValueError: If the head's last layer has no bias, or changes what it adds to.
    """
    record = read_record(model)
    head = [model.get_layer(name) for name in record.head_layers]
    layer = next((layer for layer in reversed(head) if layer.weights), None)
    bias = getattr(layer, "bias", None)
    linear = getattr(layer, "activation", None) in (None, keras.activations.linear)
    if bias is None or not linear:
        expected = "a classifier whose head ends in a linear layer with a bias"
        fail("model", expected, getattr(layer, "name", model.name))
    own = keras.ops.convert_to_numpy(bias).astype("float64")
    if record.prior:
        own = own - np.array(record.prior)
    kept = own
    if log_ratio is not None:
        bias.assign(own + record.temperature * np.asarray(log_ratio, "float64"))
        kept = keras.ops.convert_to_numpy(bias).astype("float64")
    else:
        bias.assign(own)
    for each in model.layers:
        if isinstance(each, TaskOutputs):
            # What was added after rounding: to be taken back exactly.
            each.record["prior"] = [] if log_ratio is None else (kept - own).tolist()


def forget_prior(model: keras.Model) -> None:
    """Take a prior back, with a warning: what trains on learns its own shares."""
    record = find_record(model)
    if record is not None and record.prior:
        fold_prior(model, None)
        message = "The prior that was set is taken back for training: set it again."
        warn(message)


def _rescaled(probability: float, ratio: float) -> float:
    """The probability whose logit is so many times that of another."""
    if not 0 < probability < 1:
        return probability
    logit = math.log(probability) - math.log1p(-probability)
    return 1 / (1 + math.exp(-min(max(logit * ratio, -700.0), 700.0)))


def set_operating(model: keras.Model, operating: dict[str, Any] | None) -> None:
    """Keep what decides between two classes in the model; None: one half does.

    Args:
        model: A classifier.
        operating: As `Record.operating`.
    """
    read_record(model)
    for layer in model.layers:
        if isinstance(layer, TaskOutputs):
            layer.record["operating"] = operating


def forget_settings(model: keras.Model) -> None:
    """Set the temperature to 1 and drop the threshold: they belonged to other weights.

    That is said.
    """
    record = find_record(model)
    if record is None or (record.temperature == 1 and record.operating is None):
        return
    put_settings(model, 1.0, None)
    tell_lost(record)


def put_settings(
    model: keras.Model, temperature: float, operating: dict[str, Any] | None
) -> None:
    """Set temperature and threshold, as a record had them."""
    set_operating(model, None)
    set_temperature(model, temperature)
    set_operating(model, operating)


def tell_lost(record: Record) -> None:
    """Warn that what a model was set to by images belongs to weights that are gone."""
    if record.temperature != 1:
        warn("The model was calibrated for other weights: calibrate it again.")
    if record.operating is not None:
        warn("The model's threshold was chosen for other weights: choose it again.")


@contextmanager
def uncalibrated(model: keras.Model) -> Iterator[None]:
    """The head's own logits for as long as this lasts: training knows no temperature.

    Functions compiled meanwhile hold them; those compiled before are left alone.

    Args:
        model: Any model; one without a temperature stays as it is.
    """
    layers = [layer for layer in model.layers if isinstance(layer, TaskOutputs)]
    kept = [layer.record.get("temperature", 1.0) for layer in layers]
    try:
        for layer in layers:
            layer.record["temperature"] = 1.0
        yield
    finally:
        for layer, temperature in zip(layers, kept, strict=True):
            layer.record["temperature"] = temperature


def find_encoder(model: keras.Model) -> TextEncoder | None:
    """The encoder that makes a model's inputs of texts, or None."""
    record, tokens = find_record(model), find_tokens(model)
    config = record.text if record is not None else tokens and tokens.text
    return None if config is None else TextEncoder.from_config(config)


def read_encoder(model: keras.Model, *, name: str = "model") -> TextEncoder:
    """The text encoder of a model that is given texts, or of its backbone.

    Args:
        model: A text network of `build_backbone`, or a model on one.
        name: What to call it in an error.

    Returns:
        What turns texts into the rows of ids that it takes.

    Raises:
        ValueError: If it is a model of images, or has no tokenizer with it.

    Example:
        >>> read_encoder(model)(["A fine film"])["token_ids"].shape  # doctest: +SKIP
        (1, 64)
    """
    found = find_encoder(model)
    if found is None:
        texts = find_tokens(model) is not None
        expected = "one with its tokenizer" if texts else "a model of texts"
        hint = "Build its backbone with `encoder`: see build_backbone." if texts else ""
        fail(name, expected, model.name, hint)
    return found


def find_preprocessing(model: keras.Model) -> Preprocessing | None:
    """The backbone's preprocessing layer, or None for a model not built here."""
    for layer in model.layers:
        if isinstance(layer, Preprocessing):
            return layer
    return None


def network_size(
    network: keras.Model, image_size: int | tuple[int, int] | None = None
) -> tuple[int, int]:
    """`(height, width)` that a network takes; an argument may repeat it or fill it in.

    Empty for a network of texts.

    Raises:
        ValueError: If the argument contradicts the network, or neither says it.
    """
    if find_tokens(network) is not None:
        if image_size is not None:
            fail("image_size", "None for a network of texts", image_size)
        return ()
    own = tuple(network.input_shape[1:3])
    if None in own:
        own = find_preprocessing(network).image_size
    asked = None if image_size is None else image_size_pair("image_size", image_size)
    if own is None and asked is None:
        fail("image_size", "given, as the backbone takes images of any size", None)
    if own is not None and asked is not None and tuple(own) != asked:
        hint = "Build the backbone at the size you want."
        fail("image_size", f"{tuple(own)}, the backbone's own", asked, hint)
    return asked if own is None else tuple(own)


def has_loaded_weights(model: keras.Model) -> bool:
    """Whether the backbone was built with weights; unknown models count as such."""
    layer = find_preprocessing(model) or find_tokens(model)
    return layer is None or layer.weights_source != "none"


def is_pretrained(model: keras.Model) -> bool:
    """Whether the backbone has learnt something: loaded, or trained since.

    Read off the BatchNorm statistics where the weights began at random: those of a
    new layer are zeros. Unknown models count as pretrained, which is the safe side.
    """
    if has_loaded_weights(model):
        return True
    means = (
        part.moving_mean
        for part in sublayers(model)
        if isinstance(part, keras.layers.BatchNormalization)
    )
    return any(bool(keras.ops.any(mean != 0)) for mean in means)


def has_lost_weights(model: keras.Model) -> bool:
    """Whether weights were loaded once and are now as Keras makes new ones.

    `keras.models.clone_model` copies layers without weights. New biases, scales and
    statistics are zeros and ones; those that have learnt hardly ever are.
    """
    backbone = find_preprocessing(model) or find_tokens(model)
    # Of somebody's own network nobody knows whether it ever had any.
    if backbone is None or backbone.weights_source.endswith(("none", "(adapted)")):
        return False
    record = find_record(model)
    head = set(record.head_layers) if record else set()
    vectors = [
        keras.ops.convert_to_numpy(weight)
        for layer in model.layers
        if layer.name not in head and layer is not backbone
        for weight in layer.weights
        if len(weight.shape) == 1
    ]
    return bool(vectors) and all(
        not array.any() or bool((array == 1).all()) for array in vectors
    )


def class_names(model: keras.Model) -> tuple[str, ...]:
    """The classifier's class names, in the order of its outputs.

    They are stored inside the `.keras` file and survive `keras.models.load_model`,
    as long as `kerastl` has been imported.

    Args:
        model: A classifier from `build_classifier`, or one loaded from its file.

    Returns:
        One name per class; two for the binary task, whose single logit is for the
        second.

    Raises:
        ValueError: If the model is no classifier of `build_classifier`.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> kerastl.class_names(model)
        ('cat', 'dog', 'owl')
    """
    names = read_record(model).class_names
    if not names:
        fail("model", "a classifier", getattr(model, "name", model))
    return names
