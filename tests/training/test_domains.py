"""Phases that learn of unlabelled images beside labelled ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from networks import (
    CLASSES,
    assert_same_weights,
    coloured,
    pixels,
    small_classifier,
    small_network,
    values,
)
from scipy.special import log_softmax, softmax

import kerastl
from kerastl.adaptation import Adaptation
from kerastl.data.batches import beside_others
from kerastl.features.sources import make_source, unlabelled_source
from kerastl.tasks.classification import MulticlassTask
from kerastl.tasks.task import bind
from kerastl.training.domains import (
    METHODS,
    AdaptedLoss,
    OfLabelled,
    ReverseGradient,
    TwoDomains,
    class_confusion,
    climbed,
    confident,
    coral_distance,
    domain_loss,
)

pytestmark = pytest.mark.filterwarnings("ignore:Phase 'adapting' finds no target")
IMAGES, LABELS = coloured(6)
TARGET = 255 - coloured(5, seed=3)[0]
RNG = np.random.default_rng(0)
MCC = Adaptation("mcc")


def model_of(seed=0, **options):
    keras.utils.set_random_seed(seed)
    model = small_classifier(dropout=0.0, **options)
    dense = model.get_layer("head_dense")
    kernel = RNG_KERNEL[: dense.kernel.shape[0], : dense.kernel.shape[1]]
    dense.set_weights([kernel, np.zeros(dense.bias.shape)])
    return model


RNG_KERNEL = np.random.default_rng(7).normal(size=(4, 3))


def phase(adapt=None, trainable="all", **options):
    given = {"epochs": 2, "learning_rate": 0.05, "optimizer": "sgd", **options}
    return kerastl.Phase("adapting", trainable=trainable, adapt=adapt, **given)


def run(model, adapt, target=TARGET, data=(IMAGES, LABELS), validation=None, **options):
    given = {"batch_size": 8, "seed": 0, "verbose": 0, **options}
    phases = given.pop("phases", None) or [phase(adapt)]
    if adapt is None:
        given["batch_size"] //= 2
        target = None
    return kerastl.run_phases(
        model, data, validation, phases=phases, target=target, **given
    )


def ends(adapt, **options):
    model = model_of()
    run(model, adapt, **options)
    return values(model)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# What the terms are.


def confusion_of(logits):
    """The published formula, in NumPy."""
    shares = softmax(logits / 2.5, axis=1)
    entropy = -(shares * log_softmax(logits / 2.5, axis=1)).sum(axis=1)
    sure = 1 + np.exp(-entropy)
    sure = sure * len(logits) / sure.sum()
    table = shares.T @ (sure[:, None] * shares)
    table /= table.sum(axis=1, keepdims=True)
    return (table.sum() - np.trace(table)) / logits.shape[1]


def test_confusion_is_its_formula_and_has_its_limits():
    logits = RNG.normal(0, 3, (12, 5)).astype("float32")
    ones = np.ones(12, "float32")
    assert float(class_confusion(logits, ones)) == pytest.approx(
        confusion_of(logits), rel=1e-4
    )
    # Nothing known: 1 - 1 / K. Each class certain: 0.
    assert float(class_confusion(0 * logits, ones)) == pytest.approx(0.8, rel=1e-5)
    certain = 500 * np.eye(5, dtype="float32")[np.arange(12) % 5]
    assert float(class_confusion(certain, ones)) == pytest.approx(0.0, abs=1e-6)
    # In any order, and of the rows of the mask alone.
    order = RNG.permutation(12)
    assert float(class_confusion(logits[order], ones)) == pytest.approx(
        confusion_of(logits), rel=1e-4
    )
    mask = (np.arange(12) < 7).astype("float32")
    assert float(class_confusion(logits, mask)) == pytest.approx(
        confusion_of(logits[:7]), rel=1e-4
    )
    assert float(class_confusion(logits, 0 * ones)) == 0


def test_distance_of_covariances_is_its_formula():
    rows = RNG.normal(size=(11, 3)).astype("float32")
    mask = (np.arange(11) < 5).astype("float32")
    gap = np.cov(rows[:5].T) - np.cov(rows[5:].T)
    found = float(coral_distance(rows, mask, 1 - mask))
    assert found == pytest.approx(np.square(gap).sum() / 36, rel=1e-4)
    # Of a copy elsewhere nothing.
    twice = np.concatenate([rows, rows + 5]).astype("float32")
    half = np.repeat([1.0, 0.0], 11).astype("float32")
    assert float(coral_distance(twice, half, 1 - half)) == pytest.approx(0, abs=1e-8)
    # Where a domain has one row it has no covariance.
    one = np.eye(11, dtype="float32")[0]
    assert float(coral_distance(rows, one, 1 - one)) == 0


def test_domains_that_are_not_told_apart_cost_log_two():
    mask = np.repeat([1.0, 0.0], [2, 9]).astype("float32")
    logits = np.zeros(11, "float32")
    assert float(domain_loss(logits, mask, 1 - mask)) == pytest.approx(np.log(2))
    told = (40 * mask - 20).astype("float32")
    assert float(domain_loss(told, mask, 1 - mask)) == pytest.approx(0, abs=1e-6)
    ones = np.ones(11, "float32")
    assert float(domain_loss(logits, ones, 0 * ones)) == 0


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_the_gradient_comes_back_reversed(strength):
    # Through `fit`, whose step shows the gradient: w goes the other way.
    x = keras.Input((2,))
    hidden = keras.layers.Dense(2, use_bias=False, name="below")(x)
    given = strength * ops.ones_like(hidden[:, :1])
    reverse = ReverseGradient()
    model = keras.Model(x, keras.layers.Dense(1, name="up")(reverse([hidden, given])))
    plain = keras.models.clone_model(keras.Model(x, model.get_layer("up")(hidden)))
    plain.set_weights(model.get_weights())
    data = RNG.normal(size=(6, 2)), RNG.normal(size=(6, 1))
    np.testing.assert_allclose(
        model.predict(data[0], verbose=0), plain.predict(data[0], verbose=0), rtol=1e-5
    )
    before = np.array(model.get_layer("below").kernel)
    steps = []
    for each in (model, plain):
        each.compile(keras.optimizers.SGD(0.1), "mse")
        each.train_on_batch(*data)
        steps.append(each.get_layer("below").get_weights()[0] - before)
    np.testing.assert_allclose(steps[0], -strength * steps[1], rtol=1e-4, atol=1e-6)


def test_the_climb_is_the_papers():
    progress = np.linspace(0, 1, 5).astype("float32")
    wanted = 2 / (1 + np.exp(-10 * progress)) - 1
    np.testing.assert_allclose(climbed(progress), wanted, atol=1e-6)
    assert float(climbed(np.float32(3))) == pytest.approx(wanted[-1])


def test_the_surest_of_each_predicted_class_are_guessed():
    logits = np.array([[9, 0, 0], [3, 0, 0], [5, 0, 0], [1, 0, 0], [0, 0.5, 0]])
    np.testing.assert_array_equal(confident(logits, 0.5), [0, -1, 0, -1, 1])
    np.testing.assert_array_equal(confident(logits, 1.0), [0, 0, 0, 0, 1])


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_labelled_mean_plus_the_term(weights, smoothing):
    labels = np.array([0, -1, 2, -1, -1, 1, -3])
    logits = RNG.normal(size=(7, 3)).astype("float32")
    rows = np.concatenate([logits, np.full((7, 1), 0.7, "float32")], axis=1)
    known = labels >= 0
    hard = np.eye(3)[labels[known]] * (1 - smoothing) + smoothing / 3
    costs = -(hard * log_softmax(logits[known], axis=1)).sum(axis=1)
    costs = (
        costs * (np.ones(3) if weights is None else np.array(weights))[labels[known]]
    )
    base = MulticlassTask(CLASSES).loss(smoothing)
    loss = AdaptedLoss(base, "mcc", 3, weights)
    wanted = costs.mean() + 0.7 * confusion_of(logits[~known])
    assert float(loss(labels, rows)) == pytest.approx(wanted, rel=1e-4)
    # The class guessed for the last row is 1: -2 - 1.
    loss = AdaptedLoss(base, "self_training", 3, weights)
    soft = np.eye(3)[1] * (1 - smoothing) + smoothing / 3
    guessed = -(soft * log_softmax(logits[6])).sum()
    wanted = costs.mean() + 0.7 * guessed
    assert float(loss(labels, rows)) == pytest.approx(wanted, rel=1e-4)
    # Validation: labels alone.
    costs = -(hard * log_softmax(logits[known], axis=1)).sum(axis=1)
    loss = AdaptedLoss(base, "mcc", 3)
    found = float(loss(labels[known], rows[known]))
    assert found == pytest.approx(costs.mean(), rel=1e-5)


def test_accuracy_counts_the_labelled_alone():
    metric = OfLabelled(MulticlassTask(CLASSES).metrics()[0], 3)
    logits = np.eye(3, dtype="float32")[[0, 1, 2, 1, 0]]
    metric.update_state(np.array([0, 2, -1, -1, -2]), np.c_[logits, np.ones((5, 2))])
    assert float(metric.result()) == 0.5
    metric.reset_state()
    assert float(metric.result()) == 0


# How rows travel.


@pytest.mark.parametrize(("own", "others", "size"), [(10, 4, 8), (7, 30, 4), (5, 3, 5)])
def test_each_batch_is_half_of_the_others(own, others, size):
    order = np.random.default_rng(1).permutation(own)
    found = beside_others(order, others, size, 0, 0)
    half = size // 2
    batches = [found[i : i + size] for i in range(0, len(found), size)]
    assert len(batches) == -(-own // (size - half))
    kept = [batch[batch < own] for batch in batches]
    np.testing.assert_array_equal(np.concatenate(kept), order)
    assert all((batch >= own).sum() == half for batch in batches)
    seen = found[found >= own]
    assert seen.max() < own + others
    counts = np.bincount(seen - own, minlength=others)
    assert counts.max() - counts.min() <= 1
    again = beside_others(order, others, size, 0, 1)
    assert not np.array_equal(again[again >= own], seen)


def test_two_domains_are_one_source_of_rows():
    model = bind(model_of())
    train = make_source(model, (IMAGES, LABELS), "train")
    target = unlabelled_source(model, (TARGET, LABELS[:15]), "target")
    assert target.targets is None
    known = kerastl.ImageSet(TARGET, LABELS[:15], CLASSES)
    assert unlabelled_source(model, known, "target").images.labels is None
    both = TwoDomains(train, target)
    np.testing.assert_array_equal(both.targets, [*LABELS, *[-1] * 15])
    places = np.array([20, 3, 18, 0, 32])
    wanted = np.concatenate([IMAGES, TARGET])[places]
    np.testing.assert_array_equal(both.rows(places)["images"], wanted)
    guessed = TwoDomains(train, target, np.array([2, -1, *[0] * 13]))
    np.testing.assert_array_equal(guessed.targets[18:21], [-4, -1, -2])
    assert both.key() != TwoDomains(train, train).key()


# What a run does.


@pytest.mark.parametrize(
    ("method", "cache"), [("mcc", "memory"), ("dann", "off"), ("coral", "memory")]
)
def test_a_term_without_weight_is_no_target(method, cache):
    adapt = Adaptation(method, weight=0.0)
    given = {"cache": cache, "phases": [phase(adapt, trainable=1)]}
    one = ends(adapt, **given)
    other = ends(adapt, target=pixels(9, seed=8), **given)
    assert same(one, other)
    plain = ends(None, cache=cache, phases=[phase(None, trainable=1)])
    for a, b in zip(one, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_moves_what_trains_and_no_target_label_a_bit(method):
    adapt, labels = Adaptation(method), LABELS[:15]
    found = []
    for target, cache in ((TARGET, "memory"), ((TARGET, labels), "off")):
        model = model_of()
        before = values(model)
        given = {"phases": [phase(adapt, trainable=1)], "cache": cache}
        record = run(model, adapt, target=target, **given).phases[0]
        trained = {v.path for v in model.trainable_variables}
        assert set(record.moved) == set(record.trainable) == trained
        for weight, old, new in zip(model.weights, before, values(model), strict=True):
            if weight.path not in trained:
                np.testing.assert_array_equal(old, new)
        # The model is the classifier again.
        assert model.output_shape == (None, 3)
        found.append(values(model))
    # With a cache and without, the same to rounding.
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    plain = ends(None, phases=[phase(None, trainable=1)])
    assert not same(found[0], plain)


def test_labels_of_the_target_change_no_bit():
    found = []
    labels = LABELS[:15]
    for given in (labels, labels[::-1].copy(), None):
        target = kerastl.ImageSet(TARGET, given, () if given is None else CLASSES)
        found.append(ends(MCC, target=target))
    assert same(found[0], found[1])
    assert same(found[0], found[2])
    assert not same(found[0], ends(MCC, target=TARGET // 2))


def test_one_step_is_that_of_the_sum():
    # The head alone, one batch: against the gradient in NumPy.
    adapt = Adaptation("mcc", weight=0.8)
    model = model_of()
    target, labels = TARGET[:6], LABELS[:6]
    network = keras.Model(model.input, model.get_layer("head_dense").input)
    features = [
        network.predict(x.astype("float32"), verbose=0) for x in (IMAGES[:6], target)
    ]
    # Clear answers, so that the rows differ in how certain they are.
    kernel = 60 * RNG_KERNEL
    bias = -features[1].mean(axis=0) @ kernel
    model.get_layer("head_dense").set_weights([kernel, bias])
    kernel, bias = model.get_layer("head_dense").get_weights()

    def loss(kernel):
        logits = [f.astype("float64") @ kernel + bias for f in features]
        hard = -log_softmax(logits[0], axis=1)[np.arange(6), labels].mean()
        # The certainty of a row is not learnt from.
        return hard + 0.8 * confusion_at(logits[1])

    shares = softmax((features[1].astype("float64") @ kernel + bias) / 2.5, axis=1)
    sure = 1 + np.exp((shares * np.log(shares)).sum(axis=1))
    sure = sure * 6 / sure.sum()

    def confusion_at(logits):
        shares = softmax(logits / 2.5, axis=1)
        table = shares.T @ (sure[:, None] * shares)
        table = table / table.sum(axis=1, keepdims=True)
        return (table.sum() - np.trace(table)) / 3

    slope = np.zeros_like(kernel, dtype="float64")
    for place in np.ndindex(*kernel.shape):
        step = np.zeros_like(slope)
        step[place] = 1e-5
        slope[place] = (loss(kernel + step) - loss(kernel - step)) / 2e-5
    phases = [phase(adapt, trainable="head", epochs=1, learning_rate=0.5)]
    run(
        model,
        adapt,
        target=target,
        data=(IMAGES[:6], labels),
        phases=phases,
        batch_size=12,
    )
    found = model.get_layer("head_dense").get_weights()[0]
    # To the rounding of a float32 kernel of this size.
    np.testing.assert_allclose((kernel - found) / 0.5, slope, atol=5e-5)


def test_a_climb_is_counted_step_by_step():
    # Over a whole phase of three steps: 0, 1/3, 2/3 of the way.
    adapt = Adaptation("mcc", ramp=1.0)
    three = ends(adapt, phases=[phase(adapt, epochs=1)], batch_size=12)
    first = ends(
        Adaptation("mcc", weight=0.0),
        phases=[phase(Adaptation("mcc", weight=0.0), epochs=1)],
        batch_size=12,
    )
    whole = ends(
        Adaptation("mcc"), phases=[phase(Adaptation("mcc"), epochs=1)], batch_size=12
    )
    assert not same(three, first)
    assert not same(three, whole)
    # One step in all: its weight is still 0.
    one = [phase(adapt, epochs=1)], [phase(Adaptation("mcc", weight=0.0), epochs=1)]
    assert same(*(ends(p[0].adapt, phases=p, batch_size=36) for p in one))


def test_the_last_weights_stay_unless_a_monitor_is_named():
    adapt = Adaptation("mcc", weight=20.0)
    data = IMAGES, LABELS
    model = model_of()
    history = run(model, adapt, validation=data, phases=[phase(adapt, epochs=4)])
    assert history.best is None
    again = model_of()
    run(again, adapt, phases=[phase(adapt, epochs=4)])
    assert same(values(model), values(again))
    named = run(
        model_of(),
        adapt,
        validation=data,
        monitor="val_loss",
        phases=[phase(adapt, epochs=4)],
    )
    assert named.best.monitor == "val_loss"
    assert named.best.value == pytest.approx(min(named.history["val_loss"]))


def test_the_history_tells_the_sources_accuracy():
    # Batches of one size: Keras weighs a smaller last one by all its rows.
    given = {"validation": (IMAGES, LABELS), "batch_size": 12}
    found, plain = (
        run(model_of(), adapt, phases=[phase(adapt)], **given).history
        for adapt in (Adaptation("mcc", weight=0.0), None)
    )
    for name in ("accuracy", "val_accuracy", "loss", "val_loss"):
        np.testing.assert_allclose(found[name], plain[name], rtol=1e-4, atol=1e-5)


def test_a_yes_or_no_adapts_too():
    keras.utils.set_random_seed(0)
    for method in ("mcc", "self_training"):
        model = small_classifier(("no", "yes"), task="binary", learnt=True)
        before = values(model)
        run(model, Adaptation(method), data=(IMAGES, LABELS % 2))
        assert not same(before, values(model))
        assert all(np.isfinite(each).all() for each in values(model))


def test_weights_of_classes_and_balanced_draws_go_along():
    adapt = Adaptation("mcc", weight=0.0)
    data = IMAGES[:15], np.r_[LABELS[:12], 0, 0, 0]
    for options in ({"class_weight": "balanced"}, {"sampling": "balanced"}):
        found = ends(adapt, data=data, **options)
        plain = ends(None, data=data, **options)
        for a, b in zip(found, plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_a_class_that_is_never_guessed_is_told():
    model = model_of()
    model.get_layer("head_dense").set_weights([0 * RNG_KERNEL, np.array([5.0, 0, 0])])
    with pytest.warns(UserWarning, match="no target image of beech, cedar"):
        run(model, Adaptation("self_training"))


def test_recipes_adapt_in_the_phases_that_open_the_backbone():
    model = model_of()
    history = kerastl.fine_tune(
        model,
        (IMAGES, LABELS),
        target=TARGET,
        epochs=1,
        seed=0,
        verbose=0,
        phase_settings={"adapt": Adaptation("coral")},
    )
    assert len(history.phases) == 2


def test_augmented_rows_of_both_domains_are_kept():
    adapt = Adaptation("mcc")
    phases = [phase(adapt, trainable=1, epochs=4)]
    given = {"augment": "light", "views": 2, "phases": phases}
    kept = ends(adapt, cache="memory", **given)
    for one, other in zip(kept, ends(adapt, cache="off", **given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


STREAM = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": None}, "`target` must be given for phase 'adapting', which adapts"),
        ({"phases": [phase()]}, "None where no phase adapts"),
        ({"data": STREAM}, "None beside a dataset of batches"),
        ({"batch_size": 2}, "`batch_size` must be at least 4 beside `target`"),
        ({"metrics": []}, "`metrics` must be None beside `target`"),
        ({"teacher": np.ones((18, 3)) / 3}, "`teacher` must be None beside `target`"),
        ({"target": np.zeros((0, 16, 16, 3))}, "at least one image"),
        (
            {"phases": [phase(MCC, patience=1)], "validation": (IMAGES, LABELS)},
            "None where the last weights are kept",
        ),
        (
            {"phases": [phase(Adaptation("coral"), trainable="head")]},
            "one that changes the features for 'coral'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(options, sentence):
    model = model_of()
    before = values(model)
    with pytest.raises(ValueError, match=sentence):
        run(model, MCC, **options)
    assert_same_weights(model, before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_norm": "train"}, "'auto', 'frozen' or 'affine' with adapt"),
        ({"mixup": 0.2}, "0 with adapt"),
        ({"multipliers": "auto_rgn"}, "numbers or None with adapt"),
        ({"method": "dann", "layer_decay": 0.5}, "None with 'dann'"),
        ({"method": "dann", "multipliers": {"head": 2.0}}, "None with 'dann'"),
    ],
)
def test_a_phase_that_adapts_refuses_what_mixes_domains(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        phase(Adaptation(options.pop("method", "mcc")), **options)
    with pytest.raises(TypeError, match="Adaptation"):
        phase("mcc")


def test_several_labels_do_not_adapt():
    model = kerastl.build_classifier(
        small_network(), CLASSES, preprocessing="tf", task="multilabel"
    )
    with pytest.raises(ValueError, match="no classifier of one class an image"):
        run(model, MCC, data=(IMAGES, np.eye(4, dtype=int)[LABELS, 1:]))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"method": "mmd"}, "`method` must be one of"),
        ({"weight": -1.0}, "`weight` must be at least 0"),
        ({"share": 0.0}, "`share` must be above 0"),
        ({"ramp": 2.0}, "`ramp` must be at least 0 and at most 1"),
    ],
)
def test_settings_out_of_range_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Adaptation(**given)
