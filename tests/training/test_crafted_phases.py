"""Averages, mixing and temperatures, as `run_phases` and `fine_tune` treat them."""

import keras
import numpy as np
import pytest
from networks import coloured, timid_classifier, values

import kerastl
from kerastl.models.record import read_record, set_temperature
from kerastl.penalties import L2SP

DATA = coloured(8)


def phase(name="all", **options):
    settings = {"trainable": "all", "epochs": 2, "learning_rate": 0.01}
    return kerastl.Phase(name, **{**settings, **options})


class Trajectory(keras.callbacks.Callback):
    """Every weight after each step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_begin(self, batch, logs=None):
        if keras.backend.backend() == "jax":
            # Elsewhere the weights are current; here only if somebody asks.
            self.model.jax_state_sync()

    def on_train_batch_end(self, batch, logs=None):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        self.steps.append(values(self.model))


def test_the_weights_kept_are_the_average_of_the_steps():
    sgd, watch = keras.optimizers.SGD(), Trajectory()
    plain = timid_classifier()
    options = {"batch_size": 6, "seed": 0, "cache": "off"}
    kerastl.run_phases(
        plain, DATA, phases=phase(optimizer=sgd), callbacks=[watch], **options
    )
    momentum = 0.7
    averages = watch.steps[0]
    for step in watch.steps[1:]:
        pairs = zip(averages, step, strict=True)
        averages = [momentum * old + (1 - momentum) * new for old, new in pairs]
    averaged = timid_classifier()
    kerastl.run_phases(
        averaged, DATA, phases=phase(optimizer=sgd, ema=momentum), **options
    )
    assert len(watch.steps) == 8
    trained = {variable.path for variable in averaged.trainable_variables}
    triples = zip(averaged.weights, values(averaged), averages, strict=True)
    for weight, found, expected in triples:
        if weight.path in trained:
            np.testing.assert_allclose(found, expected, atol=2e-6, err_msg=weight.path)
    assert not np.allclose(values(plain)[0], values(averaged)[0], atol=1e-5)


class StopAfter(keras.callbacks.Callback):
    """Ends the phase after an epoch, as a user may, and keeps the weights it saw."""

    def __init__(self, epoch):
        super().__init__()
        self.last = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == self.last
        self.seen = values(self.model)


def test_a_callback_that_stops_early_leaves_the_average():
    model = timid_classifier()
    stop = StopAfter(1)
    phases = [phase(ema=0.7, epochs=5)]
    history = kerastl.run_phases(
        model, DATA, phases=phases, callbacks=[stop], batch_size=6, seed=0
    )
    assert len(history.rows()) == 2
    for weight, seen, kept in zip(model.weights, stop.seen, values(model), strict=True):
        np.testing.assert_array_equal(kept, seen, err_msg=weight.path)


def test_the_average_is_what_is_validated():
    model = timid_classifier()
    history = kerastl.run_phases(
        model, DATA, DATA, phases=phase(ema=0.9, epochs=1), batch_size=6, seed=0
    )
    images, labels = DATA
    loss = model.evaluate(images.astype("float32"), labels, verbose=0)[0]
    if history.best.phase != "start":
        np.testing.assert_allclose(history.history["val_loss"][-1], loss, rtol=1e-5)


def test_mixing_leaves_the_head_phase_its_cache():
    model = timid_classifier()
    options = {"phase_settings": {"mixup": 0.5}, "cache": "memory"}
    history = kerastl.fine_tune(model, DATA, recipe="lp_ft", epochs=[2, 1], **options)
    head, rest = history.phases
    assert head.cached
    assert not rest.cached
    assert "mixes anew" in rest.cache


def test_mixed_training_takes_other_steps_and_moves_the_same_weights():
    moved, ends = [], []
    for alpha in (0.0, 1.0):
        model = timid_classifier()
        history = kerastl.run_phases(
            model, DATA, phases=phase(mixup=alpha), seed=0, cache="off"
        )
        moved.append(history.phases[0].moved)
        ends.append(values(model)[0])
    assert moved[0] == moved[1]
    assert not np.array_equal(*ends)


def test_class_weights_and_mixed_labels_exclude_each_other():
    with pytest.raises(ValueError, match="`class_weight` must be None with the mixed"):
        kerastl.run_phases(
            timid_classifier(), DATA, phases=phase(cutmix=1.0), class_weight="balanced"
        )


def test_training_forgets_the_temperature_of_the_old_weights():
    model = timid_classifier()
    set_temperature(model, 3.0)
    with pytest.warns(UserWarning, match="calibrate it again"):
        kerastl.run_phases(model, DATA, phases=phase(epochs=1), seed=0)
    assert read_record(model).temperature == 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer_decay", 0.5),
        ("ema", 0.5),
        ("penalties", (L2SP(0.5),)),
        ("mixup", 0.5),
        ("cutmix", 0.5),
    ],
)
def test_the_craft_reaches_the_backbones_phases_and_not_the_heads(
    name, value, monkeypatch
):
    seen = []

    def record(model, train, validation, *, phases, **options):
        seen.extend(phases)

    monkeypatch.setattr("kerastl.training.recipes.run_phases", record)
    settings = {name: value}
    kerastl.fine_tune(
        timid_classifier(), DATA, recipe="gradual", phase_settings=settings
    )
    head, *others = seen
    assert getattr(head, name) in (None, 0.0, ())
    assert [getattr(each, name) for each in others] == [value] * len(others)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ema": 1.0}, "`ema` must be above 0 and below 1"),
        ({"ema": 0.0}, "`ema` must be above 0"),
        ({"mixup": -1.0}, "`mixup` must be at least 0"),
        ({"schedule": "one_cycle", "warmup": 1.0}, "`warmup` must be 0 with schedule"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        phase(**options)


def test_accuracy_by_name_counts_right_answers_also_where_labels_are_mixed():
    model = timid_classifier()
    history = kerastl.run_phases(
        model,
        DATA,
        DATA,
        phases=phase(mixup=0.5, epochs=1),
        metrics=["accuracy"],
        batch_size=24,
        seed=0,
    )
    images, labels = DATA
    right = (kerastl.predict(model, images).indices == labels).mean()
    np.testing.assert_allclose(history.best.value, right, atol=1e-6)


def test_class_indices_in_a_column_are_not_mixed():
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(3)(x))
    rows, labels = np.ones((6, 4), "float32"), np.arange(6)[:, None] % 3
    with pytest.raises(ValueError, match="`labels` must be of shape"):
        kerastl.run_phases(
            model,
            (rows, labels),
            phases=phase(mixup=0.5),
            loss="sparse_categorical_crossentropy",
        )


def test_what_cannot_be_mixed_is_refused_before_the_first_phase():
    model = timid_classifier()
    before = values(model)
    images, labels = DATA
    stream = kerastl.batches(
        kerastl.ImageSet(images, labels, ("ash", "beech", "cedar")), image_size=16
    )
    with pytest.raises(ValueError, match="`mixing` must be None for a dataset"):
        kerastl.fine_tune(model, stream, recipe="lp_ft", phase_settings={"mixup": 0.2})
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "craft",
    [{"layer_decay": 7}, {"ema": 3}, {"mixup": -3}, {"cutmix": -1}],
)
@pytest.mark.parametrize("recipe", ["linear_probe", "lp_ft"])
def test_settings_that_do_not_fit_are_refused_in_every_recipe(recipe, craft):
    model = timid_classifier()
    with pytest.raises(ValueError, match=f"`{next(iter(craft))}` must be"):
        kerastl.fine_tune(model, DATA, recipe=recipe, epochs=1, phase_settings=craft)


def test_a_setting_that_no_phase_has_is_refused():
    with pytest.raises(ValueError, match=r"`phase_settings` must be .*'ema'"):
        kerastl.fine_tune(timid_classifier(), DATA, phase_settings={"emma": 0.9})


def test_a_recipe_of_the_head_alone_says_what_it_leaves_out():
    model, options = timid_classifier(), {"recipe": "linear_probe", "epochs": 1}
    craft = {"layer_decay": 0.5, "mixup": 0.2}
    sentence = "`layer_decay`, `mixup` have no effect with recipe='linear_probe'"
    with pytest.warns(UserWarning, match=sentence):
        kerastl.fine_tune(model, DATA, phase_settings=craft, seed=0, **options)
