"""Features in shares: their union is one run's, bit for bit, and no share is lost."""

import os

import keras
import numpy as np
import pytest
from keras import layers
from networks import pixels
from PIL import Image

import kerastl
from kerastl.data.sets import ImageSet, Splits
from kerastl.data.texts import TextSet
from kerastl.features.files import extract, write
from kerastl.features.shards import extract_shard, merge_shards, read_shard
from kerastl.models.adapting import adapt_backbone

OPTIONS = {"batch_size": 4}


@pytest.fixture(scope="module", autouse=True)
def backbone():
    """The network of all tests: it costs more than what it computes here."""
    OPTIONS["backbone"] = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights="tiny"
    )


def three_parts():
    """Parts of sizes that are no multiples of a batch, one smaller than a batch."""

    def part(count, seed):
        labels = np.arange(count) % 2
        return ImageSet(pixels(count, 32, seed), labels, ("cat", "dog"))

    return Splits(part(11, 0), part(3, 1), part(5, 2))


def shares(data, folder, of, numbers=None, **options):
    """Compute shares, the last one first."""
    numbers = numbers or range(of, 0, -1)
    options = {**OPTIONS, **options}
    return [
        extract_shard(data=data, output=folder, shard=f"{n}/{of}", **options)
        for n in numbers
    ]


def assert_equal(made, expected):
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(made, name), value, err_msg=name)


@pytest.mark.parametrize("of", [2, 9])
def test_the_shares_together_are_what_one_run_computes(tmp_path, of):
    # 3, 1 and 2 batches: with nine shares some are empty.
    data = three_parts()
    done = shares(data, tmp_path, of)
    assert sum(share.images for share in done) == 19
    made, expected = merge_shards(tmp_path), extract(data=data, **OPTIONS)
    assert_equal(made, expected)
    write(made, tmp_path / "merged.npz")
    write(expected, tmp_path / "whole.npz")
    merged, whole = tmp_path / "merged.npz", tmp_path / "whole.npz"
    assert merged.read_bytes() == whole.read_bytes()


def test_shares_of_texts_are_what_one_run_computes(tmp_path):
    pytest.importorskip("keras_hub")
    words = [f"{'a fine film ' * (n % 4 + 1)}number {n}" for n in range(7)]
    data, options = TextSet(words), {"batch_size": 2}
    for number in (2, 3, 1):
        extract_shard("MiniText", data, tmp_path, f"{number}/3", **options)
    assert_equal(merge_shards(tmp_path), extract("MiniText", data, **options))


def test_a_share_that_is_there_is_not_computed_again(tmp_path):
    data = three_parts()
    (first,) = shares(data, tmp_path, 3, [2])
    os.utime(first.file, (1, 1))
    (again,) = shares(data, tmp_path, 3, [2])
    assert (first.computed, again.computed) == (True, False)
    assert again.images == first.images
    assert first.file.stat().st_mtime == 1


def test_a_damaged_share_is_computed_again(tmp_path):
    data = three_parts()
    done = shares(data, tmp_path, 2)
    whole = done[0].file.read_bytes()
    done[0].file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"features-2-of-2.npz.*damaged"):
        merge_shards(tmp_path)
    (again,) = shares(data, tmp_path, 2, [2])
    assert again.computed
    assert again.file.read_bytes() == whole


def test_a_share_of_other_settings_is_refused_and_stays(tmp_path):
    data = three_parts()
    (first,) = shares(data, tmp_path, 2, [1])
    before = first.file.read_bytes()
    with pytest.raises(ValueError, match="other images or with other settings"):
        shares(data, tmp_path, 2, [1], batch_size=5)
    assert first.file.read_bytes() == before
    (replaced,) = shares(data, tmp_path, 2, [1], batch_size=5, overwrite=True)
    assert replaced.computed


def change_a_label(data):
    data.train.labels[0] = 1


def change_a_pixel(data):
    data.train.images[0, 0, 0, 0] ^= 1


@pytest.mark.parametrize("change", [change_a_label, change_a_pixel])
def test_shares_of_other_data_are_not_merged(tmp_path, change):
    data = three_parts()
    shares(data, tmp_path, 2, [1])
    change(data)
    shares(data, tmp_path, 2, [2])
    # Of two nobody can say which is meant.
    told = r"features-1-of-2.npz, features-2-of-2.npz.*than each other.*--overwrite"
    with pytest.raises(ValueError, match=told):
        merge_shards(tmp_path)


