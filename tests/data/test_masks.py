"""Masks: read, resized and moved with their images."""

import keras
import numpy as np
import pytest
from PIL import Image

from kerastl.data.augmentation import Augmentation
from kerastl.data.dense import DenseTargets, placement
from kerastl.data.masks import IGNORE, Masks, fit_mask, move_masks, unfit_mask
from kerastl.data.mixing import Mixing
from kerastl.data.sets import ImageSet
from kerastl.data.sources import batches
from kerastl.data.splitting import split_set
from kerastl.features.cache import Views, cached_part
from kerastl.features.sources import make_source
from kerastl.training.phase import Phase
from kerastl.training.run import run_phases

NAMES = ("ground", "block", "bar")
LEVELS = np.array([20, 120, 220], np.uint8)
SIZE = 24


def drawn(count, size=SIZE, seed=0):
    """Masks of a block and a bar at random places."""
    random, masks = np.random.default_rng(seed), np.zeros((count, size, size), int)
    for mask in masks:
        y, x, b = random.integers(0, size - 10, 3)
        mask[y : y + 9, x : x + 9] = 1
        mask[:, b : b + 4] = 2
    return masks


def painted(masks):
    """The masks as images: a grey level for each class."""
    return LEVELS[masks][..., None].repeat(3, axis=-1)


@pytest.fixture(scope="module")
def blocks():
    masks = drawn(8)
    return ImageSet(painted(masks), Masks(masks, NAMES))


def batch(images, **options):
    data = batches(images, image_size=SIZE, batch_size=len(images), seed=3, **options)
    return [np.asarray(part) for part in next(iter(data))]


CHANGES = {
    "light": "light",
    "standard": "standard",
    "strong": "strong",
    "randaugment": "randaugment",
    "turned": Augmentation(rotation=30),
    "shifted": Augmentation(translation=0.3, area=(0.6, 1.5), aspect=1.5),
}


@pytest.mark.parametrize("augment", CHANGES.values(), ids=CHANGES)
def test_a_mask_moves_with_its_image(blocks, augment):
    # Colours stay, so that an image can be read back as the mask it was painted from.
    chance = augment
    if isinstance(augment, str):
        from kerastl.data.augmentation import PRESETS

        fields = dict(vars(PRESETS[augment]))
        fields.update(brightness=0, contrast=0, saturation=0)
        if fields["operations"]:
            fields.update(operations=0, rotation=20, translation=0.2)
        chance = Augmentation(**fields)
    images, masks = batch(blocks, augment=chance)
    grey = images[..., 0]
    pure = np.isin(np.round(grey, 2), LEVELS) & (masks != IGNORE)
    assert pure.mean() > 0.4
    read = np.searchsorted(LEVELS, np.round(grey[pure]).astype(int))
    np.testing.assert_array_equal(read, masks[pure])
    assert len(np.unique(masks[pure])) == 3
    # Something moved at all.
    assert (masks != blocks.labels.masks).mean() > 0.05


def test_randaugment_moves_masks_by_the_same_operations(blocks):
    chance = Augmentation(operations=2, magnitude=0.5)
    images, masks = batch(blocks, augment=chance)
    # Its colour operations keep order, or invert it: within an image a class is flat.
    for image, mask in zip(images[..., 0], masks, strict=True):
        for label in range(3):
            inner = mask == label
            shifts = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1)]
            for shift in shifts:
                inner &= np.roll(mask, shift, (0, 1)) == label
            inner[[0, -1]] = inner[:, [0, -1]] = False
            if inner.sum() > 3:
                values = image[inner]
                assert np.median(np.abs(values - np.median(values))) < 1


@pytest.mark.parametrize("augment", [*CHANGES.values(), None], ids=[*CHANGES, "none"])
def test_no_class_is_made_up(augment):
    masks = drawn(6) * 2  # 0, 2, 4: a blend of two would be 1 or 3.
    names = tuple("abcde")
    images = ImageSet(np.zeros((6, SIZE, SIZE, 3), "uint8"), Masks(masks, names))
    _, found = batch(images, augment=augment)
    assert set(np.unique(found)) <= {0, 2, 4, IGNORE}


def test_what_a_turn_lays_bare_is_no_class():
    ones = np.ones((4, SIZE, SIZE), int)
    images = ImageSet(painted(ones), Masks(ones, NAMES))
    _, masks = batch(images, augment=Augmentation(rotation=30))
    assert set(np.unique(masks)) == {1, IGNORE}
    _, masks = batch(images, augment=Augmentation(flip=True))
    assert set(np.unique(masks)) == {1}


