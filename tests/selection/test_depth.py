"""The depth profile: which cut it takes, and by what."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import coloured, pixels, small_network
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import kerastl
from kerastl.features.extractor import FeatureExtractor
from kerastl.models.adapting import adapt_backbone
from kerastl.selection.depth import ALPHAS, DepthProfile, depth_profile

CUTS = ("relu1", "relu2", "relu3")


def stripes(per_class=15, size=16, seed=0):
    """Stripes across and down: of one colour and brightness, told by edges only."""
    generator = np.random.default_rng(seed)
    labels = np.arange(2 * per_class) % 2
    wave = 127 + 100 * np.sin(np.arange(size) * np.pi / 2)
    images = np.stack([np.tile(wave, (size, 1)) for _ in labels])
    images[labels == 1] = images[labels == 1].transpose(0, 2, 1)
    images += generator.normal(0, 25, images.shape)
    images = np.clip(images, 0, 255).astype("uint8")
    return kerastl.ImageSet(images, labels, ("across", "down"))


def edge_network(last_random):
    """Mean of 3x3, then edges (which tell stripes), then what is useless or not."""
    x = inputs = keras.Input((16, 16, 3))
    for name, width in (("blur", 1), ("edges", 2), ("top", 2)):
        x = layers.Conv2D(width, 3, padding="same", name=name)(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    network = keras.Model(inputs, x)
    for layer in network.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([0 * kernel, 0 * bias])
    blur, edges, top = (network.get_layer(n) for n in ("blur", "edges", "top"))
    identity = np.zeros((3, 3, 3, 1))
    identity[1, 1] = 1 / 3
    blur.set_weights([identity, np.ones(1)])
    derivative = np.zeros((3, 3, 1, 2))
    derivative[1, :, 0, 0] = derivative[:, 1, 0, 1] = (-1, 0, 1)
    edges.set_weights([derivative, np.zeros(2)])
    if last_random:
        # Dead channels and noise: nothing of the edges comes through.
        top.set_weights(
            [-np.abs(np.random.default_rng(0).normal(size=(3, 3, 2, 2))), np.zeros(2)]
        )
    else:
        passing = np.zeros((3, 3, 2, 2))
        passing[1, 1] = np.eye(2)
        top.set_weights([passing, np.zeros(2)])
    return adapt_backbone(network, preprocessing="tf")


def edge_profile(last_random):
    cuts = ("blur_relu", "edges_relu", "top_relu")
    return depth_profile(edge_network(last_random), stripes(), cuts=cuts)


def test_the_cut_before_a_useless_last_block_is_taken():
    profile = edge_profile(last_random=True)
    assert profile.chosen == profile.best == "edges_relu"
    assert profile.accuracies[1] == 1.0
    assert max(profile.accuracies[0], profile.accuracies[2]) < 0.8


def test_the_earliest_of_equally_good_cuts_is_taken():
    profile = edge_profile(last_random=False)
    assert profile.accuracies[1:] == (1.0, 1.0)
    assert profile.chosen == "edges_relu"


@pytest.fixture
def coloured_set():
    images, labels = coloured(10)
    return kerastl.ImageSet(images // 2, labels, ("ash", "beech", "cedar"))


def backbone():
    return adapt_backbone(small_network(), preprocessing="tf")


def test_accuracies_are_those_of_a_ridge_probe_cross_validated_by_hand(coloured_set):
    network = backbone()
    profile = depth_profile(network, coloured_set, cuts=CUTS, folds=3, seed=4)
    folds = StratifiedKFold(3, shuffle=True, random_state=4)
    for number, cut in enumerate(CUTS):
        features = FeatureExtractor(network, at=cut).fit_transform(coloured_set)
        scores = []
        for train, test in folds.split(features, coloured_set.labels):
            probe = make_pipeline(StandardScaler(), RidgeClassifierCV(ALPHAS))
            probe.fit(features[train], coloured_set.labels[train])
            guesses = probe.predict(features[test])
            scores.append(np.mean(guesses == coloured_set.labels[test]))
        variance = sum((score - np.mean(scores)) ** 2 for score in scores) / 2
        assert profile.accuracies[number] == pytest.approx(np.mean(scores))
        error = (variance / 3) ** 0.5
        assert profile.standard_errors[number] == pytest.approx(error)


def test_all_cuts_come_from_one_pass(coloured_set, monkeypatch):
    seen, plain = [], keras.Model.predict_on_batch

    def counting(self, batch):
        seen.append(len(batch))
        return plain(self, batch)

    monkeypatch.setattr(keras.Model, "predict_on_batch", counting)
    depth_profile(backbone(), coloured_set, cuts=CUTS, batch_size=1)
    assert seen == [1] * len(coloured_set)


def test_the_cut_within_one_standard_error_is_chosen_not_the_best(monkeypatch):
    scores = iter([[0.5] * 4, [0.6, 0.8, 0.7, 0.7], [0.8, 0.7, 0.7, 0.8]])
    monkeypatch.setattr("kerastl.selection.depth._probe", lambda *_: next(scores))
    images, labels = coloured(4)
    data = kerastl.ImageSet(images, labels, ("a", "b", "c"))
    profile = depth_profile(backbone(), data, cuts=CUTS, folds=4)
    # The best: 0.75, one standard error 0.0289; 0.70 is further away.
    assert profile.chosen == profile.best == "relu3"
    scores = iter([[0.5] * 4, [0.7, 0.8, 0.7, 0.7], [0.8, 0.7, 0.7, 0.8]])
    profile = depth_profile(backbone(), data, cuts=CUTS, folds=4)
    assert (profile.chosen, profile.best) == ("relu2", "relu3")


def test_computation_counts_multiplications(coloured_set):
    profile = depth_profile(backbone(), coloured_set, cuts=CUTS)
    # Kernel sizes times places: 16 pixels are 8, 4, 2 after each stride.
    work = np.cumsum([9 * 3 * 4 * 8 * 8, 9 * 4 * 4 * 4 * 4, 9 * 4 * 4 * 2 * 2])
    np.testing.assert_allclose(profile.computation, work / work[-1])
    assert profile.widths == (4, 4, 4)


def test_cuts_are_ends_of_blocks_spread_over_the_computation():
    images, labels = coloured(2, 32)
    data = kerastl.ImageSet(images, labels, ("a", "b", "c"))
    profile = depth_profile(
        "MobileNet", data, alpha=0.25, image_size=32, cuts=4, folds=2
    )
    assert len(profile.cuts) == 4
    assert profile.cuts[-1] == "conv_pw_13_relu"
    assert all(name.startswith("conv_pw_") for name in profile.cuts)
    assert all(name.endswith("_relu") for name in profile.cuts)
    np.testing.assert_allclose(profile.computation, [0.25, 0.5, 0.75, 1.0], atol=0.1)


def test_a_network_of_few_blocks_gives_as_many_cuts_as_it_has(coloured_set):
    assert depth_profile(backbone(), coloured_set, cuts=20).cuts == CUTS


def test_copies_of_an_image_stay_in_one_fold():
    # Labels that nothing tells, and features enough to remember each image: a copy in
    # another fold would be known.
    images = np.repeat(pixels(16), 4, axis=0)
    data = kerastl.ImageSet(images, np.repeat(np.arange(16) % 2, 4), ("a", "b"))
    x = inputs = keras.Input((16, 16, 3))
    for name in ("first", "second"):
        x = layers.Conv2D(64, 3, strides=2, activation="relu", name=name)(x)
    network = adapt_backbone(keras.Model(inputs, x), preprocessing="tf")
    profile = depth_profile(network, data, cuts=("first", "second"), folds=4)
    assert max(profile.accuracies) < 0.9


def test_cuts_come_from_input_to_output_whatever_order_they_are_given_in(coloured_set):
    network = backbone()
    profile = depth_profile(network, coloured_set, cuts=CUTS[::-1])
    assert profile == depth_profile(network, coloured_set, cuts=CUTS)
    assert profile.cuts == CUTS


def test_the_same_seed_gives_the_same_profile():
    # Labels that nothing tells: the accuracies hang on the folds alone.
    network, data = (
        backbone(),
        kerastl.ImageSet(pixels(40), np.arange(40) % 2, ("a", "b")),
    )
    first, again, other = (
        depth_profile(network, data, cuts=CUTS, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_only_the_training_part_of_splits_is_used(coloured_set):
    held = kerastl.ImageSet(
        pixels(6, 16, 9), np.arange(6) % 3, ("ash", "beech", "cedar")
    )
    network = backbone()
    splits = kerastl.Splits(coloured_set, held, None)
    assert depth_profile(network, splits, cuts=CUTS) == depth_profile(
        network, coloured_set, cuts=CUTS
    )


def test_a_profile_prints_as_a_table_with_the_chosen_cut_marked():
    profile = DepthProfile(
        cuts=("early", "late"),
        accuracies=(0.81, 0.82),
        standard_errors=(0.01, 0.02),
        widths=(64, 1024),
        computation=(0.4, 1.0),
        chosen="early",
        folds=5,
    )
    assert str(profile).splitlines() == [
        "  cut    features  computation  accuracy",
        "* early        64          40%  81.0% +- 1.0%",
        "  late      1,024         100%  82.0% +- 2.0%",
        "* the earliest within one standard error of the best, 5 folds",
    ]
    assert profile.best == "late"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cuts": 1}, "`cuts` must be at least 2"),
        ({"cuts": ("relu1",)}, "at least two"),
        ({"cuts": ("relu1", "relu1")}, "different cut points"),
        ({"cuts": ("relu1", "relu9")}, "`at` must be a layer of small"),
        ({"folds": 1}, "`folds` must be at least 2"),
        ({"folds": 11}, "at least 11 images of each class"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, words, coloured_set):
    with pytest.raises(ValueError, match=words):
        depth_profile(backbone(), coloured_set, **options)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "one label each"),
        (np.ones((4, 2), int), "one label each"),
        (np.zeros(4, int), "at least two classes"),
    ],
)
def test_images_without_a_choice_of_labels_are_refused(labels, words):
    data = kerastl.ImageSet(pixels(4), labels, ("a", "b"))
    with pytest.raises(ValueError, match=words):
        depth_profile(backbone(), data)


@pytest.mark.parametrize(
    ("broken", "words"),
    [(np.nan, "`features` must be finite"), (0.0, "different between images")],
)
def test_features_of_no_use_are_an_error(broken, words, coloured_set):
    network = backbone()
    first = next(layer for layer in network.layers if layer.weights)
    first.set_weights([value * broken for value in first.get_weights()])
    with pytest.raises(ValueError, match=words):
        depth_profile(network, coloured_set)
