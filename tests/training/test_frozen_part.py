"""Cached training: the same weights, wherever the activations are kept."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import CLASSES, coloured, small_classifier, values
from PIL import Image

import kerastl
from kerastl.data.sets import ImageSet
from kerastl.features import cache as frozen_part
from kerastl.features import sources
from kerastl.features.store import CacheWriteError, DiskCache
from kerastl.training.watching import OneTraining

IMAGES, LABELS = coloured(6)
HEAD = kerastl.Phase("head", trainable="head", epochs=4, learning_rate=0.05)
TOP = kerastl.Phase(
    "top", trainable=1, epochs=3, learning_rate=0.02, batch_norm="frozen"
)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("KERASTL_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def start():
    """A model and its first weights, to begin every run with."""
    model = small_classifier()
    return model, values(model)


def run(start, phase=HEAD, data=(IMAGES, LABELS), **options):
    """The weights after training, and what the phase says of its cache."""
    model, first = start
    for weight, value in zip(model.weights, first, strict=True):
        weight.assign(value)
    options = {"seed": 0, "batch_size": 6, **options}
    history = kerastl.run_phases(model, data, phases=[phase], **options)
    return values(model), history.phases[0]


def assert_alike(one, other):
    """Bit for bit on TensorFlow; XLA rounds another graph in another way."""
    for a, b in zip(one, other, strict=True):
        if keras.backend.backend() == "tensorflow":
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("phase", [HEAD, TOP])
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_weights_are_those_of_uncached_training(start, phase, where):
    plain, record = run(start, phase, cache="off")
    assert not record.cached
    cached, record = run(start, phase, cache=where)
    assert record.cached
    assert ("on disk" in record.cache) == (where == "disk")
    assert_alike(cached, plain)


@pytest.mark.parametrize("count", [2, 5, 14])
@pytest.mark.parametrize("phase", [HEAD, TOP])
def test_a_set_smaller_than_a_batch_gives_the_same_weights(start, phase, count):
    data = IMAGES[:count], LABELS[:count]
    plain, _ = run(start, phase, data, batch_size=32, cache="off")
    cached, record = run(start, phase, data, batch_size=32, cache="memory")
    assert record.cached
    # Some processors round a batch of these sizes by other code than one of 32, which
    # the frozen part is computed in: then the last bits differ, and no more.
    for a, b in zip(cached, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)


def test_the_validation_is_scored_on_the_same_features(start):
    model, _ = start
    scores = []
    for cache in ("off", "disk"):
        run(start, cache=cache, validation=(IMAGES[:9], LABELS[:9]))
        scores.append(model.evaluate(IMAGES[:9].astype("float32"), LABELS[:9]))
    np.testing.assert_allclose(*scores, rtol=1e-4)


def counted(monkeypatch):
    """How many batches go through frozen networks."""
    passed = []
    original = frozen_part.output_blocks

    def blocks(model, inputs, batch_size):
        for block in original(model, inputs, batch_size):
            passed.append(len(block))
            yield block

    monkeypatch.setattr(frozen_part, "output_blocks", blocks)
    return passed


def test_a_second_run_finds_what_the_first_wrote(start, monkeypatch):
    passed = counted(monkeypatch)
    first, _ = run(start, cache="disk")
    assert sum(passed) == len(IMAGES)
    second, _ = run(start, cache="disk")
    assert sum(passed) == len(IMAGES)
    assert_alike(first, second)


@pytest.mark.parametrize("change", ["weight", "image", "batch"])
def test_what_has_changed_is_computed_anew(start, monkeypatch, change):
    passed = counted(monkeypatch)
    run(start, cache="disk")
    images, (model, first) = IMAGES.copy(), start
    first, batch = [np.array(value) for value in first], 6
    if change == "weight":
        first[0].flat[0] += 1e-3
    elif change == "image":
        images[3, 0, 0, 0] ^= 1
    else:
        # It divides the images: some processors round a smaller last batch otherwise.
        batch = 9
    again = (model, first)
    options = {"data": (images, LABELS), "batch_size": batch}
    cached, _ = run(again, cache="disk", **options)
    assert sum(passed) == 2 * len(IMAGES)
    assert_alike(cached, run(again, cache="off", **options)[0])


def test_a_damaged_file_is_computed_anew(start, cache_folder):
    plain, _ = run(start, cache="off")
    run(start, cache="disk")
    (path,) = cache_folder.glob("*.rows")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="damaged"):
        again, record = run(start, cache="disk")
    assert record.cached
    assert_alike(again, plain)


def test_a_full_disk_ends_no_training(start, monkeypatch):
    plain, _ = run(start, cache="off")

    def full(*_, **__):
        raise CacheWriteError("No space left on device")

    monkeypatch.setattr(DiskCache, "store", full)
    with pytest.warns(RuntimeWarning, match=r"Nothing is cached: No space"):
        weights, record = run(start, cache="disk")
    assert record.cache == "not cached: the disk could not be used"
    assert_alike(weights, plain)


def test_a_network_with_unknown_code_is_not_kept_on_disk():
    class Half(layers.Layer):
        def call(self, x):
            return x / 2

    model = small_classifier(extra=Half())
    with pytest.warns(RuntimeWarning, match="Nothing is cached"):
        _, record = run((model, values(model)), cache="disk")
    assert not record.cached


def test_a_missing_image_is_not_taken_for_a_full_disk(start, tmp_path):
    names = [str(tmp_path / f"{number}.png") for number in range(len(IMAGES))]
    # All but the last, so that the first batch is there.
    for name, image in zip(names[:-1], IMAGES[:-1], strict=True):
        Image.fromarray(image).save(name)
    files = ImageSet(tuple(names), LABELS, CLASSES)
    with pytest.raises(FileNotFoundError, match=r"17\.png"):
        run(start, data=files, cache="disk")


@pytest.mark.parametrize(("where", "kept"), [("memory", True), ("disk", False)])
def test_with_disk_no_pixels_stay_in_memory(start, monkeypatch, where, kept):
    made = []
    original = sources.PixelStore

    def store(*arguments, **options):
        made.append(original(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(sources, "PixelStore", store)
    run(start, data=(IMAGES[:, :8], LABELS), cache=where)
    assert [store.keeps for store in made] == [kept]


def test_half_precision_costs_less_than_a_thousandth(start, monkeypatch):
    """Accuracy and outputs, against full precision in the same test."""
    run(start, TOP, cache="memory")
    model, _ = start
    probe = IMAGES.astype("float32")
    before = keras.ops.convert_to_numpy(model(probe))
    original = frozen_part.plan_cache

    def halved(*cuts, **given):
        plan = original(*cuts, **given)
        return frozen_part.CachePlan(plan.mode, plan.cut, "float16", plan.nbytes // 2)

    monkeypatch.setattr(frozen_part, "plan_cache", halved)
    run(start, TOP, cache="memory")
    after = keras.ops.convert_to_numpy(model(probe))
    assert np.abs(after - before).max() > 0
    np.testing.assert_allclose(after, before, rtol=1e-2, atol=1e-2)
    correct = [(made.argmax(axis=1) == LABELS).mean() for made in (before, after)]
    assert abs(correct[0] - correct[1]) <= 1e-3


def test_as_many_views_as_epochs_are_ordinary_augmentation(start):
    given = {"augment": "standard"}
    plain, record = run(start, **given)
    assert record.cache == "not cached: each epoch augments anew"
    cached, record = run(start, **given, views=HEAD.epochs, cache="disk")
    assert record.cached
    assert_alike(cached, plain)
    # To keep what is seen once saves nothing.
    _, record = run(start, **given, views=HEAD.epochs)
    assert record.cache == "not cached: each image is passed once"


def test_the_image_itself_is_no_view(start):
    plain, _ = run(start)
    views, _ = run(start, augment="standard", views=1)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(plain, views, strict=True))


def test_few_views_are_computed_once_for_many_epochs(start, monkeypatch):
    passed = counted(monkeypatch)
    _, record = run(start, augment="standard", views=2)
    assert record.cached
    assert sum(passed) == 2 * len(IMAGES)


def test_without_a_cache_few_views_are_the_same_ones(start):
    given = {"augment": "standard", "views": 2}
    cached, record = run(start, **given)
    plain, uncached = run(start, cache="off", **given)
    assert record.cached and not uncached.cached
    assert_alike(cached, plain)


def test_no_more_views_are_computed_than_there_are_epochs(start, monkeypatch):
    passed = counted(monkeypatch)
    run(start, augment="standard", views=20, cache="disk")
    assert sum(passed) == HEAD.epochs * len(IMAGES)


def test_images_as_they_are_are_scored_beside_kept_views(start):
    given = {"augment": "standard", "views": 2, "validation": (IMAGES, LABELS)}
    _, cached = run(start, **given)
    _, plain = run(start, cache="off", **given)
    assert cached.clean["images"] == len(IMAGES)
    for name, value in plain.clean.items():
        np.testing.assert_allclose(cached.clean[name], value, rtol=1e-5)


def test_views_on_disk_are_the_views_in_memory(start):
    given = {"augment": "standard", "views": 2}
    memory, _ = run(start, cache="memory", **given)
    disk, _ = run(start, cache="disk", **given)
    assert_alike(memory, disk)


def test_views_of_another_seed_are_others(start, monkeypatch):
    passed = counted(monkeypatch)
    for seed in (0, 0, 1):
        run(start, cache="disk", augment="light", views=2, seed=seed)
    assert sum(passed) == 2 * 2 * len(IMAGES)


def test_views_of_a_preset_that_changed_are_made_anew(start, monkeypatch):
    from kerastl.data.augmentation import PRESETS

    given = {"cache": "disk", "augment": "light", "views": 2}
    run(start, **given)
    passed = counted(monkeypatch)
    run(start, **given)
    assert not passed
    monkeypatch.setitem(PRESETS, "light", PRESETS["strong"])
    after, _ = run(start, **given)
    assert sum(passed) == 2 * len(IMAGES)
    plain, _ = run(start, **{**given, "cache": "memory"})
    assert_alike(after, plain)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": 0, "augment": "light"}, "`views` must be"),
        ({"views": 2}, "`augment` must be given, for the views to differ"),
        ({"cache": "gpu"}, "`cache` must be one of"),
    ],
)
def test_bad_settings_are_refused(start, options, words):
    with pytest.raises(ValueError, match=words):
        run(start, **options)


class Looks(keras.callbacks.Callback):
    """Looks at the model, in an inner function."""

    def on_epoch_end(self, epoch, logs=None):
        (lambda: self.model.layers)()


class Counts(keras.callbacks.Callback):
    """Looks at logs alone."""

    def on_epoch_end(self, epoch, logs=None):
        assert logs["loss"] > 0


class Keeps(keras.callbacks.CSVLogger):
    """One of Keras's that looks at the model as well."""

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        self.model.summary()


