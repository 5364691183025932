"""Tags of tokens: spans and their scores by hand, and a tagger on a text network."""

import keras
import numpy as np
import pytest
from texts import arrays, equal, hub_backbone, padded, token_rows

import kerastl
from kerastl.tasks import TaggingTask, build_tagger, find_spans, score_tags
from kerastl.tasks.token_scores import TokenCrossentropy, TokenLoss

TAGS = ("O", "B-a", "I-a", "B-b", "I-b")


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O O", []),
        ("B-a I-a O", [("a", 0, 2)]),
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        ("O I-a I-a", [("a", 1, 3)]),
        ("B-a I-b", [("a", 0, 1), ("b", 1, 2)]),
        ("B-a O I-a", [("a", 0, 1), ("a", 2, 3)]),
        ("I-b", [("b", 0, 1)]),
        ("B-two-words I-two-words", [("two-words", 0, 2)]),
        ("NOUN VERB", []),
        ("", []),
    ],
)
def test_the_spans_of_tags(tags, spans):
    assert list(find_spans(tags.split())) == spans


def test_scores_counted_by_hand():
    truth = [["B-a", "I-a", "O", "B-b"], ["O", "O"], ["B-a", "O", "B-a", "I-a"]]
    guess = [["B-a", "I-a", "O", "B-a"], ["B-b", "O"], ["B-a", "O", "B-a", "O"]]
    report = score_tags(truth, guess)
    # Right: the first of text 1, the first of text 3. Found 5 (a: 4, b: 1), true 4.
    assert {(r.name, r.found, r.true, r.right) for r in report.per_kind} == {
        ("a", 4, 3, 2),
        ("b", 1, 1, 0),
    }
    assert report.f1 == pytest.approx(2 * 2 / (5 + 4))
    assert report.overall.precision == pytest.approx(2 / 5)
    assert report.overall.recall == pytest.approx(2 / 4)
    assert (report.tokens, report.accuracy) == (10, pytest.approx(7 / 10))
    assert report.majority == pytest.approx(4 / 10)
    low, high = report.f1_interval
    assert 0 <= low <= report.f1 <= high <= 1
    assert "span F1 44.4%" in str(report) and report.to_dict()["f1"] == report.f1


def test_gold_against_itself_is_one_and_against_shifted_spans_is_none():
    truth = [["O", "B-a", "I-a", "O", "O"], ["B-b", "O"]]
    assert score_tags(truth, truth).f1 == 1
    shifted = [tags[-1:] + tags[:-1] for tags in truth]
    assert score_tags(truth, shifted).f1 == 0
    # One token short of the end is no entity found.
    assert score_tags([["B-a", "I-a"]], [["B-a", "O"]]).f1 == 0
    words = score_tags([["NOUN", "VERB"]], [["NOUN", "NOUN"]])
    assert (words.f1_interval, words.accuracy) == (None, 0.5)


def test_other_lengths_are_refused():
    with pytest.raises(ValueError, match="one tag for each true one"):
        score_tags([["O"]], [["O", "O"]])
    with pytest.raises(ValueError, match="at least one tag"):
        score_tags([], [])


@pytest.fixture(scope="module")
def tagger():
    """Nobody may change it."""
    return build_tagger(hub_backbone(), TAGS, dropout=0.0)


@pytest.fixture(scope="module")
def labelled(tagger):
    """Rows, and the tag of each real token but the first: a later piece, say."""
    rows = token_rows(tagger, (10, 4, 7, 2, 9, 3), seed=2)
    targets = np.where(rows["padding_mask"] == 1, rows["token_ids"] % len(TAGS), -1)
    targets[:, 0] = -1
    return rows, targets.astype("int32")


def numpy_loss(logits, targets):
    logits = logits.astype("float64")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    real = targets != -1
    return -logs[real, targets[real]].mean()


def test_the_loss_is_the_mean_over_tokens_that_are_asked(labelled):
    _, targets = labelled
    logits = np.random.default_rng(0).normal(size=(*targets.shape, 5)).astype("float32")
    expected = numpy_loss(logits, targets)
    assert float(TokenCrossentropy()(targets, logits)) == pytest.approx(
        expected, rel=1e-5
    )
    metric = TokenLoss()
    for start in (0, 1, 4):
        stop = {0: 1, 1: 4, 4: 6}[start]
        metric.update_state(targets[start:stop], logits[start:stop])
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
    nobody = np.full_like(targets, -1)
    assert float(TokenCrossentropy()(nobody, logits)) == 0


def test_the_first_loss_is_log_c_at_every_padding(tagger, labelled):
    rows, targets = labelled
    for more in (0, 6):
        wide = np.pad(targets, ((0, 0), (0, more)), constant_values=-1)
        scores = tagger.evaluate(
            padded(rows, more), wide, verbose=0, batch_size=6, return_dict=True
        )
        assert scores["loss"] == pytest.approx(np.log(5), abs=1e-5)
        assert scores["token_loss"] == pytest.approx(np.log(5), abs=1e-5)
    assert [v.path for v in tagger.trainable_variables] == [
        "head_dense/kernel",
        "head_dense/bias",
    ]


def test_a_tagger_learns_in_a_run_and_its_frozen_part_is_cached(labelled, tmp_path):
    model = build_tagger(hub_backbone(), TAGS, dropout=0.0, seed=0)
    rows, targets = labelled
    phase = kerastl.Phase("head", trainable="head", epochs=30, learning_rate=0.05)
    before = [np.array(w) for w in model.weights]
    given = {"phases": [phase], "seed": 0, "verbose": 0, "batch_size": 3}
    history = kerastl.run_phases(model, labelled, labelled, **given)
    assert history.phases[0].cached
    assert history.phases[0].moved == ("head_dense/kernel", "head_dense/bias")
    same = [np.array_equal(*p) for p in zip(before, model.weights, strict=True)]
    assert sum(same) == len(same) - 2
    losses = history.history["val_token_loss"]
    assert losses[-1] < losses[0] < np.log(5)
    kerastl.save_model(model, tmp_path / "tagger.keras")
    loaded = kerastl.load_model(tmp_path / "tagger.keras")
    assert equal(loaded(rows), model(rows))
    task = TaggingTask(TAGS)
    predictions = task.predictions(task.decode(arrays(loaded(rows))[0]))
    report = task.report(targets, predictions)
    asked = targets != -1
    right = predictions.indices[asked] == targets[asked]
    assert report.accuracy == pytest.approx(right.mean())
    assert [len(tags) for tags in predictions.tags(asked)] == asked.sum(1).tolist()
    assert next(iter(predictions))["tags"][3] in TAGS


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (np.full((6, 10), 5), "from 0 to 4, or -1"),
        (np.full((6, 10), -1), "at least one token that is asked"),
        (np.zeros(6, int), "whole numbers of shape"),
        (np.zeros((6, 10)), "whole numbers of shape"),
    ],
)
def test_wrong_targets_are_refused_before_training(tagger, labelled, targets, told):
    phase = kerastl.Phase("head", trainable="head", epochs=1, learning_rate=0.1)
    with pytest.raises(ValueError, match=told):
        kerastl.run_phases(tagger, (labelled[0], targets), phases=[phase], verbose=0)


def test_a_tag_of_one_name_or_twice_the_same_is_refused():
    for names in (["O"], ["O", "O"]):
        with pytest.raises(ValueError, match="two or more different tags"):
            build_tagger(hub_backbone(), names)
    assert keras.saving.get_registered_name(TokenCrossentropy).startswith("kerastl>")
