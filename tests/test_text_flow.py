"""Texts through the whole cycle: source, training, prediction, file, features."""

import json
import subprocess
import sys

import numpy as np
import pytest
from text_sets import LABELS, NAMES, TEXTS, backbone, classifier, encoder, text_set

import kerastl
from kerastl.data.batches import only_or_all
from kerastl.data.sources import text_source
from kerastl.features.sources import make_source
from kerastl.models.text_layers import find_tokens
from kerastl.tasks.task import bind


def own_outputs(model, texts):
    """The network on arrays that the encoder made: what strings must give."""
    return np.asarray(model.predict_on_batch(encoder()(texts)))


def test_a_source_has_the_encoders_arrays_in_order():
    source = make_source(classifier(), text_set(), "train")
    indices = np.array([5, 0, 17])
    expected = encoder()([TEXTS[i] for i in indices])
    rows = source.rows(indices)
    assert rows.keys() == expected.keys() == source.spec.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(rows[name], array)
    assert source.targets.tolist() == LABELS and source.targets.dtype == np.int32
    assert set(only_or_all(rows)) == {"token_ids", "padding_mask", "segment_ids"}


def test_the_key_is_that_of_what_the_network_takes():
    texts = text_set()
    key = text_source(texts, encoder()).key()
    upper = kerastl.TextSet([text.upper() for text in TEXTS], LABELS, NAMES)
    # The encoder knows no case.
    assert text_source(upper, encoder()).key() == key
    changed = [
        text_source(kerastl.TextSet(TEXTS[::-1], LABELS, NAMES), encoder()),
        text_source(texts.subset([1, 0, *range(2, len(texts))]), encoder()),
        text_source(texts, encoder(sequence_length=11)),
        text_source(texts, encoder(sequence_length=5)),
        text_source(texts, encoder(sequence_length=5, truncate="tail")),
        text_source(texts, encoder(lowercase=False)),
    ]
    assert len({key, *(source.key() for source in changed)}) == 7


def test_pairs_of_strings_and_labels_are_texts():
    source = make_source(classifier(), (TEXTS, LABELS), "train")
    assert source.texts.texts == tuple(TEXTS) and source.texts.class_names == NAMES


def test_strings_are_predicted_as_their_arrays_are():
    model, texts = classifier(), TEXTS[::7]
    found = kerastl.predict(model, texts, batch_size=4)
    decoded = bind(model).task.decode(own_outputs(model, texts))
    np.testing.assert_allclose(found.probabilities, decoded, atol=1e-6)
    assert [row["text"] for row in found] == texts
    one = kerastl.predict(model, texts[3])
    np.testing.assert_allclose(one.probabilities[0], decoded[3], atol=1e-6)


def test_files_of_texts_are_predicted(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(TEXTS[:3]) + "\n\n")
    table = tmp_path / "table.csv"
    rows = [f"{i},{text}" for i, text in enumerate(TEXTS[:3])]
    table.write_text("\n".join(["id,said", *rows]))
    expected = kerastl.predict(classifier(), TEXTS[:3]).probabilities
    for path in (lines, str(table), [str(lines)]):
        found = kerastl.predict(classifier(), path)
        assert found.texts == tuple(TEXTS[:3])
        np.testing.assert_array_equal(found.probabilities, expected)
    with pytest.raises(FileNotFoundError, match="Check the spelling"):
        kerastl.predict(classifier(), "nowhere.txt")
    assert kerastl.predict(classifier(), "a fine film.txt").texts == (
        "a fine film.txt",
    )


def test_evaluating_scores_the_predictions_in_order():
    model, texts = classifier(), text_set(3)
    report = kerastl.evaluate(model, texts)
    decided = own_outputs(model, texts.texts).reshape(len(texts), -1)
    decided = decided.argmax(1) if decided.shape[1] > 1 else (decided[:, 0] > 0)
    assert report.accuracy == np.mean(decided == texts.labels)
    # What one constant answer gets is beside it.
    assert report.baseline == max(np.bincount(texts.labels)) / len(texts)
    assert f"{len(texts)} texts, 2 classes" in str(report) and "image" not in str(
        report
    )


@pytest.mark.slow
def test_another_process_gives_the_same_logits(tmp_path):
    model = kerastl.build_classifier(backbone(truncate="tail"), NAMES)
    rng = np.random.default_rng(0)
    head = model.get_layer("head_dense")
    head.set_weights([rng.normal(size=w.shape) for w in head.get_weights()])
    kerastl.save_model(model, tmp_path / "m.keras")
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS[:5]))
    expected = kerastl.predict(model, TEXTS[:5]).probabilities
    script = (
        "import json, sys, numpy as np, kerastl\n"
        "model = kerastl.load_model(sys.argv[1] + '/m.keras')\n"
        "texts = json.load(open(sys.argv[1] + '/texts.json'))\n"
        "found = kerastl.predict(model, texts).probabilities\n"
        "np.save(sys.argv[1] + '/found.npy', found)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    assert np.ptp(expected) > 0.1
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), expected)


