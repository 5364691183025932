"""The ranking of backbones: one pass each, the right table, and what is missing."""

import json
import math

import keras
import numpy as np
import pytest
from networks import coloured, pixels, small_classifier, small_network
from scipy.stats import kendalltau, weightedtau

import kerastl
from kerastl.data.inputs import stratified_sample
from kerastl.evaluation.figures import alt_text
from kerastl.features.extractor import FeatureExtractor
from kerastl.features.probe import loo_ridge
from kerastl.models.adapting import adapt_backbone
from kerastl.selection.ranking import (
    DEFAULT_SCORES,
    live_bytes,
    offline_candidates,
    rank_backbones,
)
from kerastl.selection.transferability import SCORES

NAMES = ("ash", "beech", "cedar")


def colours(per_class=12, seed=0):
    images, labels = coloured(per_class, seed=seed)
    return kerastl.ImageSet(images, labels, NAMES)


def network(seed=0, name="small"):
    keras.utils.set_random_seed(seed)
    return adapt_backbone(small_network(name), preprocessing="tf")


def blind_network():
    """A network whose features vary with noise only: sums of pixels, sign dropped."""
    blind = network(5, "blind")
    for layer in blind.layers:
        if layer.name.startswith("conv"):
            kernel = layer.get_weights()[0]
            # Grey comes through, colour does not.
            layer.set_weights([kernel - kernel.mean(axis=2, keepdims=True) * 0.98])
    return blind


@pytest.fixture(scope="module")
def ranking():
    models = {"first": network(0), "second": network(1), "blind": blind_network()}
    return rank_backbones(colours(), models, scores=tuple(SCORES)), models


