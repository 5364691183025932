"""BERT computed once more, in NumPy alone, from a network's weights."""

import numpy as np
from texts import arrays


def weights_of(network):
    """Weights in float64 by the end of their path: layer, part, name."""
    return {w.path: arrays(w)[0].astype("float64") for w in network.weights}


def find(weights, *parts):
    """The one array whose path has all these parts."""
    found = [v for path, v in weights.items() if set(parts) <= set(path.split("/"))]
    assert len(found) == 1, parts
    return found[0]


def normalised(x, weights, *parts):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    return scaled * find(weights, *parts, "gamma") + find(weights, *parts, "beta")


def gelu(x):
    """The approximation by tanh, which keras-hub's BERT takes."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def encoder_layer(x, mask, weights, name):
    """Devlin et al. (2019): attention over real tokens, then two dense layers."""
    at = name, "self_attention_layer"

    def projected(part):
        kernel = find(weights, *at, part, "kernel")
        return (
            np.einsum("ntd,dhk->nhtk", x, kernel)
            + find(weights, *at, part, "bias")[:, None]
        )

    query, key, value = map(projected, ("query", "key", "value"))
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
    scores = np.where(mask[:, None, None, :], scores, -1e9)
    mixed = np.einsum("nhts,nhsk->nthk", softmax(scores), value)
    out = np.einsum(
        "nthk,hkd->ntd", mixed, find(weights, *at, "attention_output", "kernel")
    )
    out = out + find(weights, *at, "attention_output", "bias")
    x = normalised(x + out, weights, name, "self_attention_layer_norm")

    def dense(values, part):
        kernel = find(weights, name, part, "kernel")
        return values @ kernel + find(weights, name, part, "bias")

    inner = gelu(dense(x, "feedforward_intermediate_dense"))
    out = dense(inner, "feedforward_output_dense")
    return normalised(x + out, weights, name, "feedforward_layer_norm")


def numpy_bert(weights, rows, layers):
    ids, mask = rows["token_ids"], rows["padding_mask"].astype(bool)
    table = find(weights, "token_embedding", "embeddings")
    places = next(v for p, v in weights.items() if p.startswith("position_embedding/"))
    segments = find(weights, "segment_embedding", "embeddings")
    x = table[ids] + places[: ids.shape[1]] + segments[rows["segment_ids"]]
    x = normalised(x, weights, "embeddings_layer_norm")
    for number in range(layers):
        x = encoder_layer(x, mask, weights, f"transformer_layer_{number}")
    first = x[:, 0]
    pooled = first @ find(weights, "pooled_dense", "kernel")
    return x, np.tanh(pooled + find(weights, "pooled_dense", "bias"))
