"""Class weights by name, and noise that starts from a seed."""

import keras
import numpy as np
import pytest
from networks import CLASSES, pixels, small_classifier, small_network, teach_head
from sklearn.utils.class_weight import compute_class_weight

import kerastl
from kerastl._compat import sublayers
from kerastl.data.batches import balanced_order
from kerastl.data.sources import StreamSource
from kerastl.features.sources import make_source
from kerastl.models.layers import seed_noise
from kerastl.tasks.task import bind
from kerastl.training.weighting import balanced_classes, class_weights

LABELS = np.array([0, 0, 0, 0, 1, 2, 2])


@pytest.fixture(scope="module")
def model():
    return small_classifier()


@pytest.fixture(scope="module")
def train(model):
    return make_source(model, (pixels(7), LABELS), "train")


def test_balanced_is_scikit_learns(model, train):
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    made = class_weights(model, train, "balanced")
    np.testing.assert_allclose([made[i] for i in range(3)], wanted)


def test_balanced_leaves_the_mean_weight_at_one(model, train):
    made = class_weights(model, train, "balanced")
    assert np.mean([made[label] for label in LABELS]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "weights",
    [
        {"cedar": 3, "ash": 1, "beech": 0.5},
        {0: 1, 1: 0.5, 2: 3},
        {"ash": 1, 1: 0.5, "cedar": np.float32(3)},
    ],
)
def test_names_and_numbers_become_indices(model, train, weights):
    assert class_weights(model, train, weights) == {0: 1.0, 1: 0.5, 2: 3.0}


def test_none_stays_none(model, train):
    assert class_weights(model, train, None) is None


@pytest.mark.parametrize(
    ("weights", "error", "sentence"),
    [
        ({"ash": 1, "beech": 1}, ValueError, r"Missing: \['cedar'\]"),
        (
            {"ash": 1, "beach": 1, "cedar": 1},
            ValueError,
            r"given for ash, beech, cedar.*\['beach'\].*Did you mean 'beech'",
        ),
        ({0: 1, 1: 1, 2: 1, 3: 1}, ValueError, r"Received: class_weight=\[3\]"),
        ({"ash": 1, "beech": 1, "cedar": -1}, ValueError, "at least 0"),
        ({"ash": 1, "beech": 1, "cedar": "x"}, TypeError, "a number"),
        ("balance", ValueError, "'balanced' or a weight for each class name"),
        ([1, 1, 1], ValueError, "'balanced' or a weight for each class name"),
    ],
)
def test_weights_that_do_not_fit_are_refused(model, train, weights, error, sentence):
    with pytest.raises(error, match=sentence):
        class_weights(model, train, weights)


def test_balanced_needs_every_class(model):
    train = make_source(model, (pixels(2), np.array([0, 1])), "train")
    with pytest.raises(ValueError, match=r"images of every class.*\['cedar'\]"):
        class_weights(model, train, "balanced")


def test_balanced_needs_data_that_can_be_counted(model):
    with pytest.raises(ValueError, match="pass the weights"):
        class_weights(model, StreamSource(iter(())), "balanced")


def test_weights_for_a_stream_may_be_given(model):
    made = class_weights(model, StreamSource(iter(())), dict.fromkeys(CLASSES, 2))
    assert made == {0: 2.0, 1: 2.0, 2: 2.0}


@pytest.mark.parametrize("kind", ["multilabel", "foreign"])
def test_only_one_class_an_image_can_be_weighted(kind, train):
    many = small_classifier(task="multilabel") if kind == "multilabel" else None
    with pytest.raises(ValueError, match="one class an image"):
        class_weights(many or small_network(), train, "balanced")


def noisy_outputs(model):
    made = model(pixels().astype("float32"), training=True)
    return keras.ops.convert_to_numpy(made)