@pytest.mark.parametrize(
    ("callback", "name"),
    [
        (Looks(), "Looks"),
        (keras.callbacks.SwapEMAWeights(), "SwapEMAWeights"),
        (Keeps("log.csv"), "Keeps"),
    ],
)
def test_a_callback_that_looks_at_the_model_rules_caching_out(callback, name):
    run = OneTraining([Counts(), callback], None)
    assert run.want_training == (name,)


def content(folder):
    """Callbacks that need no more than logs, weights and the rate."""
    callbacks = keras.callbacks
    return [
        Counts(),
        callbacks.CSVLogger(folder / "log.csv"),
        callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
        callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10.0),
        callbacks.EarlyStopping("loss", patience=2, min_delta=10.0),
        callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs["loss"]),
        callbacks.TerminateOnNaN(),
    ]


def test_callbacks_that_need_logs_weights_and_rates_keep_caching(start, tmp_path):
    found = {}
    for where in ("off", "memory"):
        folder = tmp_path / where
        folder.mkdir()
        weights, record = run(start, cache=where, callbacks=content(folder))
        assert record.cached == (where == "memory")
        # Stopped by a callback, one epoch early.
        assert record.stop == 3
        log = (folder / "log.csv").read_text().splitlines()
        saved = keras.models.load_model(folder / "3.keras")
        assert_alike(values(saved), weights)
        found[where] = weights, log[0], [line.split(",")[0] for line in log[1:]], saved
    (plain, *said, one), (kept, *same, other) = found.values()
    assert_alike(plain, kept)
    assert said == same
    # The rate fell in the second epoch, in the optimizer that trains.
    for saved in (one, other):
        assert float(saved.optimizer.learning_rate) == pytest.approx(0.005)
        assert int(saved.optimizer.iterations) == 9


