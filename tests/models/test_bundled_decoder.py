"""The bundled network that foresees the next token: file, record, card, computation."""

import hashlib
import json
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy_bert import find, gelu, softmax, weights_of

import kerastl
import kerastl.models.weights as weights_module
from kerastl.models.record import read_encoder, read_record
from kerastl.models.text_layers import find_tokens
from kerastl.tasks.language import build_language_model, generate, score_tokens

TINY = Path(weights_module.__file__).parent / "tiny"
RECORD = json.loads((TINY / "next_token.json").read_text("utf-8"))
FILE = TINY / RECORD["file"]


@cache
def model():
    """A language model on the network as it is bundled; nobody may change it."""
    pytest.importorskip("keras_hub")
    return build_language_model("MiniGPT")


def logits_of(ids):
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    return keras.ops.convert_to_numpy(model()(inputs))


def test_the_file_is_small_and_the_one_of_the_record():
    assert FILE.stat().st_size <= 2_000_000
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == RECORD["sha256"]
    assert weights_module.bundled_texts("next_token") == FILE


def test_the_card_names_the_texts_and_their_licence():
    card = (TINY / "README.md").read_text("utf-8")
    assert RECORD["file"] in card
    for said in ("datasets-sotu", "CC0", "Moby-Dick", "public domain"):
        assert said in card


def test_the_record_says_its_shape():
    pytest.importorskip("keras_hub")
    network = kerastl.build_backbone("minigpt")
    tokens, encoder = find_tokens(network), read_encoder(network)
    assert (tokens.backbone, tokens.weights_source) == ("GPT2Backbone", "MiniGPT")
    assert tokens.vocabulary_size == encoder.vocabulary_size == RECORD["vocabulary"]
    assert network.count_params() == RECORD["parameters"]
    assert tokens.max_length == RECORD["positions"]


def gpt(ids):
    """Radford et al. (2019), in NumPy: norms before, a causal mask, tied embeddings."""
    weights = weights_of(model())

    def normed(x, *parts):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * find(weights, *parts, "gamma") + find(weights, *parts, "beta")

    tokens = find(weights, "token_embedding", "embeddings")
    places = next(v for k, v in weights.items() if "position_embedding" in k)
    length = ids.shape[1]
    x = tokens[ids] + places[:length]
    later = np.triu(np.ones((length, length), bool), 1)
    for number in range(RECORD["layers"]):
        name = f"transformer_layer_{number}"
        attention = name, "self_attention"
        seen = normed(x, name, "self_attention_layer_norm")
        query, key, value = (
            np.einsum("ntd,dhk->nhtk", seen, find(weights, *attention, part, "kernel"))
            + find(weights, *attention, part, "bias")[:, None]
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
        scores = np.where(later, -1e9, scores)
        mixed = np.einsum("nhts,nhsk->nthk", softmax(scores), value)
        out = *attention, "attention_output"
        x = x + np.einsum("nthk,hkd->ntd", mixed, find(weights, *out, "kernel"))
        x = x + find(weights, *out, "bias")
        inner = normed(x, name, "feedforward_layer_norm")
        for part in ("feedforward_intermediate_dense", "feedforward_output_dense"):
            inner = inner @ find(weights, name, part, "kernel")
            inner = inner + find(weights, name, part, "bias")
            inner = gelu(inner) if part == "feedforward_intermediate_dense" else inner
        x = x + inner
    return normed(x, "layer_norm") @ tokens.T


def test_it_computes_what_gpt_in_numpy_computes():
    ids = np.random.default_rng(0).integers(0, RECORD["vocabulary"], (2, 9))
    np.testing.assert_allclose(logits_of(ids), gpt(ids), atol=1e-3)


def test_it_sees_nothing_of_what_comes_after():
    ids = np.random.default_rng(1).integers(0, RECORD["vocabulary"], (1, 12))
    changed = ids.copy()
    changed[0, 7:] = 5
    before, after = logits_of(ids), logits_of(changed)
    np.testing.assert_allclose(after[:, :7], before[:, :7], atol=1e-4)
    assert np.abs(after[:, 7:] - before[:, 7:]).max() > 0.1


def test_it_foresees_texts_as_it_did_where_it_was_trained():
    check, encoder = RECORD["check"], read_encoder(model())
    losses = [score_tokens(model(), encoder([text])).nll for text in check["texts"]]
    np.testing.assert_allclose(losses, check["losses"], atol=5e-3)
    # A network that knows nothing pays log(2048) a token.
    assert max(losses) < np.log(RECORD["vocabulary"])


def test_it_goes_on_with_words_of_its_texts():
    (text,) = generate(model(), ["The President of the United"], length=1, top_k=1)
    assert text == "The President of the United States"


def test_a_language_model_starts_from_it_where_nothing_is_said(tmp_path):
    pytest.importorskip("keras_hub")
    lines = [
        f"Verse {n}: the rose is red, the sea is blue, and I am {n}." for n in range(12)
    ]
    (tmp_path / "poems.txt").write_text("\n".join(lines))
    result = kerastl.transfer(
        tmp_path / "poems.txt",
        task="language",
        recipe="full",
        epochs=1,
        seed=0,
        verbose=0,
    )
    assert read_record(result.model).weights == "MiniGPT"