def test_noise_follows_from_the_seed():
    model = small_classifier(dropout=0.5, pooling="max")
    teach_head(model)
    made = []
    for seed in (5, 5, 6):
        seed_noise(model, seed)
        made.append(noisy_outputs(model))
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_every_layer_has_noise_of_its_own():
    model = small_classifier(extra=keras.layers.Dropout(0.5), dropout=0.5)
    seed_noise(model, 0)
    states = [
        np.array(layer.seed_generator.state)
        for layer in sublayers(model)
        if hasattr(layer, "seed_generator")
    ]
    assert len(states) == 2
    assert not np.array_equal(*states)


def test_seeding_touches_no_global_state():
    keras.utils.set_random_seed(1)
    wanted = np.random.rand()  # noqa: NPY002
    keras.utils.set_random_seed(1)
    seed_noise(small_classifier(seed=0), 3)
    assert np.random.rand() == wanted  # noqa: NPY002


def test_a_model_without_noise_is_left_alone():
    model = kerastl.build_classifier(
        small_network(), CLASSES, preprocessing="tf", dropout=0
    )
    seed_noise(model, 0)


@pytest.mark.parametrize("counts", [(4, 4, 4), (10, 3, 1), (1, 30, 2)])
def test_an_epoch_draws_classes_alike_and_spares_no_image(counts):
    classes = np.repeat(np.arange(3), counts)
    total, seen = sum(counts), set()
    for epoch in range(40):
        order = balanced_order(classes, 7, epoch)
        assert len(order) == total
        drawn = np.bincount(classes[order], minlength=3)
        assert drawn.max() - drawn.min() <= 1
        for name in range(3):
            times = np.bincount(order[classes[order] == name], minlength=total)
            times = times[classes == name]
            # None of a class a second time before all had a turn.
            assert times.max() - times.min() <= 1
        seen.update(order)
    assert seen == set(range(total))


def test_the_drawing_follows_from_seed_and_epoch():
    classes = np.repeat([0, 1], (9, 3))
    one, same = (balanced_order(classes, 1, 2) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    others = balanced_order(classes, 1, 3), balanced_order(classes, 2, 2)
    assert not any(np.array_equal(one, other) for other in others)


@pytest.mark.parametrize("cache", ["memory", "off"])
def test_phases_train_on_classes_drawn_alike(model, cache):
    """A constant input leaves the head its bias: the logarithms of the shares."""
    images = np.full((12, 16, 16, 3), 99, "uint8")
    data = images, np.repeat([0, 1, 2], (8, 3, 1))
    found = []
    for sampling in (None, "balanced"):
        phase = kerastl.Phase(
            "head", trainable="head", epochs=30, learning_rate=0.3, optimizer="sgd"
        )
        model = small_classifier(dropout=0.0)
        options = {"phases": phase, "seed": 0, "cache": cache, "sampling": sampling}
        kerastl.run_phases(model, data, **options)
        found.append(kerastl.predict(model, images[:1]).probabilities[0])
    np.testing.assert_allclose(found[0], np.array([8, 3, 1]) / 12, atol=0.05)
    np.testing.assert_allclose(found[1], np.ones(3) / 3, atol=0.01)


@pytest.mark.parametrize(
    ("labels", "sampling", "weight", "sentence"),
    [
        (LABELS, "even", None, "`sampling` must be one of 'balanced'"),
        (LABELS, "balanced", "balanced", "`class_weight` must be None with sampling"),
        (LABELS[:4], "balanced", None, "`train` must be with images of every class"),
    ],
)
def test_sampling_that_cannot_be_is_refused(model, labels, sampling, weight, sentence):
    source = make_source(model, (pixels(len(labels)), labels), "train")
    with pytest.raises(ValueError, match=sentence):
        balanced_classes(bind(model), source, sampling, weight)


def test_streams_and_other_tasks_have_no_classes_to_draw(model):
    with pytest.raises(ValueError, match="None for a dataset of batches"):
        balanced_classes(bind(model), StreamSource(()), "balanced", None)
    with pytest.raises(ValueError, match="`sampling` must be None for this model"):
        balanced_classes(bind(small_network()), StreamSource(()), "balanced", None)
