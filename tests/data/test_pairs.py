"""Examples and labels at hand are read as a folder of them is."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kerastl
from kerastl.data.inputs import open_data
from kerastl.data.masks import Masks
from kerastl.data.sets import ImageSet, Splits
from kerastl.data.texts import TextSet

COUNT = 12
NAMES = ["owl", "cat"] * 6


def pixels(seed=0, count=COUNT):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (count, 8, 8, 3)).astype("uint8")


X = pixels()


def label_of(part):
    """Class name by the image's content."""
    rows = zip(part.images, part.labels, strict=True)
    return {image.tobytes(): part.class_names[label] for image, label in rows}


NAMED = {image.tobytes(): name for image, name in zip(X, NAMES, strict=True)}


def test_a_set_alone_is_cut():
    whole = ImageSet(X, NAMES)
    train, validation, test = open_data(whole, validation=0.25, test=0.25)
    found = [label_of(part) for part in (train, validation, test)]
    assert sum(map(len, found)) == COUNT
    assert found[0] | found[1] | found[2] == NAMED
    assert [sorted(set(part.values())) for part in found] == [["cat", "owl"]] * 3


def test_texts_alone_are_cut():
    texts = [f"A film of {n} minutes" for n in range(COUNT)]
    for data in (TextSet(texts, NAMES), (texts, NAMES), (np.array(texts), NAMES)):
        train, validation, _ = open_data(data)
        assert isinstance(train, TextSet)
        both = {*train.texts, *validation.texts}
        assert both == set(texts)
        assert train.class_names == ("cat", "owl")


LABELS = {
    "list": NAMES,
    "tuple": tuple(NAMES),
    "numpy": np.array(NAMES),
    "objects": np.array(NAMES, object),
    "column": np.array(NAMES)[:, None],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_names_are_labels(labels):
    train, validation, test = open_data((X, labels))
    assert test is None
    assert train.class_names == validation.class_names == ("cat", "owl")
    assert label_of(train) | label_of(validation) == NAMED


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.arange(COUNT) % 3, ("0", "1", "2")),
        ((np.arange(COUNT) % 2 * 4 + 3).astype("uint8"), ("3", "7")),
        ((np.arange(COUNT) % 11 % 2 + 9)[:, None], ("9", "10")),
        ([0, 1] * 6, ("0", "1")),
        (np.arange(COUNT) % 2 == 0, ("False", "True")),
    ],
)
def test_integers_without_names_are_called_by_their_numbers(labels, names):
    train, validation, _ = open_data((X, labels))
    assert train.class_names == names
    flat = np.asarray(labels).reshape(-1).tolist()
    expected = {x.tobytes(): str(y) for x, y in zip(X, flat, strict=True)}
    assert label_of(train) | label_of(validation) == expected


def test_the_third_names_the_classes_or_the_numbers():
    labels = np.arange(COUNT) % 2
    train = open_data((X, labels, ("owl", "cat"))).train
    assert train.class_names == ("owl", "cat")
    assert label_of(train).items() <= NAMED.items()
    train = open_data((X, NAMES, ("owl", "cat", "dog")), validation=0.0).train
    assert train.class_names == ("owl", "cat", "dog")
    ages = open_data((X, np.linspace(0, 1, COUNT), ["age"])).train
    assert (ages.target_names, ages.class_names) == (("age",), ())
    whole = open_data((X, list(range(COUNT)), ("age",)), validation=0.0).train
    np.testing.assert_array_equal(whole.labels[:, 0], np.arange(COUNT))
    two = open_data((X, np.random.default_rng(0).normal(size=(COUNT, 2)), ("x", "y")))
    assert two.train.target_names == ("x", "y")


def test_rows_of_0_and_1_are_several_labels():
    rows = np.random.default_rng(0).integers(0, 2, (COUNT, 3))
    rows[:4] = [[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]]
    train = open_data((X, rows), validation=0.0).train
    assert train.multilabel
    assert train.class_names == ("0", "1", "2")


def test_files_and_pictures_are_examples(tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(COUNT)]
    for path, image in zip(paths, X, strict=True):
        Image.fromarray(image).save(path)
    pictures = [Image.fromarray(image) for image in X]
    given = [paths, list(map(str, paths)), np.array(list(map(str, paths)))]
    for files in given:
        train, validation, _ = open_data((files, NAMES))
        expected = dict(zip(map(str, paths), NAMES, strict=True))
        for part in (train, validation):
            for path, label in zip(part.paths, part.labels, strict=True):
                assert part.class_names[label] == expected[path]
    train = open_data((pictures, NAMES), validation=0.0).train
    assert label_of(train) == NAMED
    with pytest.raises(FileNotFoundError, match="1 of 12 do not exist"):
        open_data(([*paths[1:], tmp_path / "gone.png"], NAMES))
    with pytest.raises(FileNotFoundError, match="gone"):
        open_data((["gone"] * COUNT, NAMES))
    paths[3].write_bytes(b"nope")
    with pytest.warns(UserWarning, match="Skipped 1 files that cannot be decoded"):
        train = open_data((paths, NAMES), on_bad="skip", validation=0.0).train
    assert len(train) == COUNT - 1