def test_a_head_learns_texts_and_nothing_else_moves():
    model = kerastl.build_classifier(backbone(), NAMES, dropout=0.0)
    before = {w.path: np.array(w) for w in model.weights}
    options = {"learning_rate": 0.1, "epochs": 6, "batch_size": 16, "verbose": 0}
    history = kerastl.fine_tune(
        model, text_set(), text_set(2), recipe="linear_probe", **options
    )
    moved = {w.path for w in model.weights if not np.array_equal(w, before[w.path])}
    assert moved == {w.path for w in model.get_layer("head_dense").weights}
    # Below that of the head of zeros that it began as.
    assert history.history["loss"][-1] < np.log(2)
    result = kerastl.calibrate(model, text_set(2))
    assert result.after["log_loss"] <= result.before["log_loss"] + 1e-9


def test_features_of_strings_go_through_scikit_learn(tmp_path):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline

    extractor = kerastl.features.FeatureExtractor(backbone())
    features = extractor.fit_transform(TEXTS)
    mean = np.asarray(
        kerastl.features.FeatureExtractor(backbone(), pooling="cls").fit_transform(
            TEXTS
        )
    )
    assert features.shape == mean.shape == (len(TEXTS), 16)
    assert not np.allclose(features, mean)
    pipeline = make_pipeline(extractor, LogisticRegression())
    scores = cross_val_score(pipeline, np.array(TEXTS), LABELS, cv=2)
    by_hand = cross_val_score(LogisticRegression(), features, LABELS, cv=2)
    np.testing.assert_allclose(scores, by_hand)
    extractor.save(tmp_path / "f.keras")
    again = kerastl.features.FeatureExtractor.load(tmp_path / "f.keras")
    np.testing.assert_allclose(again.transform(TEXTS[:4]), features[:4], atol=1e-6)
    made = kerastl.features.extract(backbone(), text_set())
    np.testing.assert_allclose(made.features, features, atol=1e-6)


def test_backbones_are_ranked_on_texts():
    candidates = {"mine": backbone(), "short": backbone(sequence_length=4)}
    ranking = kerastl.selection.rank_backbones(text_set(), candidates, scores=())
    assert {row.name for row in ranking.rows} == {"mine", "short"}
    # Four ids leave out the word that decides.
    assert ranking.best == "mine"
    assert "texts" in str(ranking)


def test_drift_of_an_untouched_network_is_none():
    model = classifier()
    drift = kerastl.comparison.feature_drift(model.get_weights(), model, TEXTS[:20])
    assert set(drift.distances) == {0.0}


def test_a_wrong_tokenizer_is_refused():
    with pytest.raises(ValueError, match="embedding has 40 rows"):
        shorter = kerastl.TextEncoder(encoder().vocabulary[:-1], sequence_length=10)
        kerastl.build_backbone(backbone(), encoder=shorter)
    model = kerastl.build_classifier(backbone(), NAMES)
    record = model.layers[-1].record
    pieces = record["text"]["pieces"]
    record["text"] = {**record["text"], "pieces": [*pieces[:-2], *pieces[:-3:-1]]}
    with pytest.raises(ValueError, match="the vocabulary of sum"):
        kerastl.predict(model, ["a film"])


def test_images_and_texts_are_told_apart():
    images = kerastl.ImageSet(np.zeros((2, 8, 8, 3), "uint8"), [0, 1], NAMES)
    for call in (
        lambda: kerastl.evaluate(classifier(), images),
        lambda: make_source(classifier(), images, "train"),
    ):
        with pytest.raises(TypeError, match="a TextSet"):
            call()
    network = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights=None
    )
    model = kerastl.build_classifier(network, NAMES)
    for call in (
        lambda: kerastl.evaluate(model, text_set()),
        lambda: kerastl.predict(model, text_set()),
        lambda: make_source(model, text_set(), "train"),
    ):
        with pytest.raises(
            (TypeError, ValueError), match=r"an ImageSet|images|of texts"
        ):
            call()


def test_a_network_without_its_encoder_says_so():
    bare = kerastl.build_backbone(backbone())
    find_tokens(bare).text = None
    model = kerastl.build_classifier(bare, NAMES)
    with pytest.raises(ValueError, match="one with its tokenizer"):
        kerastl.predict(model, ["a film"])
    with pytest.raises(ValueError, match="1 for texts"):
        kerastl.predict(classifier(), ["a film"], views=2)
