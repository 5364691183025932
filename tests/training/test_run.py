"""The run itself, on a small network: order, best weights, what is kept and told."""

import csv
import gc
import math
import weakref
from dataclasses import replace

import keras
import numpy as np
import pytest
from networks import (
    CLASSES,
    assert_same_weights,
    coloured,
    small_classifier,
    timid_classifier,
    trains,
    values,
)

import kerastl
from kerastl.data import images as image_files
from kerastl.training.rate_finder import find_learning_rate

DATA = coloured(4)
#: At this rate no weight of float32 moves.
STILL = 1e-30


def phase(name, trainable="head", epochs=1, learning_rate=0.01, **options):
    sgd = keras.optimizers.SGD()
    options = {"optimizer": sgd, **options}
    return kerastl.Phase(
        name,
        trainable=trainable,
        epochs=epochs,
        learning_rate=learning_rate,
        **options,
    )


def run(model, *phases, validation=DATA, **options):
    options = {"batch_size": 6, "seed": 0, "monitor": "val_loss", **options}
    return kerastl.run_phases(model, DATA, validation, phases=phases, **options)


class Watch(keras.callbacks.Callback):
    """Notes what it is shown, and may interrupt after some epochs."""

    def __init__(self, interrupt_after=None):
        super().__init__()
        self.seen, self.epochs, self.trained, self.weights = [], [], [], []
        self.interrupt_after = interrupt_after

    def on_train_begin(self, logs=None):
        self.seen.append("begin")

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append("step")

    def on_epoch_begin(self, epoch, logs=None):
        self.trained.append(trains(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)
        self.weights.append(values(self.model))
        if len(self.epochs) == self.interrupt_after:
            raise KeyboardInterrupt

    def on_train_end(self, logs=None):
        self.seen.append("end")
        self.weights.append(values(self.model))


@pytest.fixture(scope="module")
def two_phases(tmp_path_factory):
    """One run of two phases of two epochs, with callbacks that keep files."""
    folder = tmp_path_factory.mktemp("logs")
    model, watch = timid_classifier(), Watch()
    before = values(model)
    callbacks = [
        watch,
        keras.callbacks.CSVLogger(folder / "log.csv"),
        keras.callbacks.ModelCheckpoint(
            folder / "{epoch}.weights.h5", save_weights_only=True
        ),
    ]
    history = run(
        model,
        phase("one", epochs=2),
        phase("two", 1, epochs=2, batch_norm="affine"),
        callbacks=callbacks,
    )
    return model, before, history, watch, folder


def test_phases_run_in_order_and_make_one_history(two_phases):
    _, _, history, watch, _ = two_phases
    told = [(record.name, record.start, record.stop) for record in history.phases]
    assert told == [("one", 0, 2), ("two", 2, 4)]
    assert {len(column) for column in history.history.values()} == {4}
    head = {"head_dense/kernel", "head_dense/bias"}
    block = {"conv3/kernel", "bn3/gamma", "bn3/beta"}
    assert watch.trained == [head, head, head | block, head | block]


def test_what_trained_is_what_moved(two_phases):
    model, before, history, watch, _ = two_phases
    for record, trained in zip(history.phases, watch.trained[::2], strict=True):
        assert set(record.trainable) == set(record.moved) == trained
    rows = zip(model.weights, before, values(model), strict=True)
    moved = {w.path for w, old, new in rows if not np.array_equal(old, new)}
    assert moved == watch.trained[-1]


def test_callbacks_see_one_training_whose_epochs_go_on(two_phases):
    model, _, _, watch, folder = two_phases
    assert watch.epochs == [0, 1, 2, 3]
    assert watch.seen == ["begin", *8 * ["step"], "end"]
    # The end is after the best weights are back.
    assert_same_weights(model, watch.weights[-1])
    with (folder / "log.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]
    names = sorted(path.name for path in folder.glob("*.h5"))
    assert names == [f"{number}.weights.h5" for number in (1, 2, 3, 4)]


def test_the_weights_of_the_best_epoch_of_all_phases_stay():
    model, watch = timid_classifier(), Watch()
    ruin = phase("ruin", "all", learning_rate=300.0, batch_norm="frozen")
    phases = phase("good", epochs=2, learning_rate=0.1), ruin
    history = run(model, *phases, callbacks=[watch], loss=crossentropy(), metrics=[])
    losses = history.history["val_loss"]
    best = int(np.argmin(losses))
    assert best < 2 < len(losses)
    assert (history.best.phase, history.best.epoch) == ("good", best)
    assert history.best.value == losses[best]
    assert_same_weights(model, watch.weights[best])


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_nothing_worse_than_the_start_is_returned():
    model = small_classifier(learnt=True)
    before = values(model)
    history = run(model, phase("ruin", learning_rate=30.0), loss=crossentropy())
    assert (history.best.phase, history.best.epoch) == ("start", -1)
    assert history.best.value < min(history.history["val_loss"])
    assert_same_weights(model, before)


def test_a_new_head_is_not_scored_at_the_start():
    history = run(small_classifier(), phase("still", learning_rate=STILL))
    assert (history.best.phase, history.best.epoch) == ("still", 0)
    assert history.best.value == pytest.approx(math.log(3), rel=1e-5)


def test_without_validation_the_last_weights_stay():
    model, watch = timid_classifier(), Watch()
    history = run(model, phase("a", epochs=2), validation=None, callbacks=[watch])
    assert history.best is None
    assert_same_weights(model, watch.weights[1])


@pytest.mark.parametrize(
    ("validation", "kept"),
    [
        (DATA, "the best weights so far, of phase 'b'"),
        (None, "the weights of the last finished epoch"),
    ],
)
def test_an_interrupted_run_keeps_what_it_says(validation, kept):
    model, watch = timid_classifier(), Watch(interrupt_after=3)
    phases = phase("a", epochs=2), phase("b", epochs=2)
    with pytest.raises(KeyboardInterrupt) as raised:
        run(model, *phases, validation=validation, callbacks=[watch])
    assert raised.value.__notes__ == [f"The model has {kept}."]
    assert_same_weights(model, watch.weights[2])


def test_interrupted_before_an_epoch_ends_it_keeps_the_start():
    model = small_classifier()
    before = values(model)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        run(model, phase("a"), validation=None, callbacks=[Stop()])
    words = "The model has the weights that the run began with."
    assert raised.value.__notes__ == [words]
    assert_same_weights(model, before)


@pytest.mark.parametrize(
    ("settings", "options", "told"),
    [
        ({}, {"cache": "memory"}, "in memory"),
        ({}, {"cache": "off"}, "not cached"),
        ({}, {"callbacks": [Watch()]}, "promised the whole model: Watch may look"),
        ({}, {"augment": "light"}, "each epoch augments anew"),
        ({"augment": False}, {"augment": "light", "cache": "memory"}, "in memory"),
        ({"mixup": 0.2}, {}, "each epoch mixes anew"),
        ({"trainable": "all"}, {"cache": "memory"}, "nothing is frozen"),
    ],
)
@pytest.mark.filterwarnings("ignore:Nothing is cached")
def test_a_record_says_what_was_computed_once_or_why_nothing(settings, options, told):
    history = run(timid_classifier(), phase("a", epochs=2, **settings), **options)
    record = history.phases[0]
    assert told in record.cache
    assert record.cached == (told == "in memory")


def test_balanced_weights_are_those_by_name():
    images, labels = DATA[0][:9], np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    ends = []
    by_name = dict(zip(CLASSES, (9 / 12, 1.0, 9 / 6), strict=True))
    for weights in ("balanced", by_name, None):
        model = timid_classifier()
        options = {"phases": phase("a"), "seed": 0, "class_weight": weights}
        kerastl.run_phases(model, (images, labels), **options)
        ends.append(np.array(model.get_layer("head_dense").kernel))
    np.testing.assert_array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


# The head's weights are drawn, by each backend from its own numbers.
@pytest.mark.filterwarnings("ignore:Phase '.*' began with a loss")
@pytest.mark.parametrize("options", [{}, {"multipliers": "auto_rgn"}])
def test_a_phase_passes_its_data_as_if_it_were_the_first(options):
    ends = []
    for epochs in (1, 3):
        keras.utils.set_random_seed(0)
        # Dropout's draws would go on from the first phase's.
        model = small_classifier(learnt=True, dropout=0.0)
        still = phase("still", epochs=epochs, learning_rate=STILL)
        two = phase("two", 1, epochs=2, batch_norm="frozen", **options)
        history = run(model, still, two, validation=None, cache="off")
        ends.append((values(model), history.phases[1].multipliers))
    (first, rates), (second, others) = ends
    assert rates == others
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate),
    ],
)
def test_two_that_set_the_rate_are_refused_before_the_first_step(callback):
    model, watch = small_classifier(), Watch()
    before = values(model)
    phases = phase("plain"), phase("falling", schedule="cosine")
    name = type(callback).__name__
    with pytest.raises(ValueError, match=rf"`callbacks` .* {name}, as phase 'falling'"):
        run(model, *phases, callbacks=[watch, callback])
    assert not watch.seen
    assert_same_weights(model, before)


