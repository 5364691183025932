"""Heads on backbones, and whole models to and from files."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
from keras import layers

from kerastl._checks import (
    check_choice,
    check_integer,
    check_number,
    fail,
    nearest,
    passed_on,
)
from kerastl._compat import graph_nodes, sublayers
from kerastl._files import new_file, whole_file
from kerastl.data.images import RESIZES
from kerastl.data.sets import ImageSet
from kerastl.data.texts import TextSet
from kerastl.models.adapting import (
    BackbonesInUse,
    adapt_backbone,
    behind_preprocessing,
    check_image_model,
    copy_network,
    refuse_unprepared,
    without_head,
)
from kerastl.models.backbones import build_backbone, draw_weights, using_precision
from kerastl.models.freezing import (
    freeze,
    head_layers,
    partly_trained_layers_frozen,
    settle_frozen_layers,
)
from kerastl.models.layers import make_freezable
from kerastl.models.lora import drop_adapters
from kerastl.models.record import (
    Record,
    find_preprocessing,
    find_record,
    network_size,
    read_encoder,
    read_record,
)
from kerastl.models.registry import REGISTRY, match_spec
from kerastl.models.text_backbones import (
    BUNDLED,
    BUNDLED_DECODER,
    build_text_backbone,
    check_image_options,
    is_text_network,
)
from kerastl.models.text_layers import find_tokens
from kerastl.models.weights import MODEL_SUFFIX, is_model_file, read_model_file
from kerastl.tasks.classification import classification_task
from kerastl.tasks.compiling import compile_model
from kerastl.tasks.task import Task, bind, task_of_set
from kerastl.tasks.text_models import (
    attach_head,
    build_text_model,
    build_token_model,
    open_text_backbone,
)

#: What a backbone is where nobody says it; for texts the bundled network of texts.
DEFAULT_BACKBONE = "MobileNet"

POOLING = ("avg", "max", "concat")


def build_classifier(
    backbone: str | Path | keras.Model,
    classes: int | Sequence[str],
    *,
    task: str = "multiclass",
    pooling: str = "avg",
    hidden: Sequence[int] = (),
    dropout: float = 0.2,
    l2: float = 0.0,
    image_size: int | tuple[int, int] | None = None,
    resize: str = "stretch",
    weights: str | Path | None = "imagenet",
    alpha: float | None = None,
    preprocessing: str | keras.layers.Layer | None = None,
    precision: str | None = None,
    seed: int | None = None,
    learning_rate: float = 1e-3,
) -> keras.Model:
    """A compiled classifier: frozen backbone, pooling and new head in one flat graph.

    It takes RGB 0-255 pixels and returns *logits*; `predict` gives probabilities. The
    layers of a backbone built here become the model's own; a second model on it gets
    copies of them as they are then, and so does any on a foreign model.

    Args:
        backbone: Name in `list_backbones()`, a backbone from `build_backbone`, or any
            functional `keras.Model` with one image input and one feature-map output.
            Or a tuned model or its `.keras` file: a copy of its backbone is taken, its
            head left out, with a warning. For texts a `Backbone` of keras-hub or the
            name of its preset.
        classes: Class names in label order, or their number.
        task: `"multiclass"` (one class an image), `"binary"` (two classes, one
            logit) or `"multilabel"` (any number of classes an image).
        pooling: `"avg"`, `"max"`, or `"concat"` for both side by side. Of texts
            `"mean"` (as `"avg"`) over the real tokens, `"cls"`, the first of them,
            `"last"`, or `"pooler"`, what the network's authors trained on the first.
        hidden: Units of hidden ReLU layers between pooling and logits.
        dropout: Share of the features dropped in training, in [0, 1).
        l2: L2 penalty on the head's kernels; at least 0.
        image_size: Pixels, one number or `(height, width)`; None: the backbone's own.
            For a backbone given as a model it may only repeat that model's size.
        resize: How images of another size are brought to `image_size`: `"stretch"`,
            `"crop"` or `"pad"`.
        weights: For a backbone given by name: see `build_backbone`.
        alpha: Width multiplier, for a backbone given by name.
        preprocessing: For a foreign model: what it expects, `"tf"`, `"caffe"`,
            `"torch"`, `"none"`, or a Keras layer.
        precision: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`; None: as
            Keras is set. The logits are float32 under each. For a backbone given as
            a model it may only repeat what that was built under.
        seed: For everything random: hidden layers, dropout, and a backbone built
            here with `weights=None`.
        learning_rate: For a plain `model.fit`; `run_phases` compiles anew.

    Returns:
        A compiled functional `keras.Model`, `(n, height, width, 3)` to
        `(n, classes)` float32 logits (`(n, 1)` for the binary task).

    Raises:
        ValueError: If an argument is out of range or does not fit the backbone.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> model.output_shape
        (None, 3)
    """
    asked = classification_task(task, classes)
    return build_model(backbone, asked, **passed_on(locals(), build_model))


def build_model(
    backbone: str | Path | keras.Model,
    task: Task,
    *,
    pooling: str = "avg",
    hidden: Sequence[int] = (),
    dropout: float = 0.2,
    l2: float = 0.0,
    image_size: int | tuple[int, int] | None = None,
    resize: str = "stretch",
    weights: str | Path | None = "imagenet",
    alpha: float | None = None,
    channels: int = 3,
    preprocessing: str | keras.layers.Layer | None = None,
    precision: str | None = None,
    seed: int | None = None,
    learning_rate: float = 1e-3,
) -> keras.Model:
    """A compiled model for any task of one vector an image: see `build_classifier`.

    Args:
        backbone: Name, backbone or functional `keras.Model`.
        task: What is asked; one of your own too, see `register_task`.
        pooling: See `build_classifier`, as for all that follows.
        hidden: Units of hidden layers.
        dropout: Share of the features dropped.
        l2: Penalty on the head's kernels.
        image_size: Pixels.
        resize: How images of another size are brought to it.
        weights: For a backbone given by name.
        alpha: Width multiplier.
        channels: Of the images, for a backbone given by name.
        preprocessing: For a foreign model.
        precision: Keras's dtype policy.
        seed: For everything random.
        learning_rate: For a plain `model.fit`.

    Returns:
        A functional `keras.Model` that keeps the task in its record.

    Raises:
        ValueError: If an argument is out of range or does not fit the backbone.
        TypeError: If `task` is no `Task`.

    Example:
        >>> import kerastl
        >>> from kerastl.tasks import MultilabelTask, build_model
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> build_model(backbone, MultilabelTask(("sea", "sky"))).output_shape
        (None, 2)
    """
    if not isinstance(task, Task):
        fail("task", "a kerastl.tasks.Task", task, error=TypeError)
    check_number("dropout", dropout, 0.0, below=1.0)
    check_number("l2", l2, 0.0)
    if not isinstance(hidden, Sequence):
        fail("hidden", "a sequence of numbers", hidden, error=TypeError)
    for units in hidden:
        check_integer("hidden", units, 1)
    check_choice("resize", resize, RESIZES)
    if is_text_network(backbone):
        check_image_options(locals(), build_model)
        if isinstance(backbone, keras.Model):
            _check_precision(backbone, precision)
        head = partial(attach_head, task.units, hidden, dropout, l2, seed)
        build = build_token_model if task.of_tokens else build_text_model
        return build(backbone, task, **passed_on(locals(), build))
    check_choice("pooling", pooling, POOLING)
    if task.dense:
        for name, given in (("hidden", hidden), ("l2", l2)):
            if given:
                fail(name, f"left out for the {task.name} task", given)
        usual = partial(_usual_head, seed=seed)
        return assemble(backbone, task, usual, **passed_on(locals(), assemble))

    def attach(network: keras.Model, task: Task) -> tuple[keras.KerasTensor, list[str]]:
        pooled = _pool(network.output, pooling)
        return attach_head(task.units, hidden, dropout, l2, seed, *pooled)

    return assemble(backbone, task, attach, **passed_on(locals(), assemble))


def build_for_data(
    backbone: str | keras.Model,
    train: ImageSet | TextSet,
    *,
    task: str | Task = "auto",
    seed: int,
    **options: Any,
) -> keras.Model:
    """The model that `transfer` trains: what nobody said follows from the data.

    Args:
        backbone: As for `transfer`; for texts `DEFAULT_BACKBONE` means `"MiniText"`,
            for a language model `"MiniGPT"`.
        train: What it will learn from: its images' size and channels, or its texts'
            length, and what it asks.
        task: As for `transfer`.
        seed: Of all random parts.
        **options: Of `transfer` and `build_model`.

    Raises:
        ValueError: If an option is for images and the data are texts, or the reverse.
    """
    texts = {name: options.pop(name, None) for name in ("sequence_length", "truncate")}
    channels = options.pop("channels", None)
    if isinstance(train, TextSet):
        if channels is not None:
            fail("channels", "left out for texts", channels)
        backbone = usual_backbone(backbone, train, task)
        network = _text_network(backbone, train, **texts, **options)
        options = {k: v for k, v in options.items() if k in ("dropout", "precision")}
        asked = task_of_set(train, task)
        return build_model(network, asked, seed=seed, **options)
    if texts["sequence_length"] is not None or texts["truncate"] not in (None, "head"):
        fail("sequence_length and truncate", "left out for images", texts)
    if is_text_network(backbone):
        fail("backbone", "a network of images for images", str(backbone))
    if isinstance(backbone, keras.Model):
        options.update(weights=None, alpha=None)
    else:
        options["channels"] = channels or _bands(train) or 3
    asked = task_of_set(train, task)
    if isinstance(backbone, str) and not is_model_file(backbone):
        options["image_size"] = options["image_size"] or asked.usual_size(train)
    return build_model(backbone, asked, seed=seed, **options)


def usual_backbone(
    backbone: Any, train: ImageSet | TextSet, task: str | Task = "auto"
) -> Any:
    """The backbone, or for texts the bundled one where nobody said another."""
    texts = isinstance(train, TextSet)
    default = isinstance(backbone, str) and match_spec(backbone)
    if not (texts and default and default.name == DEFAULT_BACKBONE):
        return backbone
    asked = task if isinstance(task, str) else task.name
    return BUNDLED_DECODER if asked == "language" else BUNDLED


def _bands(images: ImageSet) -> int | None:
    """The channels of an array that no network for RGB takes; None: of another."""
    pixels = images.images
    if isinstance(pixels, tuple) or pixels.ndim < 4 or pixels.shape[3] in (1, 3, 4):
        return None
    return pixels.shape[3]


def _text_network(
    backbone: Any,
    train: TextSet,
    *,
    sequence_length: int | None,
    truncate: str | None,
    **options: Any,
) -> keras.Model:
    """The network of texts that is named, its encoder as long as the texts need."""
    defaults = {"alpha": None, "image_size": None, "preprocessing": None}
    defaults |= {"resize": "stretch", "weights": "tiny"}
    for name, default in defaults.items():
        if options.get(name, default) != default:
            fail(name, "left out for texts", options[name])
    if not is_text_network(backbone):
        hint = (
            f"Pass {BUNDLED!r}, which is bundled ({BUNDLED_DECODER!r} for a language "
            "model), the folder or name of a keras-hub preset, a model of texts built "
            "by kerastl, or its .keras file."
        )
        expected = "a network of texts, as these data are texts"
        fail("backbone", expected, str(backbone), hint)
    network = open_text_backbone(backbone)
    encoder = read_encoder(network, name="backbone").changed(
        truncate=truncate or "head"
    )
    if sequence_length is None:
        encoder = encoder.fitted(train.texts, find_tokens(network).max_length)
    else:
        encoder = encoder.changed(sequence_length=sequence_length)
    return build_text_backbone(network, encoder=encoder)


def _usual_head(
    network: keras.Model, task: Task, seed: int | None
) -> tuple[keras.KerasTensor, Sequence[str]]:
    """A dense task's own head, of the usual size."""
    return task.attach(network, seed)


def assemble(
    backbone: str | Path | keras.Model,
    task: Task,
    attach: Callable[[keras.Model, Any], tuple[keras.KerasTensor, Sequence[str]]],
    *,
    image_size: int | tuple[int, int] | None,
    resize: str,
    weights: str | Path | None,
    alpha: float | None,
    preprocessing: str | keras.layers.Layer | None,
    precision: str | None,
    seed: int | None,
    learning_rate: float,
    channels: int = 3,
) -> keras.Model:
    """A compiled model: a frozen backbone, and what `attach` puts on it.

    `attach` takes the backbone and the task as asked of it, and gives the head's
    outputs and the names of its layers, the first of them on the backbone's own output.
    The options are those of `build_model`.
    """
    check_choice("resize", resize, RESIZES)
    with using_precision(precision):
        named = isinstance(backbone, (str, Path))
        new = named and weights is None and not is_model_file(backbone)
        backbone = _resolve_backbone(
            backbone, image_size, weights, alpha, channels, preprocessing
        )
        if new and seed is not None:
            draw_weights(backbone, seed)
        _check_precision(backbone, precision)
        size = network_size(backbone, image_size)
        if task.dense and None in backbone.input_shape[1:3]:
            # An answer at each place has a shape that must be known.
            backbone = copy_network(backbone, image_size=size)
        task = task.on_network(backbone, resize)
        logits, head = attach(backbone, task)
        source = find_preprocessing(backbone)
        record = Record(
            task=task.to_config(),
            image_size=size,
            resize=resize,
            backbone=source.backbone,
            weights=source.weights_source,
            head_layers=(*head, task.output_name),
            channels=backbone.input_shape[-1],
        )
        outputs = task.output_layer(record.to_config())(logits)
        name = f"{backbone.name}_{task.model_name}"
        model = keras.Model(backbone.input, outputs, name=name)
    _IN_USE.add(source, backbone)
    freeze(model)
    compile_model(model, learning_rate=learning_rate)
    return model


def head_names(
    backbone: keras.Model, outputs: keras.KerasTensor, seed: int | None = None
) -> list[str]:
    """Names of the layers between a backbone and what was put on it, bottom first.

    Args:
        backbone: What the outputs are computed from.
        outputs: Of the head, in the backbone's graph.
        seed: Draws their kernels anew, each from a seed of its own; None: as they are.
    """
    whole = keras.Model(backbone.input, outputs)
    known = {layer.name for layer in backbone.layers}
    found = [node.layer for node in graph_nodes(whole) if node.layer.name not in known]
    # What stands on the backbone's own output first: there a tuned model is cut.
    top = id(backbone.output)
    first = next(n.layer for n in graph_nodes(whole) if n.inputs == (top,))
    found.sort(key=lambda layer: layer is not first)
    for number, layer in enumerate(found):
        if seed is not None and layer.weights:
            draw_weights(layer, seed + number + 1)
    return [layer.name for layer in found]


_IN_USE = BackbonesInUse()


def _resolve_backbone(
    backbone: str | Path | keras.Model,
    image_size: int | tuple[int, int] | None,
    weights: str | Path | None,
    alpha: float | None,
    channels: int,
    preprocessing: str | keras.layers.Layer | None,
) -> keras.Model:
    """A flat backbone behind its preprocessing, from whatever was given."""
    if isinstance(backbone, (str, Path)):
        if not is_model_file(backbone) and match_spec(str(backbone)) is None:
            hint = nearest(backbone, REGISTRY) or "See kerastl.list_backbones()."
            expected = "a network of keras.applications or a .keras file"
            fail("backbone", expected, str(backbone), hint)
        options = {"weights": weights, "alpha": alpha, "channels": channels}
        return build_backbone(backbone, image_size=image_size, **options)
    if not isinstance(backbone, keras.Model):
        kinds = "a backbone's name or a keras.Model"
        fail("backbone", kinds, type(backbone).__name__, error=TypeError)
    if find_record(backbone) is not None:
        return without_head(backbone, image_size)
    first = find_preprocessing(backbone)
    if preprocessing is None and first is not None:
        # Training one of two models must not move the other.
        taken = _IN_USE.has(first, backbone)
        return copy_network(backbone) if taken else backbone
    if preprocessing is None:
        refuse_unprepared()
    return adapt_backbone(backbone, preprocessing=preprocessing, image_size=image_size)


def _check_precision(backbone: keras.Model, precision: str | None) -> None:
    """Raise if the layers that are there compute in another precision."""
    found = {layer.dtype_policy.name for layer in backbone.layers if layer.weights}
    if precision is not None and found and precision not in found:
        listed = " or ".join(repr(name) for name in sorted(found))
        hint = "Give its name, or set Keras's dtype policy and build it anew."
        fail("precision", f"{listed}, as the backbone {backbone.name}", precision, hint)


def _pool(
    features: keras.KerasTensor, pooling: str
) -> tuple[keras.KerasTensor, list[str]]:
    """Turn feature maps `(n, h, w, c)` into vectors; vectors pass as they are."""
    if len(features.shape) == 2:
        return features, []
    kinds = {
        "avg": layers.GlobalAveragePooling2D,
        "max": layers.GlobalMaxPooling2D,
    }
    if pooling != "concat":
        name = f"head_pool_{pooling}"
        return kinds[pooling](name=name)(features), [name]
    both = [kind(name=f"head_pool_{name}")(features) for name, kind in kinds.items()]
    names = [f"head_pool_{name}" for name in kinds]
    return layers.Concatenate(name="head_pool")(both), [*names, "head_pool"]


def adapt_model(
    model: keras.Model,
    class_names: Sequence[str] = (),
    *,
    task: str | Task = "multiclass",
    preprocessing: str | keras.layers.Layer | Sequence[keras.layers.Layer] = "none",
    image_size: int | tuple[int, int] | None = None,
    resize: str = "stretch",
) -> keras.Model:
    """A finished model of another origin as one of kerastl, compiled.

    `predict`, `evaluate`, `calibrate`, `save_model`, `unfreeze` and `fine_tune` work
    with it as with any model built here. Layers and weights are copied; `model` stays
    as it is. A softmax or sigmoid at its end is left out: models here return logits.

    Args:
        model: Functional or Sequential model with one image input and one output
            `(n, units)`.
        class_names: Names in the order of the outputs; of the two of `"binary"` the
            single output is for the second.
        task: `"multiclass"`, `"binary"` or `"multilabel"`, or a `kerastl.tasks.Task`,
            which has names of its own.
        preprocessing: What the model expects: see `adapt_backbone`. `"none"`: RGB
            pixels 0-255.
        image_size: Pixels, one number or `(height, width)`; None: the model's own.
        resize: As for `build_classifier`.

    Returns:
        Functional model, `(n, height, width, 3)` to logits, or numbers, in float32.

    Raises:
        ValueError: If the model's outputs are not those of the task, it was built here,
            or it takes images of any size and no size is given.
        TypeError: If it is no functional model.

    Example:
        >>> import kerastl
        >>> x = keras.Input((8, 8, 3))
        >>> y = layers.Dense(2, "softmax")(layers.GlobalAveragePooling2D()(x))
        >>> model = kerastl.adapt_model(keras.Model(x, y), ("dark", "light"))
        >>> kerastl.class_names(model)
        ('dark', 'light')
    """
    if not isinstance(task, Task):
        task = classification_task(task, class_names)
    elif class_names:
        fail("class_names", "left out where `task` has its own", class_names)
    check_choice("resize", resize, RESIZES)
    source = check_image_model(model)
    _check_outputs(source, task)
    network = behind_preprocessing(
        source, preprocessing, image_size, _without_activation(source, task)
    )
    first = find_preprocessing(network)
    record = Record(
        task=task.to_config(),
        image_size=network_size(network, image_size),
        resize=resize,
        backbone=first.backbone,
        weights=first.weights_source,
        head_layers=(*head_layers(network), task.output_name),
    )
    outputs = task.output_layer(record.to_config())(network.output)
    adapted = keras.Model(network.input, outputs, name=model.name)
    if adapted.trainable_variables:
        compile_model(adapted)
    return adapted


#: What ends a model in probabilities, and the tasks for which it does.
_ENDS = {"softmax": ("multiclass",), "sigmoid": ("binary", "multilabel")}


def _activation(layer: Any) -> str:
    """The name of the activation that a layer or an operation of Keras ends with."""
    function = getattr(layer, "activation", None)
    return getattr(function, "__name__", type(layer).__name__).lower()


def _check_outputs(model: keras.Model, task: Task) -> None:
    """Raise unless the model's outputs can be the task's."""
    shape = tuple(model.outputs[0].shape)
    if len(shape) != 2 or shape[-1] != task.units:
        hint = "Two outputs with a softmax are a `multiclass` task of two names."
        expected = f"a model that ends in (n, {task.units}) for the {task.name} task"
        fail("model", expected, shape, hint if task.units == 1 else "")
    end = _activation(model.operations[-1])
    if task.has_temperature and task.name not in _ENDS.get(end, (task.name,)):
        fail("task", " or ".join(map(repr, _ENDS[end])) + f" after a {end}", task.name)


def _without_activation(model: keras.Model, task: Task) -> Callable[..., Any]:
    """What copies a model's layers, the last one without its softmax or sigmoid."""
    last = model.operations[-1]
    ends = task.has_temperature and _activation(last) in _ENDS

    def call(copy: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer is not last or not ends:
            return copy(layer, *args, **kwargs)
        if not getattr(layer, "weights", ()):
            return args[0]
        linear = type(layer).from_config({**layer.get_config(), "activation": None})
        output = linear(*args, **kwargs)
        linear.set_weights(layer.get_weights())
        return output

    return call


def save_model(model: keras.Model, path: str | Path, *, overwrite: bool = True) -> None:
    """Write a classifier to a `.keras` file, whole or not at all.

    A file that is there already survives a full disk or an interruption. The
    optimizer is left out: it is no use to the best weights of a finished run. Adapters
    go into the kernels; `save_adapters` keeps them apart.

    Args:
        model: A classifier from `build_classifier`.
        path: File name ending in `.keras`; its folder must exist.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        ValueError: If the name does not end in `.keras`, the file exists and may not
            be replaced, or the model was not built by `build_classifier`.
        FileNotFoundError: If the folder does not exist.
        OSError: If the file cannot be written, for example on a full disk.

    Example:
        >>> import pathlib, tempfile, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "pets.keras"
        >>> kerastl.save_model(model, path)
        >>> kerastl.class_names(kerastl.load_model(path))
        ('cat', 'dog', 'owl')
    """
    read_record(model)
    path = new_file(path, MODEL_SUFFIX, overwrite=overwrite)
    plain = keras.Model(model.input, model.output, name=model.name)
    with whole_file(path) as draft, partly_trained_layers_frozen(plain):
        plain.save(draft)


def load_model(path: str | Path) -> keras.Model:
    """Read a classifier back, compiled.

    `keras.models.load_model` reads the same file, as long as `kerastl` is imported.

    Args:
        path: A file written by `save_model` or `model.save`.

    Returns:
        The classifier, ready for `predict`, `evaluate` and `run_phases`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a Keras model file, or not a classifier of kerastl.

    Example:
        >>> import kerastl
        >>> kerastl.load_model("nowhere.keras")
        Traceback (most recent call last):
            ...
        FileNotFoundError: `path` must be a model file (.keras), whole. Received: ...
    """
    model = read_model_file(path, "path", "a model file (.keras), whole")
    _check_record(model, path)
    for layer in sublayers(model):
        # Subclasses of dropout come back as they were before `freeze`.
        make_freezable(layer)
    settle_frozen_layers(model)
    # The file's kernels hold what the adapters had learnt; theirs are zeros.
    drop_adapters(model)
    if model.trainable_variables:
        compile_model(model)
    return model


def _check_record(model: keras.Model, path: str | Path) -> None:
    """Raise unless a model says of itself what it is."""
    try:
        task = bind(model).task
    except (ValueError, TypeError, KeyError) as error:
        hint = f"Its record cannot be read: {error}"
        fail("path", "a model of kerastl", str(path), hint)
    if task is None:
        hint = "It was not made by kerastl.build_classifier."
        fail("path", "a classifier of kerastl", str(path), hint)
    units = model.layers[-1].input.shape[-1]
    if units != task.units:
        hint = f"Its record names {task.units} outputs, and its head has {units}."
        fail("path", "a model whose names are those of its outputs", str(path), hint)