def test_of_many_shares_the_one_that_differs_is_named(tmp_path):
    data = three_parts()
    shares(data, tmp_path, 3, [2, 3])
    change_a_label(data)
    shares(data, tmp_path, 3, [1])
    with pytest.raises(ValueError, match=r"`folder`.*='features-1-of-3.npz'.*the rest"):
        merge_shards(tmp_path)


def test_what_happens_to_unreadable_files_is_no_other_job(tmp_path):
    data = three_parts()
    shares(data, tmp_path, 2, [1], on_bad="skip")
    shares(data, tmp_path, 2, [2])
    assert_equal(merge_shards(tmp_path), extract(data=data, **OPTIONS))


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.delattr("kerastl.features.shards.prepare")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`output` must be a folder that can be"):
        extract_shard(output=tmp_path / "file" / "in", data="x", shard="1/2", **OPTIONS)


def test_texts_and_images_go_to_networks_of_their_own(tmp_path):
    with pytest.raises(ValueError, match=r'a network of texts.*="MiniText"'):
        extract("MobileNet", TextSet(["a fine film", "a dull one"]))
    with pytest.raises(ValueError, match="a network of images"):
        extract("MiniText", three_parts())


def test_a_missing_share_is_named(tmp_path):
    shares(three_parts(), tmp_path, 4, [1, 3])
    with pytest.raises(ValueError, match="--shard 2/4, 4/4"):
        merge_shards(tmp_path)


def test_shares_of_two_numbers_are_not_mixed(tmp_path):
    data = three_parts()
    shares(data, tmp_path, 1)
    shares(data, tmp_path, 2)
    with pytest.raises(ValueError, match="1 and 2 shares"):
        merge_shards(tmp_path)


def photos(folder, count=10):
    folder.mkdir()
    for number in range(count):
        Image.fromarray(pixels(1, 8, number)[0]).save(folder / f"{number}.png")
    return folder


def test_files_may_lie_elsewhere_on_another_machine(tmp_path):
    here, there = photos(tmp_path / "here"), tmp_path / "there"
    shares(here, tmp_path / "shares", 2, [1])
    here.rename(there)
    shares(there, tmp_path / "shares", 2, [2])
    expected = extract(data=there, **OPTIONS)
    made = merge_shards(tmp_path / "shares")
    np.testing.assert_array_equal(made.features, expected.features)


def test_a_file_that_cannot_be_read_is_left_out_of_its_share_alone(tmp_path):
    folder = photos(tmp_path / "photos")
    (folder / "7.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"7\.png"):
        done = shares(folder, tmp_path / "shares", 2, on_bad="skip")
    assert sum(share.images for share in done) == 9
    with pytest.warns(UserWarning, match="1 of 10 images were left out"):
        made = merge_shards(tmp_path / "shares")
    with pytest.warns(UserWarning, match=r"7\.png"):
        expected = extract(data=folder, **OPTIONS, on_bad="skip")
    assert_equal(made, expected)


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/3", "1/0", ""])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ValueError, match="shard"):
        read_shard(text)


def test_a_folder_without_shares_is_refused(tmp_path):
    with pytest.raises(ValueError, match="features-1-of-10"):
        merge_shards(tmp_path)
    with pytest.raises(FileNotFoundError, match="folder of shares"):
        merge_shards(tmp_path / "none")


def test_the_batches_of_a_share_are_those_of_one_run(tmp_path):
    # What comes out of this network depends on the whole batch: another cut of the
    # images into batches, or a smaller last batch, would show.
    images = keras.Input((32, 32, 3))
    centred = images - keras.ops.mean(images, axis=0, keepdims=True)
    network = keras.Model(images, layers.AveragePooling2D(4)(centred))
    network = adapt_backbone(network, preprocessing="none")
    data, options = three_parts(), {"backbone": network, "batch_size": 4}
    for number in range(1, 7):
        extract_shard(data=data, output=tmp_path, shard=f"{number}/6", **options)
    assert_equal(merge_shards(tmp_path), extract(data=data, **options))