def test_dense_labels_are_labels():
    masks = Masks(np.arange(COUNT * 64).reshape(COUNT, 8, 8) % 2, ("sky", "road"))
    train, validation, _ = open_data((X, masks))
    assert train.dense
    assert len(train) + len(validation) == COUNT


PAIR, OTHER = (X, NAMES), (pixels(1, 4), ["cat", "cat", "owl", "cat"])


@pytest.mark.parametrize(
    "data",
    [
        (PAIR, OTHER),
        [PAIR, OTHER, None],
        Splits(PAIR, OTHER, None),
        (ImageSet(*PAIR), OTHER),
        ((list(X), NAMES), (list(OTHER[0]), OTHER[1])),
    ],
)
def test_pairs_are_parts(data):
    train, validation, test = open_data(data)
    assert label_of(train) == NAMED
    assert validation.class_names == train.class_names
    assert list(label_of(validation).values()) == OTHER[1]
    assert test is None


def test_parts_as_keras_gives_them_share_the_training_parts_classes():
    train = X, (np.arange(COUNT) % 3)[:, None]
    held_out = pixels(2, 4), np.array([[2], [0], [2], [2]])
    parts = open_data((train, held_out))
    assert parts.validation.class_names == ("0", "1", "2")
    assert parts.validation.labels.tolist() == [2, 0, 2, 2]


@pytest.mark.parametrize(
    ("validation", "named"),
    [
        (["cat", "dog", "owl", "dog"], r"\['dog'\].*classes are cat, owl"),
        (np.array(["yak", "emu", "cat", "cat"], object), r"\['emu', 'yak'\]"),
        (["Cat", "owl", "owl", "owl"], r"\['Cat'\]"),
    ],
)
def test_names_that_were_not_trained_on_are_refused(validation, named):
    words = f"`data` must be of the training part's classes.*{named}"
    with pytest.raises(ValueError, match=words):
        open_data((PAIR, (OTHER[0], validation)))


def test_integers_that_were_not_trained_on_are_refused():
    held_out = pixels(1, 2), [1, 5]
    with pytest.raises(ValueError, match=r"training part's classes.*\['5'\]"):
        open_data(((X, np.arange(COUNT) % 2), held_out))


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return PAIR


STREAMS = {
    "tf.data": tf.data.Dataset.from_tensor_slices((X, np.arange(COUNT))).batch(4),
    "PyDataset": Batches(),
    "generator": (PAIR for _ in range(2)),
}


@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS)
def test_batches_are_sent_to_fine_tune(data):
    words = r"compared and cut into parts.*Train on batches with kerastl\.fine_tune"
    with pytest.raises(TypeError, match=words):
        open_data(data)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (X, TypeError, r"Pass \(images, labels\)"),
        ((X, None), ValueError, r"\(ndarray, NoneType\).*Pass \(images, labels\)"),
        ((X, NAMES[:5]), ValueError, "as many labels as examples.*12 examples, 5 lab"),
        ((X, NAMES, np.ones(COUNT)), TypeError, "Weights of examples come in batches"),
        ((X, np.linspace(0, 1, COUNT)), ValueError, "Name what they measure"),
        ((X, np.eye(3)[np.arange(COUNT) % 3]), TypeError, r"labels\.argmax"),
        ((X, ["a", None] * 6), ValueError, r"a name for each example.*none at \[1, 3"),
        ((X, np.array(["a", np.nan] * 6, object)), ValueError, r"none at \[1, 3, 5"),
        (["a.png", "b.png"], ValueError, r"\(str, str\).*or files with labels"),
        ([str(n) for n in range(40)], ValueError, "files with labels"),
        ((ImageSet(X, NAMES), "photos"), TypeError, "made of sets or of .* pairs"),
        (7, TypeError, "a folder, a table"),
        ({"train": PAIR}, TypeError, "a folder, a table"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(data, error, words):
    with pytest.raises(error, match=words):
        open_data(data)


def test_transfer_takes_a_pair():
    options = {"alpha": 0.25, "image_size": 32, "recipe": "linear_probe", "epochs": 1}
    options |= {"augment": None, "best_size": False, "verbose": 0, "validation": 0.5}
    result = kerastl.transfer((X, NAMES), **options)
    assert kerastl.class_names(result.model) == ("cat", "owl")
    assert result.report["splits"]["validation"]["classes"] == {"cat": 3, "owl": 3}