def test_each_backbone_sees_each_image_once(monkeypatch):
    seen, plain = [], keras.Model.predict_on_batch

    def counting(self, batch):
        seen.append(len(batch))
        return plain(self, batch)

    monkeypatch.setattr(keras.Model, "predict_on_batch", counting)
    monkeypatch.setattr(keras.Model, "predict", None)
    data = colours()
    rank_backbones(data, [network(0, "a"), network(1, "b")], batch_size=4)
    assert seen == [4] * (2 * len(data) // 4)


def test_scores_are_those_of_the_features_of_each_backbone(ranking):
    table, models = ranking
    assert table.scores[0] == "linear_probe"
    for row in table.rows:
        features = FeatureExtractor(models[row.name]).fit_transform(colours())
        for name, score in SCORES.items():
            expected = score(features, colours().labels)
            np.testing.assert_allclose(row.scores[name], expected, rtol=1e-3, atol=1e-6)


def test_rows_go_from_the_best_probe_to_the_worst(ranking):
    table, _ = ranking
    accuracies = [row.scores["linear_probe"] for row in table.rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > accuracies[-1]
    assert table.best == table.rows[0].name


def test_ranks_count_those_that_score_higher(ranking):
    table, _ = ranking
    for name in table.scores:
        values = np.array([row.scores[name] for row in table.rows])
        expected = [int((values > value).sum()) + 1 for value in values]
        assert [row.ranks[name] for row in table.rows] == expected


def test_agreement_is_the_weighted_tau_of_two_scores(monkeypatch):
    values = {"knn": (4.0, 3.0, 1.0, 2.0, 0.0), "logme": (3.0, 4.0, 2.0, 1.0, 0.0)}
    for name, each in values.items():
        turns = iter(each)
        monkeypatch.setitem(SCORES, name, lambda *_, turns=turns: next(turns))
    models = {str(number): network(number) for number in range(5)}
    table = rank_backbones(colours(4), models, scores=tuple(values))
    expected = weightedtau(values["knn"], values["logme"])[0]
    assert expected != pytest.approx(kendalltau(values["knn"], values["logme"])[0])
    assert table.agreement["knn"]["logme"] == pytest.approx(expected)
    assert table.agreement["knn"]["knn"] == pytest.approx(1.0)


def test_agreement_of_one_backbone_is_not_defined():
    table = rank_backbones(colours(4), [network()])
    assert math.isnan(table.agreement["knn"]["linear_probe"])


def test_the_best_and_those_within_an_error_of_the_difference_are_marked(ranking):
    table, models = ranking
    probes = {
        name: loo_ridge(
            FeatureExtractor(model).fit_transform(colours()), np.arange(36) % 3
        )
        for name, model in models.items()
    }
    best = probes[table.best].correct.astype(float)
    for row in table.rows:
        gaps = best - probes[row.name].correct
        spread = math.sqrt(((gaps - gaps.mean()) ** 2).sum() / 35)
        assert row.as_good == (gaps.mean() <= spread / 6)
        accuracy = row.scores["linear_probe"]
        error = math.sqrt(accuracy * (1 - accuracy) / 36)
        assert row.standard_error == pytest.approx(error)
    assert [row.as_good for row in table.rows][:: len(table.rows) - 1] == [True, False]


def test_costs_are_those_of_the_network():
    row = rank_backbones(colours(4), [network()]).rows[0]
    # Three convolutions of 4 channels without bias, four numbers a BatchNorm channel.
    parameters = 9 * 3 * 4 + 2 * 9 * 4 * 4 + 3 * 4 * 4
    assert row.parameters == parameters
    assert row.weight_bytes == 4 * parameters
    assert row.multiplications == 9 * 3 * 4 * 64 + 9 * 16 * 16 + 9 * 16 * 4
    assert (row.features, row.image_size) == (4, (16, 16))


def test_live_bytes_are_those_of_the_widest_place_of_the_graph():
    x = keras.Input((4, 4, 3))
    wide = keras.layers.Conv2D(10, 1)(x)
    low = keras.layers.Conv2D(1, 1)(wide)
    back = keras.layers.Conv2D(10, 1)(low)
    model = keras.Model(x, keras.layers.Add()([wide, back]))
    # At the sum: both terms and what they make.
    assert live_bytes(model) == 4 * 16 * 30


def test_compiling_is_no_part_of_the_seconds(monkeypatch):
    clock = iter([100.0, 101.0, 102.0, 104.0, 104.5])
    monkeypatch.setattr(
        "kerastl.selection.ranking.time.perf_counter", lambda: next(clock)
    )
    data = colours(5)
    # Batches of 3; the median of 1, 1, 2 and 0.5 seconds.
    row = rank_backbones(data, [network()], batch_size=3).rows[0]
    assert row.seconds == pytest.approx(1 / 3)


def test_there_are_batches_after_the_first_however_large_they_may_be():
    row = rank_backbones(colours(4), [network()], batch_size=10_000).rows[0]
    assert 0 < row.seconds < 1


def test_files_are_read_once_for_backbones_of_one_size(image_folder, monkeypatch):
    from kerastl.data import images as decoding

    read, plain = [], decoding.decode_one
    monkeypatch.setattr(
        decoding, "decode_one", lambda *each: read.append(each[0]) or plain(*each)
    )
    data = kerastl.load_images(image_folder, validation=0.0).train
    read.clear()
    rank_backbones(data, [network(0, "a"), network(1, "b")])
    assert sorted(read) == sorted(data.paths)


def test_only_the_training_part_is_used():
    held = [colours(2, seed=seed) for seed in (8, 9)]
    model = network()
    splits = kerastl.Splits(colours(), *held)
    one, other = (rank_backbones(each, [model]) for each in (splits, colours()))
    assert one.rows[0].scores == other.rows[0].scores
    assert one.images == len(colours())


def test_a_sample_keeps_the_proportions_of_the_classes():
    labels = np.repeat([0, 1, 2], [60, 30, 4])
    data = kerastl.ImageSet(pixels(94, 8), labels, NAMES)
    sample = stratified_sample(data, images=33, per_class=2, seed=0)
    assert sum(sample.counts().values()) == 33
    counts = list(sample.counts().values())
    assert abs(counts[0] - 2 * counts[1]) <= 2
    assert counts[2] == 2
    again = stratified_sample(data, images=33, per_class=2, seed=0)
    other = stratified_sample(data, images=33, per_class=2, seed=1)
    np.testing.assert_array_equal(sample.images, again.images)
    assert not np.array_equal(sample.images, other.images)


def test_a_sample_of_all_is_all_in_order():
    data = colours()
    sample = stratified_sample(data, images=1000, per_class=2, seed=3)
    np.testing.assert_array_equal(sample.images, data.images)


def test_copies_of_an_image_count_once():
    images, labels = coloured(4)
    data = kerastl.ImageSet(np.tile(images, (3, 1, 1, 1)), np.tile(labels, 3), NAMES)
    assert rank_backbones(data, [network()]).images == 12


def test_the_draw_decides_the_ranking_by_its_seed():
    model = network(2)
    data = kerastl.ImageSet(pixels(120), np.arange(120) % 3, NAMES)
    first, again, other = (
        rank_backbones(data, [model], images=30, seed=seed).rows[0].scores
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_names_carry_their_options():
    names = ["MobileNet:alpha=0.25,weights=tiny", "MobileNet:alpha=0.25,image_size=48"]
    table = rank_backbones(colours(4), names, image_size=32, weights=None)
    assert {row.name: row.image_size for row in table.rows} == {
        names[0]: (32, 32),
        names[1]: (48, 48),
    }
    tiny = next(row for row in table.rows if row.name == names[0])
    extractor = FeatureExtractor("MobileNet", alpha=0.25, image_size=32)
    features = extractor.fit_transform(colours(4))
    expected = loo_ridge(features, colours(4).labels).accuracy
    assert tiny.scores["linear_probe"] == pytest.approx(expected)


def test_a_classifier_is_ranked_without_its_head():
    model = small_classifier(NAMES)
    assert rank_backbones(colours(4), [model]).rows[0].features == 4


def test_what_is_bundled_and_what_has_been_downloaded_are_the_candidates(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("kerastl.models.weights.keras_home", lambda: tmp_path)
    bundled = offline_candidates()
    assert "MobileNet:alpha=0.25,weights=tiny" in bundled
    assert not [name for name in bundled if "imagenet" in name]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mobilenet_2_5_224_tf_no_top.h5").touch()
    more = [*bundled, "MobileNet:alpha=0.25,weights=imagenet"]
    assert offline_candidates() == more
    assert offline_candidates((128, 128)) == bundled


def test_without_candidates_those_at_hand_are_ranked(monkeypatch):
    monkeypatch.setattr(
        "kerastl.selection.ranking.offline_candidates",
        lambda size: [f"MobileNet:alpha=0.25,weights=tiny,image_size={size}"],
    )
    table = rank_backbones(colours(4), image_size=32)
    assert table.rows[0].image_size == (32, 32)


def test_weights_that_are_not_there_are_listed_with_the_reason():
    names = ["VGG16:weights=tiny,image_size=32", "MobileNet:alpha=0.25,image_size=32"]
    table = rank_backbones(colours(4), names, weights="tiny")
    assert [row.name for row in table.rows] == names[1:]
    assert "Tiny weights are bundled for" in table.unavailable[names[0]]
    assert f"not measured: {names[0]}: `weights` must be" in str(table)


def test_a_file_that_is_missing_is_listed(tmp_path):
    candidates = {"lost": f"MobileNet:weights={tmp_path / 'x.h5'}", "found": network()}
    table = rank_backbones(colours(4), candidates)
    assert "x.h5" in table.unavailable["lost"]
    assert table.best == "found"


def broken_network():
    """A network whose features are nan."""
    broken = network(1, "broken")
    layer = broken.get_layer("conv3")
    layer.set_weights([layer.get_weights()[0] * np.nan])
    return broken


def test_a_network_of_broken_weights_is_listed_not_ranked():
    table = rank_backbones(colours(4), [network(), broken_network()])
    assert [row.name for row in table.rows] == ["small"]
    assert "finite" in table.unavailable["broken"]


def test_where_nothing_is_left_the_reason_is_told_once():
    with pytest.raises(ValueError, match="`candidates` must be usable") as caught:
        rank_backbones(colours(4), {"a": broken_network(), "b": broken_network()})
    assert str(caught.value).count("with nan or inf") == 1


def test_images_that_are_all_alike_are_named():
    flat = np.zeros((12, 16, 16, 3), "uint8")
    flat[:, 0, 0, 0] = np.arange(12)
    data = kerastl.ImageSet(flat, np.arange(12) % 3, NAMES)
    dead = network()
    layer = dead.get_layer("conv1")
    layer.set_weights([layer.get_weights()[0] * 0])
    with pytest.raises(ValueError, match="different between images"):
        rank_backbones(data, [dead])


def test_progress_counts_images_over_all_backbones():
    told = []
    options = {"progress": lambda done, total: told.append((done, total))}
    rank_backbones(colours(4), {"a": network(), "b": network()}, **options)
    assert told[-1] == (24, 24)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {total for _, total in told} == {24}


def test_rows_for_a_file_are_flat_and_json_ready(ranking):
    table, _ = ranking
    rows = table.to_rows()
    assert json.loads(json.dumps(rows))[0]["name"] == table.best
    assert rows[0]["linear_probe"] == table.rows[0].scores["linear_probe"]
    assert rows[0]["rank_gbc"] == table.rows[0].ranks["gbc"]
    assert len({tuple(row) for row in rows}) == 1


def test_the_table_shows_accuracy_error_rank_and_agreement(ranking):
    table, _ = ranking
    lines = str(table).splitlines()
    best = table.rows[0]
    shown = f"{best.scores['linear_probe']:.1%} +- {best.standard_error:.1%}"
    assert lines[1].startswith(f"* {best.name}")
    assert shown in lines[1]
    assert f"({best.ranks['nleep']})" in lines[1]
    assert f"{table.agreement['linear_probe']['knn']:.2f}" in lines[4]
    assert "36 images, 3 classes" in lines[5]


def test_the_plot_shows_each_backbone(ranking):
    table, _ = ranking
    figure = table.plot()
    assert "3 networks" in alt_text(figure)
    names = [row.name for row in table.rows]
    assert figure.axes[0].get_xlabel().splitlines()[1:] == [
        f"{number}  {name}" for number, name in enumerate(names, 1)
    ]


def test_the_slow_score_is_left_to_those_who_ask():
    assert set(DEFAULT_SCORES) == set(SCORES) - {"nleep"}
    table = rank_backbones(colours(4), [network()], scores=("knn",))
    assert table.scores == ("linear_probe", "knn")


def labelled(labels, names=NAMES):
    return kerastl.ImageSet(pixels(len(labels)), np.array(labels), names)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (labelled([0, 0, 0, 0]), "images of at least two classes.*ash"),
        (labelled([0, 0, 1, 1, 2]), "at least 2 different images.*cedar"),
        (labelled([0, 1, 2]), "at least 2 different images"),
        (labelled([[1, 0], [1, 1]], ("a", "b")), "one label each"),
        (kerastl.ImageSet(pixels(4), None, NAMES), "one label each"),
    ],
)
def test_data_that_cannot_be_ranked_on_are_named(data, words):
    with pytest.raises(ValueError, match=words):
        rank_backbones(data, [network()])


@pytest.mark.parametrize(
    ("candidates", "error", "words"),
    [
        ([], ValueError, "at least one backbone"),
        ("MobileNet", TypeError, "a sequence or a mapping"),
        ([3], TypeError, "or keras.Models"),
        (["MobileNets"], ValueError, "Did you mean 'MobileNet'"),
        (["MobileNet:width=0.5"], ValueError, "alpha, image_size, weights"),
        (["MobileNet:alpha=half"], ValueError, "a number for alpha"),
        (["VGG16", "VGG16"], ValueError, r"called differently.*\['VGG16'\]"),
    ],
)
def test_candidates_that_are_none_are_named(candidates, error, words):
    with pytest.raises(error, match=words):
        rank_backbones(colours(4), candidates)


def test_a_foreign_network_without_preprocessing_is_an_error_at_once():
    with pytest.raises(ValueError, match="`preprocessing` must be given"):
        rank_backbones(colours(4), [network(), small_network("foreign")])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"images": 5}, ValueError, "`images` must be at least 6, 2 for each class"),
        ({"scores": "knn"}, TypeError, "a sequence of names"),
        ({"scores": ("knm",)}, ValueError, "Did you mean 'knn'"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0"),
        ({"resize": "squash"}, ValueError, "'stretch', 'crop', 'pad'"),
    ],
)
def test_options_out_of_range_are_named(options, error, words):
    with pytest.raises(error, match=words):
        rank_backbones(colours(4), [network()], **options)
