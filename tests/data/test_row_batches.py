"""Batches of arrays are those of tensors: rows, order, changes and labels."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from kerastl.data.augmentation import PRESETS, Augmentation
from kerastl.data.batches import Epochs, RowBatches
from kerastl.data.batches_tensorflow import source_batches
from kerastl.data.images import PixelStore
from kerastl.data.masks import Masks
from kerastl.data.mixing import Mixing
from kerastl.data.sets import ImageSet
from kerastl.data.sources import ArraySource, ImageSource

SIZE = (10, 8)


def pixels(count=11):
    random = np.random.default_rng(1)
    return random.integers(0, 256, (count, *SIZE, 3)).astype("uint8")


def photos(labels=None):
    labels = np.arange(11) % 3 if labels is None else labels
    images = ImageSet(pixels(), labels, ("ash", "beech", "cedar"))
    return ImageSource(images, PixelStore(images, image_size=SIZE))


def unlabelled():
    images = ImageSet(pixels(), None, ())
    return ImageSource(images, PixelStore(images, image_size=SIZE))


def features(views=1, dtype="float16"):
    random = np.random.default_rng(0)
    rows = random.normal(size=(11 * views, 5)).astype(dtype)
    return ArraySource(rows, np.arange(11), views=views)


class Reader:
    """Rows that are not in memory."""

    def __init__(self, rows):
        self.shape, self.dtype, self.rows = rows.shape, rows.dtype, rows.__getitem__


def epochs_of(source, **options):
    given = {"batch_size": 4, "seed": 3, "shuffle": True, "mixing": None}
    given["augmentation"] = Augmentation()
    return Epochs(source, **{**given, **options})


def flat(batch):
    """The arrays of a batch, inputs first."""
    parts = batch if isinstance(batch, tuple) else (batch,)
    return [
        np.asarray(array)
        for part in parts
        for array in (part.values() if isinstance(part, dict) else [part])
    ]


PAIR = {"a": np.arange(22.0).reshape(11, 2), "b": np.arange(11)}
MANY = np.random.default_rng(2).integers(0, 2, (11, 3))
CASES = {
    "images": (photos(), {}),
    "images as they are": (photos(), {"shuffle": False}),
    "no labels": (unlabelled(), {}),
    "several labels": (photos(MANY), {}),
    "light": (photos(), {"augmentation": PRESETS["light"]}),
    "strong": (photos(), {"augmentation": PRESETS["strong"]}),
    "mixed": (photos(), {"mixing": Mixing(mixup=0.4, cutmix=1.0)}),
    "versions": (photos(), {"augmentation": PRESETS["light"], "versions": 2}),
    "classes": (photos(), {"classes": np.arange(11) % 3}),
    "features": (features(), {}),
    "views": (features(views=3), {}),
    "stored": (ArraySource(Reader(np.arange(11.0)[:, None]), np.arange(11)), {}),
    "several inputs": (ArraySource(PAIR, np.arange(11)), {}),
    "others": (features(), {"others": 4}),
    "a share": (features(), {"share": (1, 2)}),
}


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_batches_are_those_of_tensorflow(case, drop):
    source, options = CASES[case]
    # A share has whole batches alone, as its caller sees to.
    drop = drop or "share" in options
    epochs = epochs_of(source, **options)
    made = RowBatches(epochs, drop_remainder=drop, epoch=0)
    expected = source_batches(epochs, drop_remainder=drop, epoch=0)
    assert len(made) == len(expected)
    for _ in range(3):
        pairs = list(zip(made, expected, strict=True))
        for batch, other in pairs:
            for array, tensor in zip(flat(batch), flat(other), strict=True):
                assert array.dtype == tensor.dtype
                assert array.shape == tensor.shape
                np.testing.assert_allclose(array, tensor, atol=2e-3)
            assert type(batch) is type(other) or not isinstance(other, tuple)


def test_masks_move_with_their_images():
    names = ("a", "b", "c")
    masks = Masks((pixels()[..., 0] // 90).astype("uint8"), names)
    images = ImageSet(pixels(), masks, names)
    source = ImageSource(images, PixelStore(images, image_size=SIZE))
    epochs = epochs_of(source, augmentation=PRESETS["strong"])
    made = RowBatches(epochs, drop_remainder=False, epoch=0)
    expected = source_batches(epochs, drop_remainder=False, epoch=0)
    for (_, masks), (_, others) in zip(made, expected, strict=True):
        np.testing.assert_array_equal(masks, others)
        assert masks.dtype == np.uint8


def test_each_pass_is_an_epoch_and_a_pass_begun_in_vain_is_one_too():
    numbers = []

    def number():
        numbers.append(len(numbers))
        return numbers[-1]

    data = RowBatches(epochs_of(features()), drop_remainder=False, epoch=number)
    first = [flat(batch)[1].tolist() for batch in data]
    flat(data[0])
    third = [flat(batch)[1].tolist() for batch in data]
    assert numbers == [0, 1, 2]
    assert first != third
    assert (
        sorted(np.concatenate(first))
        == sorted(np.concatenate(third))
        == list(range(11))
    )


def test_keras_fits_on_each_epoch_in_its_order():
    import keras

    seen, data = [], RowBatches(epochs_of(features()), drop_remainder=False, epoch=0)
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", run_eagerly=True)
    plain = data._begin
    data._begin = lambda: (plain(), seen.append(data._drawn["row"].tolist()))
    model.fit(data, epochs=2, verbose=0, shuffle=False)
    # On some backends `fit` begins a pass to see the shapes.
    assert len(seen) in (2, 3)
    assert all(sorted(order) == list(range(11)) for order in seen)
    assert seen[-1] != seen[-2]


def test_batches_to_come_are_made_by_other_threads():
    threads = set()

    class Slow(Reader):
        def __init__(self, rows):
            super().__init__(rows)
            self.rows = self.read
            self.array = rows

        def read(self, indices):
            threads.add(threading.get_ident())
            return self.array[indices]

    source = ArraySource(Slow(np.zeros((40, 2))), np.arange(40))
    epochs = epochs_of(source, shuffle=False)
    data = RowBatches(epochs, drop_remainder=False, epoch=0)
    flat(data[0])
    deadline = time.monotonic() + 10
    while len(data._coming) != 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(data._coming) == [1, 2, 3]
    assert threading.get_ident() not in threads


def test_a_file_that_cannot_be_read_is_named_as_it_is(tmp_path):
    paths = []
    for i, array in enumerate(pixels(6)):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(array).save(paths[-1])
    images = ImageSet(tuple(paths), np.arange(6), tuple("abcdef"))
    (tmp_path / "4.png").write_bytes(b"no picture")
    store = PixelStore(images, image_size=SIZE, memory_limit=0)
    epochs = epochs_of(ImageSource(images, store), shuffle=False)
    data = RowBatches(epochs, drop_remainder=False, epoch=0)
    flat(data[0])
    with pytest.raises(ValueError, match=r"4\.png"):
        flat(data[1])


def test_an_index_beyond_the_last_batch_is_refused():
    data = RowBatches(epochs_of(features()), drop_remainder=True, epoch=0)
    assert len(data) == 2
    with pytest.raises(IndexError, match="2 batches"):
        data[2]