def test_a_plateau_lowers_a_constant_rate_and_is_waited_for_in_each_phase():
    plateau = keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=9.0, factor=0.1)
    phases = [phase(name, epochs=3, learning_rate=1e-3) for name in "ab"]
    history = run(timid_classifier(), *phases, callbacks=[plateau])
    # In each phase the first epoch is the best so far, and the rate falls after it.
    wanted = [1e-3, 1e-3, 1e-4] * 2
    np.testing.assert_allclose(history.history["learning_rate"], wanted, rtol=1e-5)


def test_early_stopping_restores_its_best_of_a_phase_and_not_over_the_best_of_all():
    model, watch = timid_classifier(), Watch()
    # By its measure the best is the worst.
    stopping = keras.callbacks.EarlyStopping(
        patience=9, mode="max", restore_best_weights=True
    )
    phases = (
        phase("good", learning_rate=0.1),
        phase("ruin", "all", epochs=2, learning_rate=300.0, batch_norm="frozen"),
        phase("still", learning_rate=STILL),
    )
    options = {"loss": crossentropy(), "metrics": []}
    history = run(model, *phases, callbacks=[watch, stopping], **options)
    assert history.best.phase == "good"
    assert_same_weights(model, watch.weights[0])
    # The third phase went on from the best of the second.
    losses = history.history["val_loss"]
    assert losses[3] == pytest.approx(max(losses[1:3]), rel=1e-5)
    assert losses[2] < losses[1]


