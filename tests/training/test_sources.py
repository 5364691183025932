"""Training data in its three kinds: checked, ordered, and never altered."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import CLASSES, coloured, pixels, small_classifier, small_network
from PIL import Image

import kerastl
from kerastl.data.mixing import Mixing
from kerastl.data.sources import ArraySource, ImageSource, StreamSource, batches
from kerastl.features.sources import make_source
from kerastl.training.checks import check_end, check_first_batch, check_pixel_range

IMAGES, LABELS = coloured(3)
ROWS = np.arange(11, dtype="float32")[:, None]


@pytest.fixture(scope="module")
def model():
    return small_classifier()


def passed(source, passes=1, **options):
    """The labels of every batch, pass after pass."""
    data = source.dataset(4, **options)
    return [[np.asarray(y).tolist() for _, y in data] for _ in range(passes)]


ARRAYS = ArraySource(ROWS, np.arange(11))


def test_arrays_come_in_order_and_in_batches():
    assert passed(ARRAYS) == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]]


def test_inputs_and_labels_stay_together():
    for x, y in ARRAYS.dataset(4, shuffle=True, seed=1):
        np.testing.assert_array_equal(np.asarray(x)[:, 0], np.asarray(y))


def test_each_pass_is_a_new_order_of_everything():
    first, second = passed(ARRAYS, 2, shuffle=True, seed=1)
    flat = [[row for batch in each for row in batch] for each in (first, second)]
    assert sorted(flat[0]) == sorted(flat[1]) == list(range(11))
    assert flat[0] != flat[1]


def test_the_order_follows_from_the_seed():
    one, same, other = (passed(ARRAYS, 2, shuffle=True, seed=s) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_features_come_in_the_order_of_their_images(model):
    images = make_source(model, (IMAGES, LABELS), "train")
    features = ArraySource(IMAGES.reshape(9, -1), LABELS)
    assert passed(images, 3, shuffle=True, seed=7) == passed(
        features, 3, shuffle=True, seed=7
    )


def test_the_last_small_batch_may_be_dropped():
    (batches,) = passed(ARRAYS, drop_remainder=True)
    assert [len(batch) for batch in batches] == [4, 4]


@pytest.mark.parametrize(("drop", "steps"), [(False, 3), (True, 2)])
def test_the_number_of_batches_is_known(drop, steps):
    assert len(ARRAYS.dataset(4, drop_remainder=drop)) == steps


def test_features_are_not_augmented():
    with pytest.raises(ValueError, match="None for arrays that are not images"):
        ARRAYS.dataset(4, augment="light")


HOT = np.eye(11)
MIXING = Mixing(mixup=0.5)


def test_features_are_mixed_with_their_labels():
    source = ArraySource(ROWS, HOT)
    plain = [np.asarray(x) for x, _ in source.dataset(4, shuffle=True, seed=1)]
    rows = MIXING.draw(11, 4, (1, 1), 1, 0)
    for step, (x, y) in enumerate(
        source.dataset(4, shuffle=True, seed=1, mixing=MIXING)
    ):
        here = slice(4 * step, 4 * step + 4)
        share, partner = rows["share"][here, None], rows["partner"][here]
        expected = share * plain[step] + (1 - share) * plain[step][partner]
        np.testing.assert_allclose(x, expected, rtol=1e-5)
        # Row i is the number i, and so is its label.
        np.testing.assert_allclose(np.asarray(y) @ np.arange(11), x[:, 0], rtol=1e-5)


def test_image_arrays_can_have_boxes():
    images = pixels(11).astype("float32")
    data = ArraySource(images, HOT).dataset(4, mixing=Mixing(cutmix=1.0))
    ((x, y), *_) = data
    same = [(np.asarray(x)[0] == images[i]).all(axis=-1).mean() for i in range(4)]
    np.testing.assert_allclose(np.asarray(y)[0, :4], same, atol=1e-6)


def test_an_alpha_of_zero_leaves_features_alone():
    for x, y in ARRAYS.dataset(4, mixing=Mixing()):
        np.testing.assert_array_equal(np.asarray(x)[:, 0], np.asarray(y))


def test_images_are_mixed_as_batches_does(model):
    source = make_source(model, (IMAGES, LABELS), "train")
    options = {"mixing": Mixing(cutmix=1.0), "seed": 2, "shuffle": True}
    made = source.dataset(4, **options)
    expected = batches(source.images, image_size=16, batch_size=4, **options)
    for (x, y), (images, labels) in zip(made, expected, strict=True):
        np.testing.assert_array_equal(x, images)
        np.testing.assert_array_equal(y, labels)


def test_what_cannot_be_mixed_is_refused(model):
    with pytest.raises(ValueError, match="to_categorical"):
        ARRAYS.dataset(4, mixing=MIXING)
    with pytest.raises(ValueError, match="take mixup alone"):
        ArraySource(ROWS, HOT).dataset(4, mixing=Mixing(cutmix=1.0))
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(2)
    with pytest.raises(ValueError, match="Mix in the dataset's own pipeline"):
        make_source(model, data, "train").dataset(2, mixing=MIXING)


def test_images_and_labels_become_a_set_of_the_models_classes(model):
    source = make_source(model, (IMAGES, LABELS), "train")
    assert isinstance(source, ImageSource)
    assert source.images.class_names == CLASSES
    assert source.store.image_size == (16, 16)
    np.testing.assert_array_equal(
        source.rows(np.array([4, 1]))["images"], IMAGES[[4, 1]]
    )


def test_files_are_read_at_the_models_size_and_policy(tmp_path):
    wide = np.random.default_rng(0).integers(0, 256, (16, 48, 3)).astype("uint8")
    Image.fromarray(wide).save(tmp_path / "wide.png")
    images = kerastl.ImageSet((str(tmp_path / "wide.png"),), np.array([0]), CLASSES)
    source = make_source(small_classifier(resize="crop"), images, "train")
    np.testing.assert_array_equal(
        source.rows(np.array([0]))["images"][0], wide[:, 16:32]
    )
    ((batch, _),) = source.dataset(1)
    np.testing.assert_array_equal(batch[0], wide[:, 16:32])


def test_whole_floats_and_columns_are_labels(model):
    labels = LABELS.astype("float32")[:, None]
    source = make_source(model, (IMAGES, labels), "train")
    np.testing.assert_array_equal(source.targets, LABELS)


BY_NAME = [CLASSES[label] for label in LABELS]
NAMED = {
    "list": BY_NAME,
    "strings": np.array(BY_NAME),
    "objects": np.array(BY_NAME, object),
    "column": np.array(BY_NAME)[:, None],
    "integers among objects": LABELS.astype(object),
}


@pytest.mark.parametrize("labels", NAMED.values(), ids=NAMED)
def test_names_are_labels_of_a_pair(model, labels):
    source = make_source(model, (IMAGES, labels), "train")
    np.testing.assert_array_equal(source.targets, LABELS)
    np.testing.assert_array_equal(source.rows(np.arange(9))["images"], IMAGES)


def test_names_are_labels_of_every_kind_of_task_and_input():
    binary = small_classifier(("no", "yes"), task="binary")
    source = make_source(binary, (IMAGES[:2], ["yes", "no"]), "train")
    assert source.targets.tolist() == [1, 0]
    network = small_network()
    x = keras.layers.GlobalAveragePooling2D()(network.output)
    own = keras.Model(network.input, keras.layers.Dense(3)(x))
    source = make_source(kerastl.adapt_model(own, CLASSES), (IMAGES, BY_NAME), "train")
    np.testing.assert_array_equal(source.targets, LABELS)
    named = make_source(small_classifier(), ({"images": IMAGES}, BY_NAME), "validation")
    np.testing.assert_array_equal(named.targets, LABELS)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["ash", "yew", "oak"], r"\['oak', 'yew'\].*classes are ash, beech, cedar"),
        (np.array(["Ash", "ash", "ash"]), r"\['Ash'\]"),
        (np.array(["yew"] * 3, object), r"\['yew'\]"),
    ],
)
def test_names_of_other_classes_are_refused_before_training(model, labels, words):
    phase = kerastl.Phase("head", trainable="head", epochs=1, learning_rate=0.1)
    train, other = (IMAGES, BY_NAME), (IMAGES[:3], labels)
    for name, parts in (("train", (other, train)), ("validation", (train, other))):
        with pytest.raises(ValueError, match=f"`{name}` must be of the model.*{words}"):
            kerastl.run_phases(model, *parts, phases=[phase])


def test_names_say_nothing_to_a_model_without_names():
    ages = np.linspace(20, 80, 9)
    numbers = kerastl.build_regressor(small_network(), ages, preprocessing="tf")
    for model in (small_network(), numbers):
        with pytest.raises(ValueError, match=r"`train` must be labelled by numbers"):
            make_source(model, (IMAGES, BY_NAME), "train")
    with pytest.raises(ValueError, match=r"`labels` must be a name for each.*\[1\]"):
        make_source(small_classifier(), (IMAGES[:2], ["ash", None]), "train")
    with pytest.raises(ValueError, match="`train` must be labelled by one name"):
        make_source(small_classifier(), (IMAGES[:2], [["ash", "yew"]] * 2), "train")


def test_labels_of_a_model_without_a_task_are_left_as_they_are():
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights=None
    )
    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(1)(x))
    amounts = np.array([0.25, 1.75, 2.5])
    source = make_source(model, (pixels(3, 32), amounts), "train")
    np.testing.assert_array_equal(source.targets, amounts)


def test_arrays_for_a_foreign_model_are_left_as_they_are():
    inputs = np.random.default_rng(0).normal(size=(3, 16, 16, 3))
    source = make_source(small_network(), (inputs, np.zeros((3, 2))), "train")
    assert isinstance(source, ArraySource)
    np.testing.assert_array_equal(source.rows(np.arange(3))["inputs"], inputs)


def test_batches_of_somebody_else_are_used_as_they_are(model):
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(2)
    source = make_source(model, data, "train")
    assert isinstance(source, StreamSource)
    assert source.dataset(99, shuffle=True, seed=3) is data
    with pytest.raises(ValueError, match="Augment in the dataset's own pipeline"):
        source.dataset(2, augment="light")


def test_a_source_stays_a_source(model):
    assert make_source(model, ARRAYS, "train") is ARRAYS


@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        ((IMAGES, LABELS[:5]), ValueError, "`train` must be as many labels as images"),
        ((IMAGES[:0], LABELS[:0]), ValueError, "`train` must be at least one image"),
        ((IMAGES, LABELS + 1), ValueError, "`labels` must be from 0 to 2"),
        ((IMAGES, LABELS + 0.5), ValueError, "`labels` must be whole numbers"),
        ((IMAGES, np.eye(3)[LABELS]), ValueError, r"pass labels\.argmax"),
        ((IMAGES / 255.0, LABELS), ValueError, "pixels 0-255"),
        (kerastl.ImageSet(IMAGES, None, CLASSES), ValueError, "`train` must be labell"),
        (
            kerastl.ImageSet(IMAGES, LABELS, ("ash", "beech", "yew")),
            ValueError,
            "of the model's classes.*'yew'.*The model's classes are ash, beech, cedar",
        ),
        (
            kerastl.ImageSet(IMAGES, LABELS, CLASSES[::-1]),
            ValueError,
            "in the model's order",
        ),
        (
            kerastl.ImageSet(IMAGES, np.eye(3, dtype=int)[LABELS] | 1, CLASSES),
            ValueError,
            r"`labels` must be integers of shape \(n,\)",
        ),
        (IMAGES, TypeError, "an ImageSet, an .* pair or a tf.data.Dataset.*'ndarray'"),
        ("photos", TypeError, "Load a folder with kerastl.load_images"),
        (7, TypeError, "`train` must be an ImageSet"),
    ],
)
def test_data_that_do_not_fit_are_refused(model, data, error, sentence):
    with pytest.raises(error, match=sentence):
        make_source(model, data, "train")


def test_single_labels_do_not_fit_the_multilabel_task():
    images = kerastl.ImageSet(IMAGES, LABELS, CLASSES)
    with pytest.raises(ValueError, match=r"`labels` must be of shape \(n, 3\)"):
        make_source(small_classifier(task="multilabel"), images, "train")


def first_batch(model, images, labels):
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    check_first_batch(model, StreamSource(data), "train")


def test_a_batch_that_fits_passes(model):
    first_batch(model, IMAGES.astype("float32"), LABELS)


def test_a_batch_of_mixed_labels_passes(model):
    images = kerastl.ImageSet(IMAGES, LABELS, CLASSES)
    data = batches(images, image_size=16, mixing=Mixing(mixup=1.0), seed=0)
    check_first_batch(model, StreamSource(data), "train")


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        (IMAGES / 255.0, LABELS, "pixels from 0 to 255.*Leave out your own rescaling"),
        (IMAGES / 127.5 - 1, LABELS, "pixels from 0 to 255"),
        (pixels(9, 8), LABELS, r"batches of shape \(n, 16, 16, 3\).*\(4, 8, 8, 3\)"),
        (IMAGES[..., 0], LABELS, r"batches of shape \(n, 16, 16, 3\)"),
        (IMAGES, LABELS + 1, "`labels` must be from 0 to 2"),
        (IMAGES, np.eye(3)[LABELS] * 0.5, "rows that sum to 1"),
        (IMAGES, np.eye(4)[LABELS], r"pass labels\.argmax"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(model, images, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        first_batch(model, images, labels)


def test_empty_and_unlabelled_batches_are_refused(model):
    with pytest.raises(ValueError, match="at least one batch"):
        first_batch(model, IMAGES[:0], LABELS[:0])
    data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(4)
    with pytest.raises(ValueError, match=r"batches of \(images, labels\)"):
        check_first_batch(model, StreamSource(data), "train")


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_dataset_that_never_ends_is_refused(name):
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
    both = {"train": data, "validation": data, name: data.repeat()}
    phase = kerastl.Phase("head", trainable="head", epochs=1, learning_rate=1e-3)
    with pytest.raises(ValueError, match=f"`{name}` must be a dataset that ends"):
        kerastl.run_phases(small_classifier(), **both, phases=[phase])


def test_a_dataset_that_is_repeated_some_times_ends():
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
    for finite in (data, data.repeat(3), data.repeat().take(5)):
        check_end(StreamSource(finite), "train")
    check_end(None, "validation")


def test_the_pixels_of_a_foreign_model_are_its_users_affair():
    first_batch(small_network(), IMAGES / 255.0, LABELS)


@pytest.mark.parametrize("images", [[0.0, 1.0], [-1, 3], [0, 256], [0.0, np.nan]])
def test_values_that_are_no_pixels_are_refused(images):
    with pytest.raises(ValueError, match="pixels from 0 to 255"):
        check_pixel_range(np.array(images))


@pytest.mark.parametrize("images", [[0, 1], [0.0, 255.0], [0.0, 0.0], [0.0, 1.5]])
def test_values_that_may_be_pixels_pass(images):
    check_pixel_range(np.array(images))


def test_batches_of_several_inputs_by_name_are_trained_on():
    one, other = keras.Input((8,), name="one"), keras.Input((3,), name="other")
    joined = keras.layers.Concatenate()([keras.layers.Dense(4)(one), other])
    model = keras.Model({"one": one, "other": other}, keras.layers.Dense(2)(joined))
    rows = {"one": np.ones((6, 8), "float32"), "other": np.ones((6, 3), "float32")}
    data = tf.data.Dataset.from_tensor_slices((rows, np.arange(6) % 2)).batch(3)
    phase = kerastl.Phase("all", trainable="all", epochs=1, learning_rate=0.1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    history = kerastl.run_phases(
        model, data, phases=[phase], loss=loss, metrics=[], seed=0
    )
    assert np.isfinite(history.history["loss"]).all()


BATCH = IMAGES[:4], LABELS[:4]


@pytest.mark.parametrize(
    ("data", "received"),
    [
        ((), "0 parts"),
        (({"one": ROWS},), "1 parts"),
        ((IMAGES, LABELS, np.ones(9)), "three parts.*Weights of images come in batch"),
        ([BATCH], "a list of 1 batches"),
        ([BATCH, BATCH], "a list of 2 batches"),
        (([*BATCH], BATCH, (*BATCH, LABELS)), "a list of 3 batches"),
        ([({"images": BATCH[0]}, BATCH[1])] * 2, "a list of 2 batches"),
    ],
)
def test_what_is_no_pair_is_refused(model, data, received):
    with pytest.raises((TypeError, ValueError), match=rf"labels\) pair.*{received}"):
        make_source(model, data, "train")


def test_a_pair_of_lists_is_a_pair(model):
    source = make_source(model, [list(IMAGES), list(LABELS)], "train")
    np.testing.assert_array_equal(source.targets, LABELS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (([], []), "at least one image"),
        ((np.empty((0, 8, 8, 3)), np.array([], int)), "at least one image"),
        (([], [0]), "as many labels as images"),
    ],
)
def test_no_images_are_refused_in_a_sentence(model, data, words):
    phase = kerastl.Phase("head", trainable="head", epochs=1, learning_rate=0.1)
    with pytest.raises(ValueError, match=f"`train` must be {words}"):
        kerastl.run_phases(model, data, phases=[phase])


def test_one_input_by_name_is_checked_as_it_is_without(model):
    source = make_source(model, ({"images": IMAGES}, LABELS), "train")
    assert isinstance(source, ImageSource)
    with pytest.raises(ValueError, match="pixels 0-255"):
        make_source(model, ({"images": IMAGES / 255.0}, LABELS), "train")


class Listed(keras.utils.PyDataset):
    """Batches from a list."""

    def __init__(self, batches, **attributes):
        super().__init__()
        self.batches = batches
        vars(self).update(attributes)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


class Loader:
    """As PyTorch's loaders: passed again at each loop, with the set behind it."""

    def __init__(self, batches, **attributes):
        self.batches = batches
        self.dataset = SimpleNamespace(**attributes)

    def __iter__(self):
        return iter(self.batches)


