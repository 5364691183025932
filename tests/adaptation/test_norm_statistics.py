"""Statistics of another domain: what moves, what comes back, what is refused."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import (
    CLASSES,
    assert_same_weights,
    outputs,
    pixels,
    small_classifier,
    values,
)
from scipy.special import softmax

import kerastl
from kerastl.adaptation import TestTimeAdapter, adapt_statistics
from kerastl.models.record import set_temperature

pytestmark = pytest.mark.filterwarnings("ignore:Statistics of")
IMAGES = pixels(24)


def learnt(**options):
    model = small_classifier(learnt=True, **options)
    adapt_statistics(model, IMAGES)
    return model


def moved(model, before):
    pairs = zip(model.weights, before, values(model), strict=True)
    return {w.path for w, old, new in pairs if not np.array_equal(old, new)}


def first_norm():
    """BatchNorm on the inputs themselves, and a network above it."""
    x = inputs = keras.Input((6, 6, 3))
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(5, 3, padding="same", name="conv")(x)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(4)(x))


def test_a_domain_of_other_gains_and_levels_gives_the_sources_answers():
    model, rows = first_norm(), np.random.default_rng(0).normal(size=(40, 6, 6, 3))
    adapt_statistics(model, rows)
    wanted = outputs(model, rows)
    other = rows * [0.2, 3.0, 7.0] + [5.0, -2.0, 0.3]
    assert np.abs(outputs(model, other) - wanted).max() > 0.1
    adapt_statistics(model, other)
    np.testing.assert_allclose(outputs(model, other), wanted, atol=5e-3)


def test_only_moving_statistics_change_frozen_ones_too():
    model = small_classifier()
    flags = [weight.trainable for weight in model.weights]
    before = values(model)
    adapt_statistics(model, IMAGES)
    kinds = ("moving_mean", "moving_variance")
    wanted = {w.path for w in model.weights if w.path.endswith(kinds)}
    assert moved(model, before) == wanted
    assert len(wanted) == 6
    assert [weight.trainable for weight in model.weights] == flags


def test_a_second_call_changes_nothing():
    model = learnt()
    before = values(model)
    adapt_statistics(model, IMAGES)
    assert_same_weights(model, before)


def test_labels_that_come_along_change_no_bit():
    ends = []
    labels = np.arange(24) % 3
    sets = [IMAGES, (IMAGES, labels), (IMAGES, labels[::-1].copy())]
    sets += [kerastl.ImageSet(IMAGES, labels, CLASSES)]
    for target in sets:
        keras.utils.set_random_seed(0)
        model = small_classifier()
        adapt_statistics(model, target)
        ends.append(values(model))
    for end in ends[1:]:
        for one, other in zip(ends[0], end, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_mixture_of_domains_has_the_statistics_of_neither():
    found, model = [], small_classifier()
    for images in (IMAGES, IMAGES // 4, np.concatenate([IMAGES, IMAGES // 4])):
        adapt_statistics(model, images)
        found.append(np.array(model.get_layer("bn1").moving_variance))
    assert not np.allclose(found[2], found[0], rtol=0.05)
    assert not np.allclose(found[2], found[1], rtol=0.05)


def test_layers_by_name():
    model = small_classifier()
    before = values(model)
    adapt_statistics(model, IMAGES, layers=["bn2"])
    assert {path.split("/")[0] for path in moved(model, before)} == {"bn2"}


def test_a_temperature_goes_with_the_statistics_it_was_for():
    model = small_classifier()
    set_temperature(model, 2.0)
    with pytest.warns(UserWarning, match="calibrated for other weights"):
        adapt_statistics(model, IMAGES)


def test_few_images_are_warned_of():
    with pytest.warns(UserWarning, match="Statistics of 24 images are partly chance"):
        adapt_statistics(small_classifier(), IMAGES)


def without_norms():
    x = keras.Input((4,))
    normed = layers.LayerNormalization()(layers.Dense(3)(x))
    return keras.Model(x, normed, name="layered")


def test_what_has_no_statistics_is_refused():
    with pytest.raises(ValueError, match=r"a network with BatchNormalization.*layered"):
        adapt_statistics(without_norms(), np.zeros((5, 4)))
    with pytest.raises(ValueError, match="at least two images"):
        adapt_statistics(small_classifier(), IMAGES[:1])


def probabilities(model, images):
    return softmax(outputs(model, images).astype("float64"), axis=1)


def test_with_all_the_weight_on_the_source_the_answers_are_predicts():
    model = learnt()
    wanted = kerastl.predict(model, IMAGES).probabilities
    found = TestTimeAdapter(model, source_images=float("inf")).predict(IMAGES)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-5)


def test_with_none_they_are_those_of_the_batchs_own_statistics():
    # One BatchNorm: those above see what it made of the batch.
    x = inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, strides=2, name="conv")(x)
    x = layers.BatchNormalization(name="bn")(x)
    network = keras.Model(inputs, layers.ReLU(name="end")(x))
    model = kerastl.build_classifier(network, CLASSES, preprocessing="tf")
    kernel = np.random.default_rng(0).normal(size=(4, 3))
    model.get_layer("head_dense").set_weights([kernel, np.zeros(3)])
    found = TestTimeAdapter(model, source_images=0).predict(IMAGES).probabilities
    half = TestTimeAdapter(model, source_images=24).predict(IMAGES).probabilities
    adapt_statistics(model, IMAGES)
    np.testing.assert_allclose(found, probabilities(model, IMAGES), atol=1e-4)
    # Half of each: the mean of the two domains' moments.
    norm = model.get_layer("bn")
    own = [np.array(norm.moving_mean), np.array(norm.moving_variance)]
    norm.moving_mean.assign(own[0] / 2)
    norm.moving_variance.assign((own[1] + 1) / 2)
    np.testing.assert_allclose(half, probabilities(model, IMAGES), atol=1e-4)


def test_bn_changes_no_weight_and_no_class():
    model = learnt()
    before, kinds = values(model), [type(layer) for layer in model.layers]
    TestTimeAdapter(model).predict(IMAGES // 3)
    assert_same_weights(model, before)
    assert [type(layer) for layer in model.layers] == kinds


def entropy(rows):
    return -(rows * np.log(rows)).sum(axis=1).mean()


def test_tent_moves_gamma_and_beta_alone_and_answers_get_surer():
    model = learnt(dropout=0.5)
    before = values(model)
    flags = [weight.trainable for weight in model.weights]
    adapter = TestTimeAdapter(model, "tent", learning_rate=1e-2)
    found = [entropy(adapter.predict(IMAGES).probabilities) for _ in range(6)]
    assert found == sorted(found, reverse=True)
    paths = moved(model, before)
    assert paths == {w.path for w in model.weights if w.name in ("gamma", "beta")}
    assert [weight.trainable for weight in model.weights] == flags
    assert adapter.changed > 1e-3
    assert adapter.seen == 6
    adapter.reset()
    assert_same_weights(model, before)
    assert adapter.changed == 0
    # And begins anew with a fresh optimizer.
    again = entropy(adapter.predict(IMAGES).probabilities)
    assert again == pytest.approx(found[0], rel=1e-6)
    assert entropy(adapter.predict(IMAGES).probabilities) == pytest.approx(
        found[1], rel=1e-4
    )


def test_tent_leaves_the_models_compilation_alone():
    model = learnt()
    rule = model.optimizer
    TestTimeAdapter(model, "tent").predict(IMAGES)
    assert model.optimizer is rule
    data = IMAGES.astype("float32"), np.arange(24) % 3
    model.fit(*data, verbose=0)


def test_an_answer_depends_on_its_company():
    # Sorted by brightness each batch looks like one of its own: the danger of streams.
    model = learnt()
    stream = np.concatenate([IMAGES // 4, IMAGES])
    order = np.random.default_rng(0).permutation(48)
    adapter = TestTimeAdapter(model, source_images=0, batch_size=24)
    sorted_answers = adapter.predict(stream).probabilities
    mixed = adapter.predict(stream[order]).probabilities
    assert np.abs(sorted_answers[order] - mixed).max() > 0.05


def test_no_batch_of_one_is_answered():
    adapter = TestTimeAdapter(learnt(), batch_size=2)
    with pytest.raises(ValueError, match="a batch of at least two"):
        adapter.predict(IMAGES[:1])
    # Five images in batches of two: two and three, not two, two and one.
    assert len(adapter.predict(IMAGES[:5])) == 5
    assert adapter.seen == 2
    with pytest.raises(ValueError, match="a network with BatchNormalization"):
        TestTimeAdapter(kerastl.build_classifier(flat(), CLASSES, preprocessing="tf"))


def flat():
    x = keras.Input((8, 8, 3))
    return keras.Model(x, layers.Conv2D(2, 3, name="conv")(x))