def test_masks_move_as_tensorflow_moves_images():
    import tensorflow as tf

    masks = drawn(5, seed=1).astype("uint8")
    random = np.random.default_rng(0)
    maps = np.tile(np.array([1, 0, 0, 0, 1, 0, 0, 0], "float32"), (5, 1))
    maps[:, :6] += random.normal(0, 0.15, (5, 6)) * [1, 1, 20, 1, 1, 20]
    maps = maps.astype("float32")
    theirs = tf.raw_ops.ImageProjectiveTransformV3(
        images=masks[..., None],
        transforms=maps,
        output_shape=(SIZE, SIZE),
        fill_value=255.0,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    ).numpy()[..., 0]
    np.testing.assert_array_equal(move_masks(masks, maps), theirs)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(20, 31), (60, 16), (24, 24), (90, 100)])
def test_masks_are_resized_as_their_images(resize, size):
    columns, rows = np.arange(size[1]) // 8, np.arange(size[0]) // 8
    mask = ((rows[:, None] + columns) % 3).astype("uint8")
    masks = Masks(mask[None], NAMES)
    one = ImageSet(painted(mask[None]), masks)
    images, found = batch(one, resize=resize)
    grey = images[0, ..., 0]
    pure = np.isin(grey, LEVELS) & (found[0] != IGNORE)
    assert pure.sum() > 20 or min(size) >= 60
    np.testing.assert_array_equal(LEVELS[found[0][pure]], grey[pure])
    black = placement(size[::-1], (SIZE, SIZE), resize).place
    assert ((found[0] == IGNORE).any()) == (black != (0, 0, SIZE, SIZE))


@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size", [(13, 20), (24, 24), (24, 12), (17, 24)])
def test_a_resize_that_enlarges_is_undone_exactly(resize, size):
    mask = np.random.default_rng(0).integers(0, 3, size).astype("uint8")
    there = fit_mask(mask, (48, 48), resize)
    back = unfit_mask(there, size, resize)
    assert back.shape == size
    cut = resize == "crop" and size[0] != size[1]
    left, top, right, bottom = placement(size[::-1], (48, 48), resize).window
    seen = np.s_[int(np.ceil(top)) : int(bottom), int(np.ceil(left)) : int(right)]
    np.testing.assert_array_equal(back[seen], mask[seen])
    assert cut == (mask[seen].size < mask.size)


def write(path, array, mode=None):
    Image.fromarray(array.astype("uint8"), mode).save(path)
    return str(path)


def test_files_of_every_kind_are_read_as_indices(tmp_path):
    mask = drawn(1)[0].astype("uint8")
    mask[0, 0] = 255
    palette = Image.fromarray(mask, "P")
    palette.putpalette([10, 20, 30, 200, 100, 0, 5, 5, 250] + [0] * 759)
    palette.save(tmp_path / "palette.png")
    write(tmp_path / "grey.png", mask)
    Image.fromarray(mask.astype("uint16")).save(tmp_path / "deep.png")
    files = [str(tmp_path / f"{kind}.png") for kind in ("palette", "grey", "deep")]
    masks = Masks(files, NAMES)
    for index in range(3):
        np.testing.assert_array_equal(masks.read(index), mask)
    bits = Image.fromarray(mask == 1)
    bits.save(tmp_path / "bits.png")
    read = Masks([str(tmp_path / "bits.png")], ("no", "yes")).read(0)
    np.testing.assert_array_equal(read, mask == 1)


def test_colours_need_their_table(tmp_path):
    mask = drawn(1)[0]
    table = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 64]])
    coloured = table[mask]
    coloured[0, :3] = [224, 224, 192]
    path = write(tmp_path / "colours.png", coloured)
    with pytest.raises(ValueError, match="Pass `colours`"):
        Masks([path], NAMES).read(0)
    with pytest.raises(ValueError, match="also \\[\\[224, 224, 192\\]\\] in it"):
        Masks([path], NAMES, colours=table).read(0)
    masks = Masks([path], NAMES, colours=table, ignore_colours=[[224, 224, 192]])
    expected = mask.copy()
    expected[0, :3] = IGNORE
    np.testing.assert_array_equal(masks.read(0), expected)


def test_values_outside_the_classes_are_refused(tmp_path):
    mask = drawn(1)[0]
    mask[0, 0] = 3
    path = write(tmp_path / "three.png", mask)
    with pytest.raises(ValueError, match=r"three.png` must be of the .* ignore=3"):
        Masks([path], NAMES).read(0)
    assert Masks([path], NAMES, ignore=3).read(0)[0, 0] == IGNORE
    with pytest.raises(ValueError, match="Received: masks=\\[-1\\]"):
        Masks(mask[None] - 1, (*NAMES, "d"))
    with pytest.raises(TypeError, match="integers"):
        Masks(mask[None] / 2, NAMES)


def test_black_and_white_masks_name_their_values(tmp_path):
    mask = (drawn(1)[0] == 1) * 255
    path = write(tmp_path / "white.png", mask)
    read = Masks([path], ("no", "yes"), values={0: 0, 255: 1}).read(0)
    np.testing.assert_array_equal(read, mask > 0)


