"""Text backbones of keras-hub, as networks that can be frozen, cut and saved."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail, nearest, warn
from kerastl._compat import graph_nodes, note_process, rerun_graph, sublayers
from kerastl.models.layers import make_freezable
from kerastl.models.record import find_record, read_encoder
from kerastl.models.text_layers import (
    TokenInputs,
    TokenPooling,
    find_text_spec,
    find_tokens,
)
from kerastl.models.text_registry import (
    TEXT_REGISTRY,
    TextSpec,
    match_text_preset,
)
from kerastl.models.tokenizing import TextEncoder
from kerastl.models.weights import (
    bundled_record,
    bundled_texts,
    is_model_file,
    keras_hub,
    mentions,
    read_model_file,
)

#: The bundled networks of texts, as `build_backbone` and `--backbone` know them: one
#: that understands, and one that foresees the next token.
BUNDLED, BUNDLED_DECODER = "MiniText", "MiniGPT"
_RECORDS = {BUNDLED: "texts", BUNDLED_DECODER: "next_token"}

#: What presets are called that lie elsewhere than in keras-hub's own list.
_LENGTH = 128
_PLACES = ("hf://", "kaggle://", "modelscope://")


def is_text_network(backbone: Any) -> bool:
    """Whether what is given as a backbone is one of texts: a model, file or preset."""
    if isinstance(backbone, keras.Model):
        return find_text_spec(backbone) is not None
    if is_model_file(backbone):
        return mentions(Path(backbone).expanduser(), b"kerastl>TokenInputs")
    return _is_text_preset(backbone)


def _is_text_preset(name: Any) -> bool:
    """Whether a name, place or folder is that of a preset of a text network."""
    if isinstance(name, Path):
        return (name / "config.json").is_file()
    if not isinstance(name, str):
        return False
    known = _bundled(name) is not None or match_text_preset(name) is not None
    return known or name.startswith(_PLACES) or (Path(name) / "config.json").is_file()


def bundled_parameters() -> dict[str, int]:
    """Name of each bundled network of texts -> number of its parameters."""
    return {n: bundled_record(record)["parameters"] for n, record in _RECORDS.items()}


def _bundled(name: str) -> str | None:
    """The bundled network of that name, in capitals or not; None: of another."""
    return {known.lower(): known for known in _RECORDS}.get(name.lower())


#: What is said of images, and of networks of `keras.applications`, alone.
_OF_IMAGES = (
    "image_size",
    "resize",
    "alpha",
    "preprocessing",
    "stochastic_depth",
    "channels",
    "weights",
)


def check_image_options(given: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Raise if a network of texts was given an option of networks of images.

    Args:
        given: The options as they came.
        function: Whose options they are; its defaults mean that nothing was given.
    """
    parameters = inspect.signature(function).parameters
    for name in _OF_IMAGES:
        if name in given and given[name] != parameters[name].default:
            fail(name, "left out for a network of texts", given[name])


