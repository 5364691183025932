"""A language model on GPT-2: targets, perplexity over real tokens, generation."""

import math
import warnings

import keras
import numpy as np
import pytest
from text_sets import encoder, text_set
from texts import arrays, equal, hub_backbone, padded, token_rows

import kerastl
from kerastl.models.freezing import model_blocks
from kerastl.models.text_backbones import build_text_backbone
from kerastl.tasks import (
    LanguageModelTask,
    build_language_model,
    generate,
    next_tokens,
    score_tokens,
)

V = 40


@pytest.fixture(scope="module")
def model():
    """Nobody may change it."""
    return build_language_model(hub_backbone("GPT2Backbone"))


@pytest.fixture(scope="module")
def rows(model):
    return token_rows(model, (10, 4, 7, 2))


def test_the_target_of_a_token_is_the_next_real_one(rows):
    targets = next_tokens(rows)
    for ids, mask, row in zip(
        rows["token_ids"], rows["padding_mask"], targets, strict=True
    ):
        count = mask.sum()
        assert row[: count - 1].tolist() == ids[1:count].tolist()
        assert (row[count - 1 :] == -1).all()
    left = {name: np.roll(array[1:2], 6, axis=1) for name, array in rows.items()}
    assert next_tokens(left)[0].tolist()[:6] == [-1] * 6


def test_the_output_layer_is_the_embedding(model, rows):
    network = hub_backbone("GPT2Backbone")
    hidden = arrays(network(rows))[0]
    table = arrays(network.token_embedding.embeddings)[0]
    np.testing.assert_allclose(arrays(model(rows))[0], hidden @ table.T, atol=1e-4)
    assert len(model.weights) == len(network.weights)
    assert list(model_blocks(model)) == [
        "stem",
        *(f"transformer_layer_{i}" for i in range(3)),
    ]


def numpy_nll(model, rows):
    logits = arrays(model(rows))[0].astype("float64")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    found = [
        -logs[i, t, ids[t + 1]]
        for i, (ids, mask) in enumerate(
            zip(rows["token_ids"], rows["padding_mask"], strict=True)
        )
        for t in range(mask.sum() - 1)
    ]
    return np.mean(found), len(found)


@pytest.mark.parametrize("more", [0, 6, 12])
def test_perplexity_does_not_depend_on_the_padding(model, rows, more):
    nll, count = numpy_nll(model, rows)
    wide = padded(rows, more)
    report = score_tokens(model, wide, batch_size=3)
    assert (report.tokens, report.texts) == (count, 4) == (19, 4)
    assert report.nll == pytest.approx(nll, rel=1e-5)
    assert report.perplexity == pytest.approx(math.exp(nll), rel=1e-5)
    assert report.bits_per_byte(38) == pytest.approx(nll / math.log(2) / 2, rel=1e-5)
    # In `evaluate` of Keras too, over batches of unlike numbers of tokens.
    scores = model.evaluate(
        wide, next_tokens(wide), batch_size=3, verbose=0, return_dict=True
    )
    assert scores["token_loss"] == pytest.approx(nll, rel=1e-4)
    assert scores["perplexity"] == pytest.approx(math.exp(nll), rel=1e-4)


def test_a_uniform_model_wavers_between_all_tokens(rows):
    model = build_language_model(hub_backbone("GPT2Backbone"))
    table = model.get_layer("token_embedding").embeddings
    table.assign(np.zeros(table.shape))
    for more in (0, 5):
        wide = padded(rows, more)
        assert score_tokens(model, wide).perplexity == pytest.approx(V, rel=1e-6)
    task = LanguageModelTask(V)
    decoded = task.decode(arrays(model(rows))[0])
    report = task.report(next_tokens(rows), task.predictions(decoded))
    assert report.perplexity == pytest.approx(V, rel=1e-6)
    assert "perplexity 40" in str(report)


def test_a_phase_trains_what_it_names_and_the_file_is_the_model(rows, tmp_path):
    model = build_language_model(hub_backbone("GPT2Backbone"))
    data = rows, next_tokens(rows)
    before = {w.path: np.array(w) for w in model.weights}
    phase = kerastl.Phase("top", trainable=1, epochs=3, learning_rate=5e-3)
    history = kerastl.run_phases(model, data, phases=[phase], seed=0, verbose=0)
    moved = {w.path for w in model.weights if not np.array_equal(w, before[w.path])}
    assert {path.split("/")[0] for path in moved} == {
        "transformer_layer_2",
        "layer_norm",
    }
    losses = history.history["token_loss"]
    assert losses[-1] < losses[0]
    kerastl.save_model(model, tmp_path / "gpt.keras")
    loaded = kerastl.load_model(tmp_path / "gpt.keras")
    assert equal(loaded(rows), model(rows))
    assert len(loaded.weights) == len(model.weights)