def test_a_mask_of_another_size_is_refused(tmp_path, blocks):
    with pytest.raises(ValueError, match="image 0: 12 x 12 pixels, its mask 24 x 24"):
        ImageSet(np.zeros((8, 12, 12, 3), "uint8"), blocks.labels)
    image = write(tmp_path / "image.png", np.zeros((10, 20, 3)))
    mask = write(tmp_path / "mask.png", np.zeros((20, 10)))
    with pytest.raises(ValueError, match="20 x 10 pixels, its mask 10 x 20"):
        Masks([mask], NAMES).check_images((image,), "train")


def test_sets_know_names_counts_and_parts(blocks):
    assert blocks.class_names == NAMES
    assert blocks.counts() == dict.fromkeys(NAMES, 8)
    assert not blocks.multilabel
    part = blocks.subset([5, 2])
    np.testing.assert_array_equal(part.labels.masks, blocks.labels.masks[[5, 2]])
    with pytest.raises(ValueError, match="of length 3"):
        ImageSet(np.zeros((3, 8, 8)), blocks.labels)
    with pytest.raises(ValueError, match="those of the labels"):
        ImageSet(blocks.images, blocks.labels, ("a", "b", "c"))


def test_a_cut_says_which_class_a_part_lacks():
    masks = drawn(12)
    masks[1:][masks[1:] == 2] = 0  # One image alone shows a bar.
    images = ImageSet(np.random.default_rng(0).integers(0, 255, (12, SIZE, SIZE)), None)
    images = ImageSet(images.images, Masks(masks, NAMES))
    with pytest.warns(UserWarning, match="No image of the .* part shows .*bar"):
        train, validation, _ = split_set(images, validation=0.25)
    assert len(train) + len(validation) == 12
    assert len(validation) == 3


def test_copies_with_other_masks_are_dropped(blocks):
    images = np.concatenate([blocks.images, blocks.images[:1]])
    masks = np.concatenate([blocks.labels.masks, blocks.labels.masks[1:2]])
    with pytest.warns(UserWarning, match="Dropped 2 images: equal content, different"):
        train, validation, _ = split_set(ImageSet(images, Masks(masks, NAMES)))
    assert len(train) + len(validation) == 7


def test_what_needs_one_label_an_image_refuses_masks(blocks):
    with pytest.raises(ValueError, match="None for masks and boxes"):
        batches(blocks, image_size=SIZE, mixing=Mixing(mixup=0.2))


@pytest.fixture(scope="module")
def own_model():
    """A user's own network, of which nothing is known."""
    x = inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="low")(x)
    y = keras.layers.Conv2D(3, 3, padding="same", name="high")(x)
    return keras.Model(inputs, y)


def test_a_model_of_ones_own_trains_on_masks(own_model, blocks):
    phase = Phase("high", trainable=["high"], epochs=2, learning_rate=0.01)
    loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255)
    before = own_model.get_layer("low").get_weights()
    history = run_phases(
        own_model,
        blocks,
        blocks,
        phases=[phase],
        loss=loss,
        augment="light",
        batch_size=4,
        seed=0,
        verbose=0,
    )
    assert history.phases[0].moved == ("high/kernel", "high/bias")
    for a, b in zip(before, own_model.get_layer("low").get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="class_weight"):
        run_phases(
            own_model, blocks, phases=[phase], loss=loss, class_weight="balanced"
        )
    with pytest.raises(ValueError, match="sampling"):
        run_phases(own_model, blocks, phases=[phase], loss=loss, sampling="balanced")


def test_kept_views_bring_the_masks_that_moved_with_them(own_model, blocks):
    own_model.get_layer("low").trainable = False
    source = make_source(own_model, blocks, "train")
    assert isinstance(source.targets, DenseTargets)
    frozen = cached_part(
        own_model,
        source,
        None,
        epochs=4,
        batch_size=8,
        cache="memory",
        views=Views(2, "standard", 7),
    )
    assert frozen.cached
    for epoch in range(2):
        given = {"seed": 7, "epoch": epoch}
        images, masks = next(iter(source.dataset(8, augment="standard", **given)))
        rows, kept = next(iter(frozen.train.dataset(8, epoch=epoch)))
        np.testing.assert_array_equal(masks, kept)
        direct = own_model.get_layer("low")(own_model.layers[1](images))
        np.testing.assert_allclose(rows, direct, atol=1e-5)


def test_targets_are_encoded_after_they_moved(blocks):
    targets = DenseTargets(
        blocks.labels, (SIZE, SIZE), "stretch", lambda rows: (rows == 1).sum((1, 2))
    )
    assert targets.shape == (8,) and len(targets) == 8
    expected = (blocks.labels.masks == 1).sum((1, 2))
    np.testing.assert_array_equal(np.asarray(targets), expected)
    np.testing.assert_array_equal(targets[[3, 1]], expected[[3, 1]])