def stored(batches, **attributes):
    """A `tf.data` set of these batches."""
    (images, labels), *rest = batches
    for x, y in rest:
        images, labels = np.concatenate([images, x]), np.concatenate([labels, y])
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    vars(data).update(attributes)
    return data


KINDS = (Listed, Loader, stored)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        ((BATCH[0] / 255.0, BATCH[1]), "pixels from 0 to 255"),
        ((BATCH[0], BATCH[1] * 0 + 3), "from 0 to 2 for 3 classes"),
        ((BATCH[0], np.array([1, 2, 3, 1])), "Count classes from 0: subtract 1"),
        (({"pixels": BATCH[0]}, BATCH[1]), "batches with the input 'images'"),
    ],
)
def test_the_first_batch_of_every_kind_of_stream_is_checked(
    model, kind, batch, sentence
):
    with pytest.raises(ValueError, match=sentence):
        check_first_batch(model, StreamSource(kind([batch])), "train")


@pytest.mark.parametrize("kind", [Listed, Loader])
@pytest.mark.parametrize("batch", [BATCH[0], BATCH[:1], (BATCH[0], None), {"x": 1}])
def test_batches_without_labels_are_refused(model, kind, batch):
    with pytest.raises(ValueError, match=r"batches of \(images, labels\)"):
        check_first_batch(model, StreamSource(kind([batch])), "train")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "said",
    [
        {"class_names": list(CLASSES[::-1])},
        {"classes": list(CLASSES[::-1])},
        {"class_indices": {"beech": 0, "ash": 1, "cedar": 2}},
        {"class_names": ["ash", "beech", "yew"]},
    ],
)
def test_the_class_names_of_a_stream_are_the_models(model, kind, said):
    with pytest.raises(ValueError, match="The model's classes are ash, beech, cedar"):
        check_first_batch(model, StreamSource(kind([BATCH], **said)), "train")
    right = kind([BATCH], class_names=list(CLASSES))
    check_first_batch(model, StreamSource(right), "train")


def test_a_model_of_numbered_classes_takes_any_names():
    data = StreamSource(stored([BATCH], class_names=list(CLASSES)))
    check_first_batch(small_classifier(3), data, "train")


@pytest.mark.parametrize("kind", [Listed, stored])
def test_labels_that_do_not_fit_are_told_in_the_middle_of_a_stream(model, kind):
    data = kind([BATCH, (BATCH[0], BATCH[1] + 7)])
    phase = kerastl.Phase("head", trainable="head", epochs=1, learning_rate=1e-3)
    with pytest.raises(ValueError, match="`labels` must be from 0 to 2") as caught:
        kerastl.run_phases(model, data, phases=[phase], verbose=0)
    assert "The model has the weights" in caught.value.__notes__[0]