def build_text_backbone(
    backbone: str | Path | keras.Model,
    *,
    encoder: Any = None,
    sequence_length: int | None = None,
) -> keras.Model:
    """A network of keras-hub that takes ids of tokens and gives a vector for each.

    Its layers become one flat graph, that can be cut after each block; those of DeBERTa
    v3, Gemma and Llama, which cannot be read back one by one, stay one nested layer.
    Weights are copied; `backbone` stays as it is.

    Args:
        backbone: A `Backbone` object of keras-hub: BERT, RoBERTa, XLM-R, DistilBERT,
            ALBERT, ELECTRA, DeBERTa v3, FNet, GPT-2, OPT, Gemma or Llama. Or the name,
            address or folder of a preset, which keras-hub loads. Or `"MiniText"` or
            `"MiniGPT"`, which are bundled. Or a network built here, of which a copy is
            made.
        encoder: The `TextEncoder` whose ids it takes, to travel in its file. None: of a
            preset that brings its tokenizer, that one's.
        sequence_length: Ids in a row, for the tokenizer of a preset; None: as many as
            the network has positions, at most 128.

    Returns:
        Functional model from a dictionary of whole numbers `(n, t)`, `token_ids`,
        `padding_mask` and, of BERT, ALBERT and ELECTRA, `segment_ids` (FNet: ids and
        segments alone), to what keras-hub's gives: vectors `(n, t, d)`, or a
        dictionary of those (`sequence_output`) and of `pooled_output` `(n, d)`.

    Raises:
        ImportError: If keras-hub is not installed.
        TypeError: If it is no model.
        ValueError: If it is of another family, or there is no such preset.

    Example:
        >>> from keras_hub import models  # doctest: +SKIP
        >>> size = dict(num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> bert = models.BertBackbone(vocabulary_size=30, **size)  # doctest: +SKIP
        >>> backbone = build_text_backbone(bert)  # doctest: +SKIP
        >>> sorted(backbone.input), sorted(backbone.output)  # doctest: +SKIP
        (['padding_mask', 'segment_ids', 'token_ids'],
        ['pooled_output', 'sequence_output'])
    """
    note_process()
    source = None
    if isinstance(backbone, str) and (bundled := _bundled(backbone)):
        file = bundled_texts(_RECORDS[bundled])
        backbone = read_model_file(file, "backbone", "the bundled network")
        if encoder is None and sequence_length is not None:
            encoder = read_encoder(backbone).changed(sequence_length=sequence_length)
    elif isinstance(backbone, (str, Path)):
        source = str(backbone)
        backbone = _from_preset(backbone)
        if encoder is None:
            encoder = _preset_encoder(source, backbone, sequence_length)
    if not isinstance(backbone, keras.Model):
        kinds = "a Backbone of keras-hub or the name of a preset"
        fail("backbone", kinds, type(backbone).__name__, error=TypeError)
    if find_tokens(backbone) is not None:
        return copy_text_network(backbone, text=_encoder_config(encoder, backbone))
    spec = find_text_spec(backbone)
    if spec is None:
        inner = find_text_spec(getattr(backbone, "backbone", None))
        hint = "Of a task of keras-hub pass its `.backbone`." if inner else ""
        families = ", ".join(known.name for known in TEXT_REGISTRY.values())
        received = type(backbone).__name__
        fail("backbone", f"a network of {families}", received, hint)
    own = type(backbone).from_config(backbone.get_config())
    copy_state(backbone, own)
    label = Path(source).name if source else f"{backbone.name} (adapted)"
    return _behind_tokens(own, spec, label, _encoder_config(encoder, own))


def _preset_encoder(
    name: str, network: keras.Model, length: int | None
) -> TextEncoder | None:
    """The encoder of the tokenizer that a preset brings; None if it brings none."""
    try:
        tokenizer = keras_hub().tokenizers.Tokenizer.from_preset(name)
    except (ValueError, OSError):
        warn(f"The preset {name!r} brings no tokenizer: pass `encoder` for raw texts.")
        return None
    most = _max_length(network) or _LENGTH
    length = min(_LENGTH, most) if length is None else length
    names = tuple(network.input)
    return TextEncoder(tokenizer, sequence_length=length, names=names)


def _encoder_config(encoder: Any, network: keras.Model) -> dict[str, Any] | None:
    """The configuration of an encoder that fits a network; None without one."""
    if encoder is None:
        return None
    tokens = find_tokens(network)
    size = tokens.vocabulary_size if tokens else _vocabulary_size(network)
    encoder.check_rows(size, "encoder")
    if set(encoder.names) != set(network.input):
        expected = f"for the inputs {', '.join(network.input)}"
        fail("encoder", expected, encoder.names)
    longest = tokens.max_length if tokens else _max_length(network)
    if longest is not None and encoder.sequence_length > longest:
        expected = f"of at most {longest} ids, the positions of {network.name}"
        fail("encoder", expected, encoder.sequence_length)
    return encoder.to_config()


def _vocabulary_size(own: keras.Model) -> int:
    """Rows of the embedding of a network of keras-hub."""
    config = own.get_config()
    return config["vocab_size" if "vocab_size" in config else "vocabulary_size"]


def _max_length(own: keras.Model) -> int | None:
    """Positions of a network of keras-hub; None where there are any number."""
    return own.get_config().get("max_sequence_length")


def _from_preset(name: str | Path) -> keras.Model:
    """What keras-hub builds from a preset's name, address or folder."""
    hub = keras_hub()
    known = match_text_preset(str(name))
    kind = getattr(hub.models, known.backbone) if known else hub.models.Backbone
    try:
        return kind.from_preset(str(name))
    except (ValueError, OSError) as error:
        presets = sorted(getattr(kind, "presets", ()))
        reason = " ".join(str(error).split())[:200]
        hint = nearest(str(name), presets) or f"keras-hub: {reason}"
        return fail("backbone", "a preset that keras-hub can load", str(name), hint)


