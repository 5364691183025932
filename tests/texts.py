"""Tiny text networks of keras-hub, each built once, and token ids for them."""

from functools import cache

import keras
import numpy as np
import pytest

from kerastl.models.text_registry import TEXT_REGISTRY

#: Ids that the networks know.
VOCABULARY = 40
LENGTH = 10

_PLAIN = {"num_layers": 3, "hidden_dim": 16, "intermediate_dim": 24, "dropout": 0.3}
_HEADS = {"num_heads": 2}
_GROUPED = {"num_query_heads": 2, "num_key_value_heads": 1}
_POSITIONS = {"max_sequence_length": 24}
_OPTIONS = {
    "BertBackbone": _HEADS | _POSITIONS,
    "RobertaBackbone": _HEADS | _POSITIONS,
    "XLMRobertaBackbone": _HEADS | _POSITIONS,
    "DistilBertBackbone": _HEADS | _POSITIONS,
    "AlbertBackbone": _HEADS | _POSITIONS | {"embedding_dim": 8},
    "ElectraBackbone": _HEADS | _POSITIONS | {"embedding_dim": 8},
    "DebertaV3Backbone": _HEADS | _POSITIONS | {"bucket_size": 8},
    "FNetBackbone": _POSITIONS,
    "GPT2Backbone": _HEADS | _POSITIONS,
    "OPTBackbone": _HEADS | _POSITIONS,
    "GemmaBackbone": _GROUPED | {"head_dim": 8},
    "LlamaBackbone": _GROUPED,
}
FAMILIES = sorted(TEXT_REGISTRY)
FLAT = [name for name in FAMILIES if TEXT_REGISTRY[name].flat]
MASKED = [name for name in FAMILIES if TEXT_REGISTRY[name].has_mask]
#: Each of these is unlike the others; the rest are built as one of them is.
_FEW = {"BertBackbone", "AlbertBackbone", "DebertaV3Backbone", "FNetBackbone"}
_FEW |= {"GPT2Backbone", "GemmaBackbone"}


def few_first(names):
    """The families as parameters: those that are built alike are slow tests."""
    return [
        name if name in _FEW else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


def hub_backbone(name="BertBackbone"):
    """A random network of keras-hub; nobody may change it."""
    return _hub_backbone(name)


# With and without its default an argument would be two keys, and so two networks.
@cache
def _hub_backbone(name):
    hub = pytest.importorskip("keras_hub")
    size = "vocab_size" if name == "ElectraBackbone" else "vocabulary_size"
    options = {size: VOCABULARY, **_PLAIN, **_OPTIONS[name]}
    network = getattr(hub.models, name)(**options)
    rng = np.random.default_rng(0)
    # Far from zero, biases too, so that nothing agrees by chance.
    network.set_weights(
        [w + rng.normal(0, 0.2, w.shape).astype(w.dtype) for w in network.get_weights()]
    )
    return network


def token_rows(network, lengths=(10, 4, 7, 1), *, length=LENGTH, side="right", seed=0):
    """Ids, mask and segments of so many tokens each, for what a network takes."""
    rng = np.random.default_rng(seed)
    mask = np.arange(length) < np.array(lengths)[:, None]
    ids = np.zeros(mask.shape, "int32")
    for row, count in zip(ids, lengths, strict=True):
        row[:count] = rng.integers(5, VOCABULARY, count)
    if side == "left":
        for rows in (ids, mask):
            for place, count in enumerate(lengths):
                rows[place] = np.roll(rows[place], length - count)
    rows = {"token_ids": ids, "padding_mask": mask.astype("int32")}
    rows["segment_ids"] = np.zeros_like(ids)
    return {name: rows[name] for name in network.input}


def padded(rows, more, value=0):
    """The same texts behind `more` columns of padding, whose ids are `value`."""
    fill = {"token_ids": value, "padding_mask": 0, "segment_ids": 0}
    return {
        name: np.pad(array, ((0, 0), (0, more)), constant_values=fill[name])
        for name, array in rows.items()
    }


def arrays(outputs):
    """Every array of a network's outputs."""
    return [keras.ops.convert_to_numpy(x) for x in keras.tree.flatten(outputs)]


def equal(first, second):
    """Whether two networks' outputs are the same bits."""
    pairs = zip(arrays(first), arrays(second), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)
