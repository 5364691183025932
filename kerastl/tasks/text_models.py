"""Heads, and models of text backbones with one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
from keras import layers

from kerastl._checks import check_choice, fail, warn
from kerastl.models.adapting import BackbonesInUse
from kerastl.models.backbones import using_precision
from kerastl.models.freezing import freeze, unfreeze
from kerastl.models.record import Record, find_record, is_pretrained
from kerastl.models.text_backbones import (
    build_text_backbone,
    copy_text_network,
    pool_tokens,
    pooled_output,
    sequence_output,
    text_below_head,
)
from kerastl.models.text_layers import TEXT_POOLINGS, find_tokens
from kerastl.models.weights import is_model_file, read_model_file
from kerastl.tasks.compiling import compile_model
from kerastl.tasks.task import Task

_IN_USE = BackbonesInUse()


def open_text_backbone(backbone: str | Path | keras.Model) -> keras.Model:
    """A text network to build on, from whatever was given; a copy if it is in use.

    Args:
        backbone: From `build_text_backbone`, or what that takes; or a tuned model of
            texts or its file, whose head is left out, with a warning.
    """
    if is_model_file(backbone):
        expected = "the file of a tuned model, whole"
        backbone = read_model_file(backbone, "backbone", expected)
    if not isinstance(backbone, keras.Model) or find_tokens(backbone) is None:
        return build_text_backbone(backbone)
    record = find_record(backbone)
    if record is None:
        taken = _IN_USE.has(find_tokens(backbone), backbone)
        return copy_text_network(backbone) if taken else backbone
    asked = ", ".join(record.class_names[:12]) or record.task["name"]
    warn(
        f"The head of {backbone.name} ({asked}) is left out: what is built starts from "
        "a copy of its backbone."
    )
    below = text_below_head(backbone)
    tuned = f"{backbone.name} (tuned)" if is_pretrained(backbone) else ""
    return copy_text_network(below, name=record.backbone, label=tuned)


def build_text_model(
    backbone: str | Path | keras.Model,
    task: Task,
    *,
    head: Callable[[keras.KerasTensor, list[str]], tuple[keras.KerasTensor, list[str]]],
    pooling: str = "mean",
    precision: str | None = None,
    learning_rate: float = 1e-3,
) -> keras.Model:
    """A compiled model of texts for a task of one vector each, its backbone frozen.

    Args:
        backbone: See `open_text_backbone`.
        task: What is asked.
        head: From pooled features, and names of the layers that pooled them, to the
            task's units, and the names of all layers since.
        pooling: `"mean"`, `"cls"`, `"last"`, or `"pooler"`: see `build_classifier`.
        precision: Keras's dtype policy.
        learning_rate: For a plain `model.fit`.
    """
    with using_precision(precision):
        network = open_text_backbone(backbone)
        features, names = pooled_features(network, pooling)
        outputs, names = head(features, names)
        return finished_model(network, task, outputs, names, pooling, learning_rate)


def build_token_model(
    backbone: str | Path | keras.Model,
    task: Task,
    *,
    head: Callable[..., tuple[keras.KerasTensor, list[str]]] | None,
    precision: str | None = None,
    learning_rate: float = 1e-3,
) -> keras.Model:
    """The same for a task of each token, whose head is that of every position.

    A task may need no new head: then all of the network trains.
    """
    with using_precision(precision):
        network = open_text_backbone(backbone)
        task = task.on_network(network, "")
        outputs, names = task.attach_tokens(network, sequence_output(network), head)
        model = finished_model(network, task, outputs, names, "", learning_rate)
    if not names:
        unfreeze(model, "all")
        compile_model(model, learning_rate=learning_rate)
    return model


def finished_model(
    network: keras.Model,
    task: Task,
    outputs: keras.KerasTensor,
    names: Sequence[str],
    pooling: str = "",
    learning_rate: float = 1e-3,
) -> keras.Model:
    """The model of texts with its record, frozen and compiled.

    Args:
        network: The backbone; its layers become the model's.
        task: What is asked.
        outputs: Of the head's last layer.
        names: Of the head's layers.
        pooling: How tokens became one vector; empty: they did not.
        learning_rate: For a plain `model.fit`.
    """
    tokens = find_tokens(network)
    record = Record(
        task=task.to_config(),
        image_size=(),
        resize="",
        backbone=network.name,
        weights=tokens.weights_source,
        head_layers=(*names, task.output_name),
        channels=0,
        text=tokens.text,
        pooling=pooling,
    )
    last = task.output_layer(record.to_config())(outputs)
    model = keras.Model(network.input, last, name=f"{network.name}_{task.model_name}")
    _IN_USE.add(tokens, network)
    freeze(model)
    if model.trainable_variables:
        compile_model(model, learning_rate=learning_rate)
    return model


def attach_head(
    units: int,
    hidden: Sequence[int],
    dropout: float,
    l2: float,
    seed: int | None,
    features: keras.KerasTensor,
    names: Sequence[str],
) -> tuple[keras.KerasTensor, list[str]]:
    """Logits on top of features, and the names of the layers since the backbone.

    Args:
        units: Width of the last dense layer, which begins with zeros.
        hidden: Units of hidden layers.
        dropout: Share of the features dropped.
        l2: Penalty on the kernels.
        seed: For everything random.
        features: `(n, d)`, or `(n, t, d)`: then each position has its logits.
        names: Of the layers that made them of the backbone's output.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    stack: list[keras.Layer] = []
    if dropout:
        stack.append(layers.Dropout(dropout, seed=seed, name="head_dropout"))
    for number, width in enumerate(hidden, 1):
        dense = layers.Dense(
            width,
            activation="relu",
            # A seed of its own: equal ones would make layers of one shape alike.
            kernel_initializer=keras.initializers.HeNormal(
                None if seed is None else seed + number
            ),
            kernel_regularizer=penalty,
            name=f"head_hidden_{number}",
        )
        stack.append(dense)
    # Zeros make the first loss exactly the loss of knowing nothing, for any features.
    last = layers.Dense(
        units,
        kernel_initializer="zeros",
        kernel_regularizer=penalty,
        dtype="float32",
        name="head_dense",
    )
    stack.append(last)
    x = features
    for layer in stack:
        x = layer(x)
    return x, [*names, *(layer.name for layer in stack)]


def pooled_features(
    network: keras.Model, pooling: str
) -> tuple[keras.KerasTensor, list[str]]:
    """One vector a text, and the names of the layers that pooled it.

    Raises:
        ValueError: If there is no such pooling, or the network has no pooler.
    """
    # What images call an average is one over real tokens here.
    pooling = "mean" if pooling == "avg" else pooling
    check_choice("pooling", pooling, TEXT_POOLINGS)
    if pooling == "pooler":
        pooled = pooled_output(network)
        if pooled is None:
            hint = "Its authors trained no pooler."
            expected = "'mean', 'cls' or 'last'"
            fail("pooling", f"{expected} for {network.name}", pooling, hint)
        return pooled, []
    name = f"head_pool_{pooling}"
    made = pool_tokens(network, sequence_output(network), pooling, name)
    return made, [name]