def _behind_tokens(
    own: keras.Model, spec: TextSpec, label: str, text: dict[str, Any] | None
) -> keras.Model:
    """A network of keras-hub behind the layer that records what it is."""
    tokens = TokenInputs(
        spec.backbone,
        weights=label,
        vocabulary_size=_vocabulary_size(own),
        max_length=_max_length(own),
        text=text,
    )
    inputs = {
        name: keras.Input((None,), dtype="int32", name=name) for name in own.input
    }
    fed = {**inputs, "token_ids": tokens(inputs["token_ids"])}
    if spec.flat:
        outputs = rerun_graph(own, fed, lambda layer, *a, **k: layer(*a, **k))
    else:
        outputs = own(fed)
    network = keras.Model(inputs, outputs, name=own.name)
    for layer in sublayers(network):
        make_freezable(layer)
    return network


def copy_state(old: keras.Model, new: keras.Model) -> None:
    """Give a copy of a network its weights, adapters folded into their kernels."""
    for mine, made in zip(sublayers(old), sublayers(new), strict=True):
        state: dict[str, Any] = {}
        mine.save_own_variables(state)
        # Arrays of its own: JAX frees those that a step was given.
        made.load_own_variables({k: np.array(value) for k, value in state.items()})


def copy_text_network(
    network: keras.Model,
    *,
    text: dict[str, Any] | None = None,
    name: str = "",
    label: str = "",
) -> keras.Model:
    """A copy of a text network built here, adapters folded in.

    Args:
        network: From `build_text_backbone`, or a part of a model on one.
        text: Config of another encoder than the network's; None: its own.
        name: The copy's name; empty: the network's.
        label: Where its weights come from; empty: as it says.
    """
    changes: dict[str, Any] = {} if text is None else {"text": text}
    if label:
        changes["weights"] = label

    def remade(layer: keras.Layer) -> keras.Layer:
        config = {"name": layer.name, **layer.get_config()}
        for setting in ("lora_rank", "lora_alpha"):
            config.pop(setting, None)
        if isinstance(layer, TokenInputs):
            config |= changes
        return type(layer).from_config(config)

    copied = keras.models.clone_model(network, clone_function=remade)
    copy_state(network, copied)
    if name and copied.name != name:
        copied = keras.Model(copied.input, copied.output, name=name)
    for layer in sublayers(copied):
        make_freezable(layer)
    return copied


def sequence_output(network: keras.Model) -> keras.KerasTensor:
    """The vectors `(n, t, d)` that a text network ends in."""
    output = network.output
    return output["sequence_output"] if isinstance(output, dict) else output


def pooled_output(network: keras.Model) -> keras.KerasTensor | None:
    """The vector `(n, d)` of a text network's own pooler; None without one."""
    output = network.output
    return output.get("pooled_output") if isinstance(output, dict) else None


def pool_tokens(
    network: keras.Model, sequence: keras.KerasTensor, pooling: str, name: str
) -> keras.KerasTensor:
    """Vectors `(n, t, d)` of a text network pooled to `(n, d)`, by its mask.

    Args:
        network: It has the mask among its inputs, unless its family takes none.
        sequence: In its graph.
        pooling: `"mean"`, `"cls"` or `"last"`.
        name: The pooling layer's.
    """
    layer = TokenPooling(pooling, name=name)
    mask = network.input.get("padding_mask")
    return layer(sequence if mask is None else [sequence, mask])


def text_below_head(model: keras.Model) -> keras.Model:
    """The backbone of a model of texts, which shares its variables.

    Args:
        model: With a record.
    """
    record = find_record(model)
    made = {id(t): node for node in graph_nodes(model) for t in node.outputs}
    first = model.get_layer(record.head_layers[0])
    tensor = keras.tree.flatten(first.input)[0]
    output: Any = tensor
    if record.pooling == "pooler":
        # Back through the pooler, and the choice of the first token before it.
        choice = made[made[id(tensor)].inputs[0]]
        ids = {id(t): t for node in made.values() for t in node.outputs}
        sequence = ids[choice.inputs[0]]
        output = {"sequence_output": sequence, "pooled_output": tensor}
    return keras.Model(model.input, output, name=record.backbone)


def check_padding_is_ignored(network: keras.Model, argument: str) -> None:
    """Raise where padding changes what a text network says: it takes no mask.

    Texts of such a network must all be padded to one length.

    Args:
        network: Any model.
        argument: What would change the length.
    """
    spec = find_text_spec(network)
    if spec is not None and not spec.has_mask:
        hint = f"{spec.name} takes no mask, so that padding changes its output."
        fail(argument, "one length for all texts of this model", network.name, hint)