def test_greedy_text_is_the_most_probable_token_step_by_step(model):
    prompts = [[7, 8, 9], [11, 12]]
    texts = generate(model, prompts, length=4, temperature=0)
    for prompt, text in zip(prompts, texts, strict=True):
        assert text[: len(prompt)] == prompt and len(text) == len(prompt) + 4
        for place in range(len(prompt), len(text)):
            alone = np.array([text[:place]], "int32")
            given = {"token_ids": alone, "padding_mask": np.ones_like(alone)}
            assert text[place] == arrays(model(given))[0][0, -1].argmax()
    assert generate(model, prompts[:1], length=4, temperature=0) == texts[:1]


def test_what_is_drawn_follows_from_the_seed_and_stays_among_the_top(model):
    drawn = [generate(model, [[7, 8]], length=8, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    greedy = generate(model, [[7, 8]], length=8, temperature=0)
    assert generate(model, [[7, 8]], length=8, top_k=1, seed=5) == greedy
    stop = greedy[0][3]
    ended = generate(model, [[7, 8]], length=8, temperature=0, stop=stop)[0]
    assert ended == greedy[0][: greedy[0].index(stop, 2) + 1]


def test_what_cannot_be_is_refused_in_a_sentence(model):
    with pytest.raises(ValueError, match="at least one token each"):
        generate(model, [[]])
    with pytest.raises(ValueError, match="no text has more than 24 tokens"):
        generate(model, [[1, 2, 3]], length=22)
    with pytest.raises(ValueError, match="BERT does not foresee the next token"):
        build_language_model(hub_backbone())
    classifier = kerastl.build_classifier(
        hub_backbone("GPT2Backbone"), 2, pooling="last"
    )
    with pytest.raises(ValueError, match="of build_language_model"):
        generate(classifier, [[1]])
    one = {"token_ids": np.array([[3, 0]]), "padding_mask": np.array([[1, 0]])}
    with pytest.raises(ValueError, match="at least one token that is asked"):
        score_tokens(model, one)
    assert keras.backend.backend() in ("jax", "tensorflow")


def reads(**options):
    """An encoder for the tiny network."""
    return encoder(names=("token_ids", "padding_mask"), **options)


@pytest.fixture(scope="module")
def reader():
    """A language model that takes texts; nobody may change it."""
    network = build_text_backbone(hub_backbone("GPT2Backbone"), encoder=reads())
    return build_language_model(network)


def test_texts_are_scored_as_their_rows_are(reader):
    texts = text_set(5)
    report = kerastl.evaluate(reader, texts)
    expected = score_tokens(reader, reads()(texts.texts))
    assert report.tokens == expected.tokens and report.texts == len(texts)
    assert report.perplexity == pytest.approx(expected.perplexity, rel=1e-6)
    said = kerastl.predict(reader, texts.texts)
    mean = sum(said.totals) / sum(said.counts)
    assert report.perplexity == pytest.approx(math.exp(mean))
    rows = list(said)
    assert [row["text"] for row in rows] == list(texts.texts)
    one = score_tokens(reader, reads()(texts.texts[:1])).perplexity
    assert rows[0]["perplexity"] == pytest.approx(one, rel=1e-6)


def test_a_longer_row_changes_no_texts_perplexity(reader):
    texts = text_set(9).texts
    network = build_text_backbone(
        hub_backbone("GPT2Backbone"), encoder=reads(sequence_length=20)
    )
    wide = build_language_model(network)
    found = [kerastl.predict(model, texts).perplexities for model in (reader, wide)]
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_prompts_may_be_texts(reader):
    made = generate(reader, ["The film was", "a"], length=4, temperature=0, stop=-1)
    ids = [[reads().start_id, *row] for row in reads().tokenize(["The film was", "a"])]
    expected = generate(reader, ids, length=4, temperature=0)
    assert made == [reads().decode(row) for row in expected]
    assert made[0].startswith("the film was")
    with pytest.raises(ValueError, match="a list of texts"):
        generate(reader, "The film")


def test_a_language_model_is_trained_from_texts_in_one_call(tmp_path):
    network = build_text_backbone(hub_backbone("GPT2Backbone"), encoder=reads())
    before = [np.array(w) for w in build_language_model(network).weights]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*nearly copied")
        result = kerastl.transfer(
            kerastl.TextSet(text_set().texts),
            backbone=network,
            task="language",
            epochs=1,
            learning_rate=1e-2,
            output=tmp_path / "run",
        )
    # All of it learns at once: there is no head that could go first.
    assert [phase.name for phase in result.history.phases] == ["all"]
    moved = [
        not np.array_equal(new, old)
        for new, old in zip(result.model.weights, before, strict=True)
    ]
    assert all(moved)
    part = result.splits.validation
    saved = kerastl.load_model(tmp_path / "run" / "model.keras")
    report = kerastl.evaluate(saved, part)
    assert report.perplexity == pytest.approx(
        result.report["validation"]["perplexity"], rel=1e-5
    )
    untrained = kerastl.evaluate(build_language_model(network), part)
    assert report.perplexity < untrained.perplexity