@pytest.mark.parametrize("cache", ["auto", "memory"])
def test_a_sequential_model_is_trained_like_its_graph(cache):
    x = keras.Input((16, 16, 3))
    layers = [
        keras.layers.Conv2D(4, 3),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3),
    ]
    model = keras.Sequential([x, *layers])
    options = {"loss": crossentropy(), "metrics": [], "cache": cache}
    history = run(model, phase("a", epochs=3), phase("b", "all"), **options)
    assert [bool(record.moved) for record in history.phases] == [True, True]
    assert history.phases[0].cached or cache == "auto"


def test_no_callbacks_may_be_said_as_in_keras():
    assert len(run(small_classifier(), phase("a"), callbacks=None).phases) == 1


def test_files_are_decoded_once_and_before_the_first_step(image_folder, monkeypatch):
    images = kerastl.load_images(image_folder, validation=0.25, test=0, seed=0)
    read, seen = [], []
    decode = image_files.decode_one

    def counted(path, *options):
        read.append(str(path))
        return decode(path, *options)

    class First(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(len(read))

    monkeypatch.setattr(image_files, "decode_one", counted)
    model = small_classifier(images.train.class_names)
    kerastl.run_phases(
        model,
        images.train,
        images.validation,
        phases=phase("a", epochs=2),
        callbacks=[First()],
    )
    assert len(read) == len(set(read)) == 12
    assert set(seen) == {12}


def test_each_phase_is_announced_by_its_number(capsys):
    run(small_classifier(), phase("one"), phase("two", 1), verbose=2)
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith("Phase")]
    two = "Phase 2/2: two, 3 weights train"
    assert told == ["Phase 1/2: one, 2 weights train", two]


def streamed(images, labels):
    """The arrays as a dataset of batches, whose labels are checked as they come."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(6)


@pytest.mark.parametrize("cache", ["auto", "off"])
@pytest.mark.parametrize("kind", ["pairs", "sets", "streams"])
def test_a_run_leaves_neither_its_model_nor_its_images_in_memory(kind, cache):
    (images, labels), model = coloured(6), small_classifier()
    data, augment = (images, labels), "light"
    if kind == "sets":
        data = kerastl.ImageSet(images, labels, CLASSES)
    if kind == "streams":
        data, augment = streamed(images, labels), None
    head = kerastl.Phase("head", trainable="head", epochs=2, learning_rate=0.01)
    rest = replace(head, name="all", trainable="all")
    given = {"phases": [head, rest], "augment": augment, "cache": cache, "verbose": 0}
    kerastl.run_phases(model, data, data, **given)
    left = [weakref.ref(model), weakref.ref(images)]
    del model, images, data
    gc.collect()
    assert [each() for each in left] == [None, None]


class Traced(keras.layers.Layer):
    """Hands on what it is given; all of its kind count how often that is traced."""

    count = 0

    def call(self, x, training=None):
        Traced.count += bool(training)
        return x


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of its tracing")
def test_the_step_of_a_phase_is_traced_once():
    model = small_classifier(extra=Traced())
    before = Traced.count
    run(model, phase("one", "all"), phase("two", "all", optimizer="adamw"))
    assert Traced.count == before + 2
    sweep = {"steps": 12, "batch_size": 6, "trainable": "all"}
    find_learning_rate(model, DATA, **sweep)
    assert Traced.count == before + 3