@pytest.mark.parametrize("kind", ["TensorBoard", "RemoteMonitor"])
def test_callbacks_that_write_elsewhere_keep_caching(kind, tmp_path):
    made = {"TensorBoard": lambda: keras.callbacks.TensorBoard(tmp_path)}
    callback = made.get(kind, getattr(keras.callbacks, kind))()
    assert not OneTraining([callback], None).want_training


def test_a_bug_while_caching_is_not_taken_for_a_full_disk(start, monkeypatch):
    def broken(*_, **__):
        raise TypeError("a bug")

    monkeypatch.setattr(DiskCache, "store", broken)
    with pytest.raises(TypeError, match="a bug"):
        run(start, cache="disk")


def skipping():
    """A U-Net's skip and a mask: no single tensor carries all that follows."""
    images = keras.Input((8, 8, 3), name="images")
    mask = keras.Input((4,), name="mask", dtype="int32")
    wide = layers.Conv2D(4, 3, padding="same", activation="relu", name="wide")(images)
    # Large kernels: computing them again would cost more than reading what they make.
    deep = layers.Conv2D(6, 15, 2, padding="same", activation="relu", name="deep")(wide)
    up = layers.UpSampling2D(name="up")(deep)
    joined = layers.Add()(
        [layers.Conv2D(4, 3, name="decode")(up), layers.Conv2D(4, 3, name="skip")(wide)]
    )
    words = layers.Flatten()(layers.Embedding(3, 2, name="words")(mask))
    row = layers.Concatenate()([layers.GlobalAveragePooling2D()(joined), words])
    outputs = layers.Dense(3, name="classes")(row)
    return keras.Model({"images": images, "mask": mask}, outputs)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_several_tensors_pass_a_cut_and_give_the_same_weights(where):
    random = np.random.default_rng(0)
    inputs = {
        "images": random.normal(size=(12, 8, 8, 3)).astype("float32"),
        "mask": random.integers(0, 3, (12, 4), "int32"),
    }
    labels = random.integers(0, 3, 12)
    first = skipping()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    phase = kerastl.Phase(
        "decoder", trainable=("decode", "skip", "words"), epochs=3, learning_rate=0.01
    )
    made = []
    for cache in ("off", where):
        model = keras.models.clone_model(first)
        model.set_weights(first.get_weights())
        history = kerastl.run_phases(
            model, (inputs, labels), phases=[phase], loss=loss, metrics=[], seed=0,
            batch_size=4, cache=cache,
        )  # fmt: skip
        made.append(values(model))
    cut = history.phases[0].cache.split("'")[1]
    assert set(cut.split(" + ")) == {"mask", "wide", "up"}
    assert_alike(*made)
