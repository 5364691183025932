"""Folders become splits that are disjoint by path and by content."""

import os
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from kerastl.data.audit import audit
from kerastl.data.loading import load_images

COLOURS = iter(range(10**9))


def write(path, value=None, size=8):
    """One image; different from all others unless a value is given."""
    value = next(COLOURS) if value is None else value
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (value % 256, value // 256 % 256, value // 65536 % 256)
    image = Image.new("RGB", (size, size), colour)
    image.putpixel((0, 0), tuple(255 - each for each in colour))
    image.putpixel((1, 0), (0, 0, 0))
    image.putpixel((2, 0), (255, 255, 255))
    image.save(path)
    return path


@pytest.fixture
def pets(tmp_path):
    """Ten cats and ten dogs."""
    for name in ("cat", "dog"):
        for i in range(10):
            write(tmp_path / name / f"{i}.png")
    return tmp_path


@pytest.fixture
def parts(tmp_path):
    """train and test with two classes each."""
    for part, count in (("train", 10), ("test", 3)):
        for name in ("cat", "dog"):
            for i in range(count):
                write(tmp_path / part / name / f"{i}.png")
    return tmp_path


def contents(image_set):
    return {Path(path).read_bytes() for path in image_set.paths}


def assert_disjoint(splits):
    found = [part for part in splits if part is not None]
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            assert not set(one.paths) & set(other.paths)
            assert not contents(one) & contents(other)


def test_splits_made_here_are_disjoint_and_hold_each_class(pets):
    splits = load_images(pets, validation=0.2, test=0.2)
    assert_disjoint(splits)
    assert [len(part) for part in splits] == [12, 4, 4]
    for part in splits:
        assert min(part.counts().values()) >= 1


@pytest.mark.parametrize("read", [load_images, audit])
def test_a_folder_is_listed_once(pets, read, monkeypatch):
    listed, iterdir = [], Path.iterdir

    def listing(folder):
        listed.append(folder)
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", listing)
    read(pets)
    # The folder itself is looked into before, for texts.
    assert sorted(each.name for each in listed if each != pets) == ["cat", "dog"]


def test_labels_belong_to_their_folders(pets):
    train, *_ = load_images(pets)
    for path, label in zip(train.paths, train.labels, strict=True):
        assert f"/{train.class_names[label]}/" in path


def test_the_same_seed_gives_the_same_paths_and_another_others(pets):
    first, again, other = (
        load_images(pets, seed=seed).validation.paths for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_classes_and_files_are_in_natural_order(tmp_path):
    for name in ("10", "2", "1"):
        for i in range(11):
            write(tmp_path / name / f"{i}.png")
    train, *_ = load_images(tmp_path, validation=0)
    assert train.class_names == ("1", "2", "10")
    names = [path.rsplit("/", 1)[1] for path in train.paths[:11]]
    assert names == [f"{i}.png" for i in range(11)]


def test_copies_stay_together(pets):
    for i in range(5):
        shutil.copy(pets / "cat" / f"{i}.png", pets / "cat" / f"copy{i}.png")
    for seed in range(8):
        assert_disjoint(load_images(pets, seed=seed, validation=0.3, test=0.2))


def test_copies_under_two_labels_are_dropped_with_one_warning(pets):
    shutil.copy(pets / "cat" / "3.png", pets / "dog" / "twin.png")
    with pytest.warns(UserWarning, match=r"cat/3\.png = .*dog/twin\.png") as caught:
        splits = load_images(pets)
    assert len(caught) == 1
    assert len(splits.train) + len(splits.validation) == 19


@pytest.mark.parametrize("kind", ["function", "mapping"])
def test_groups_never_straddle(pets, kind):
    def group(path):
        return path.split("/")[0] + str(int(path.split("/")[1][:-4]) // 2)

    keys = group
    if kind == "mapping":
        keys = {
            f"{c}/{i}.png": group(f"{c}/{i}.png")
            for c in ("cat", "dog")
            for i in range(10)
        }
    train, validation, _ = load_images(pets, groups=keys)
    homes = [
        {group("/".join(path.split("/")[-2:])) for path in part.paths}
        for part in (train, validation)
    ]
    assert not homes[0] & homes[1]


def test_a_mapping_without_a_path_is_refused(pets):
    with pytest.raises(ValueError, match="a key for each image's path"):
        load_images(pets, groups={"cat/0.png": 1})


def test_groups_of_another_kind_are_refused(pets):
    with pytest.raises(TypeError, match="a function or a mapping"):
        load_images(pets, groups=[1, 2])


def test_a_test_folder_is_used_whole_and_validation_is_cut_from_train(parts):
    splits = load_images(parts)
    assert [len(part) for part in splits] == [16, 4, 6]
    assert all("/train/" in path for path in splits.validation.paths)
    assert_disjoint(splits)


VALIDATION = ["val", "valid", "validation", "Val", "dev", "eval", "Evaluation", "VAL-2"]


@pytest.mark.parametrize("name", VALIDATION)
def test_a_validation_folder_is_used_whole(parts, name):
    (parts / "test").rename(parts / name)
    splits = load_images(parts)
    assert [len(splits.train), len(splits.validation), splits.test] == [20, 6, None]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("train", "test1"),
        ("seg_train", "seg_test"),
        ("train_images", "test_images"),
        ("cats-Train-2019", "cats-Test-2019"),
        ("traindata", "testdata"),
    ],
)
def test_parts_by_other_names_are_parts(parts, train, test):
    for name, other in (("train", train), ("test", test)):
        (parts / name).rename(parts / other)
    assert [len(part) for part in load_images(parts)] == [16, 4, 6]


def test_parts_may_hold_a_folder_of_their_name(parts):
    for part in ("train", "test"):
        (parts / part).rename(parts / "inner")
        (parts / f"seg_{part}").mkdir()
        (parts / "inner").rename(parts / f"seg_{part}" / f"seg_{part}")
    with pytest.warns(UserWarning, match=r"classes of 'seg_t.*seg_t\w*/seg_t"):
        splits = load_images(parts)
    assert [len(part) for part in splits] == [16, 4, 6]


@pytest.mark.parametrize(
    "names", [("train", "bus"), ("freight_train", "passenger_train"), ("test", "text")]
)
@pytest.mark.parametrize("inside", ["", "images/"])
def test_a_class_may_be_called_train(tmp_path, names, inside):
    for name in names:
        for i in range(5):
            write(tmp_path / name / f"{inside}{i}.png")
    assert load_images(tmp_path).class_names == tuple(sorted(names))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (["Testing/cat", "test/dog"], r"one folder a part, not 'Testing', 'test'"),
        (["val/cat", "dev/cat"], "one folder a part, not 'dev', 'val'"),
    ],
)
def test_two_folders_of_one_part_are_refused(parts, made, words):
    for place in made:
        write(parts / place / "0.png")
    with pytest.raises(ValueError, match=words):
        load_images(parts)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (["val/a", "val/b", "test/a", "test/b"], "named as parts.*one of them train"),
        (["train", "test1"], "named as parts.*a folder of its own inside"),
        (["seg_train", "seg_test"], "named as parts"),
        (["train", "validation", "test/a", "test/b"], "named as parts"),
        (["train"], "named as parts"),
        (["cat/train", "cat/test", "dog/train"], "without parts inside its classes"),
        (["one/a", "one/b", "two/a", "two/b"], "If 'a', 'b' are the classes"),
        (["train/one/a", "train/one/b", "train/two/a", "train/two/b"], "If 'a', 'b'"),
        (["pets/a", "pets/b"], "Did you mean '.*/pets'"),
        (["zip/pets/train/a", "zip/pets/train/b"], "Did you mean '.*/zip/pets'"),
        (["zip/pets/train/a", "zip/pets/test/a"], "Did you mean '.*/zip/pets'"),
    ],
)
def test_what_is_no_folder_of_classes_says_what_was_meant(tmp_path, made, words):
    for place in made:
        for i in range(3):
            write(tmp_path / place / f"{i}.png")
    with pytest.raises(ValueError, match=words):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("test2019/0.png", None),
        ("extra/0.png", r"Not used: 'extra' \(1 image\)\."),
        ("holdout/cat/0.png", r"'holdout' \(1 image\)"),
        ("labels/a.txt", r"'labels' \(no images\)"),
        ("0.png", r"1 image in no class folder \('0.png'\)"),
        ("train/0.png", r"1 image in no class folder \('train/0.png'\)"),
    ],
)
def test_what_lies_beside_the_parts_is_said(parts, made, words):
    if words is None:
        shutil.rmtree(parts / "test")
        words = r"Not used: 'test2019' \(1 image\)\."
    write(parts / made.replace(".txt", ".png"))
    if made.endswith(".txt"):
        (parts / made).with_suffix(".png").rename(parts / "train/cat/new.png")
    with pytest.warns(UserWarning, match=words) as caught:
        load_images(parts)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (["animals/cat", "animals/dog", "plants/oak"], 1),
        (["animals", "plants/oak"], 1),
        (["animals/images", "plants/images"], 0),
        (["animals", "plants"], 0),
    ],
)
def test_two_levels_of_classes_are_said(tmp_path, made, said):
    for place in made:
        for i in range(4):
            write(tmp_path / place / f"{i}.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert load_images(tmp_path).class_names == ("animals", "plants")
    assert ["first level of folders" in str(each.message) for each in caught] == [
        True
    ] * said


@pytest.mark.parametrize("place", ["out", "cat/out", "train/old/out"])
@pytest.mark.parametrize(
    "left", [["model.keras"], ["report.json", "history.csv"], [".kerastl-run"]]
)
def test_what_kerastl_wrote_is_never_a_class(pets, place, left):
    write(pets / place / "confusion.png")
    for name in left:
        (pets / place / name).touch()
    if place.startswith("train"):
        write(pets / "train" / "0.png")
        write(pets / "train" / "1.png")
    with pytest.warns(UserWarning, match=f"Left out what kerastl wrote: '{place}'"):
        train, *_ = load_images(pets, validation=0)
    assert len(train) == 20 + 2 * place.startswith("train")


def test_files_that_are_no_images_are_counted_in_one_line(pets):
    for name in ("cat/a.txt", "dog/b.txt", "dog/c.csv"):
        (pets / name).write_text("no picture")
    with pytest.warns(
        UserWarning, match=r"Left out 3 files.*\.txt 2, \.csv 1"
    ) as found:
        load_images(pets)
    assert len(found) == 1


def black_on_black(index):
    """Pictures in different files, each black all over."""
    return Image.new("RGBA", (8 + index, 8), (0, 0, 0, 255))


def flat(index):
    """Another colour each, the same all over."""
    return Image.new("RGB", (8, 8), (index, 99, 3))


def deep(index):
    """Ten bits in sixteen."""
    levels = np.arange(index, 64 + index, dtype="uint16").reshape(8, 8) * 14
    return Image.fromarray(levels)


def same(index):
    """One drawing under different texts."""
    image = Image.linear_gradient("L")
    image.info["comment"] = str(index)
    return image


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (black_on_black, r"of one colour \(4\).*owl/0.png"),
        (flat, r"of one colour \(4\).*owl/0.png"),
        (deep, r"less than 16 of 256 levels.*\(4\).*owl/0.png"),
        (same, "Classes whose images all show the same: 'owl'"),
    ],
)
def test_images_with_nothing_to_see_are_said(pets, draw, words):
    (pets / "owl").mkdir()
    for i in range(4):
        info = PngImagePlugin.PngInfo()
        info.add_text("number", str(i))
        draw(i).save(pets / "owl" / f"{i}.png", pnginfo=info)
    with pytest.warns(UserWarning, match=words) as caught:
        load_images(pets)
    assert len(caught) == 1
    report = audit(pets, smallest_class=4)
    assert not report.ok
    assert re.search(words, str(report))


@pytest.mark.parametrize("side", [8, 300])
def test_fine_patterns_are_no_single_colour(pets, side):
    checks = (np.indices((side, side)).sum(axis=0) % 2 * 255).astype("uint8")
    for i in range(3):
        shade = np.where(checks > 0, 200 + i, 20).astype("uint8")
        Image.fromarray(shade).save(pets / "cat" / f"{i}.jpg", quality=95)
    load_images(pets)


@pytest.mark.parametrize("given", [{"cat": ["0.png"]}, 3, ["cat", "dog"]])
def test_what_is_no_path_is_refused(given):
    with pytest.raises(TypeError, match="`folder` must be the path of a folder"):
        load_images(given)


@pytest.mark.parametrize("place", [b"\xff", b"\xe9t\xe9"])
def test_a_class_name_that_is_no_text_is_refused(pets, place):
    write(pets / os.fsdecode(place) / "0.png")
    with pytest.raises(ValueError, match="names in UTF-8"):
        load_images(pets)


def test_a_leak_is_dropped_from_train_and_named(parts):
    shutil.copy(parts / "test" / "cat" / "0.png", parts / "train" / "cat" / "leak.png")
    with pytest.warns(UserWarning, match=r"leak\.png = .*test/cat/0\.png"):
        splits = load_images(parts)
    assert_disjoint(splits)
    assert [len(part) for part in splits] == [16, 4, 6]


def test_a_leak_under_another_label_is_dropped_too(parts):
    shutil.copy(parts / "test" / "cat" / "0.png", parts / "train" / "dog" / "leak.png")
    with pytest.warns(UserWarning, match=r"leak\.png"):
        assert_disjoint(load_images(parts))


def test_a_leak_from_validation_to_test_is_dropped_from_validation(parts):
    shutil.copytree(parts / "test", parts / "val")
    for path in (parts / "val").rglob("*.png"):
        if path.name != "0.png":
            write(path)
    with pytest.warns(UserWarning, match=r"Dropped 2 images.*val/cat/0\.png"):
        splits = load_images(parts)
    assert [len(part) for part in splits] == [20, 4, 6]
    assert_disjoint(splits)


def test_a_leak_can_be_an_error(parts):
    shutil.copy(parts / "test" / "cat" / "0.png", parts / "train" / "cat" / "leak.png")
    with pytest.raises(ValueError, match=r"share no image.*leak\.png"):
        load_images(parts, on_leak="error")


def test_a_group_in_two_brought_parts_leaks(parts):
    def camera(path):
        return "shared" if path in ("train/cat/4.png", "test/dog/1.png") else path

    with pytest.warns(UserWarning, match=r"Dropped 1 image.*train/cat/4\.png"):
        splits = load_images(parts, groups=camera)
    assert not any(path.endswith("train/cat/4.png") for path in splits.train.paths)


def test_without_faults_nothing_warns(parts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_images(parts)


def test_a_class_that_a_brought_part_lacks_is_named(parts):
    shutil.rmtree(parts / "test" / "dog")
    with pytest.raises(ValueError, match=r"folder/test.*without \['dog'\]"):
        load_images(parts)


def test_a_class_that_leaks_away_is_named(tmp_path):
    for name in ("cat", "dog"):
        write(tmp_path / "train" / name / "0.png")
    shutil.copytree(tmp_path / "train" / "cat", tmp_path / "test" / "cat")
    write(tmp_path / "test" / "dog" / "0.png")
    with (
        pytest.warns(UserWarning, match="Dropped 1"),
        pytest.raises(ValueError, match=r"without \['cat'\]"),
    ):
        load_images(tmp_path, validation=0)


@pytest.mark.parametrize("place", ["missing", "a.txt"])
def test_a_missing_folder_is_named(tmp_path, place):
    (tmp_path / "a.txt").touch()
    with pytest.raises(FileNotFoundError, match=place):
        load_images(tmp_path / place)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="It is empty"):
        load_images(tmp_path)


def test_class_folders_without_images_are_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    with pytest.raises(FileNotFoundError, match="a folder with images"):
        load_images(tmp_path)


def test_images_outside_class_folders_are_refused(tmp_path):
    write(tmp_path / "0.png")
    with pytest.raises(ValueError, match="a folder of their own"):
        load_images(tmp_path)


def test_one_class_is_refused(tmp_path):
    write(tmp_path / "cat" / "0.png")
    with pytest.raises(ValueError, match="The only class folder is 'cat'"):
        load_images(tmp_path)


def test_one_image_in_a_class_is_refused(pets):
    write(pets / "owl" / "0.png")
    with pytest.raises(ValueError, match="Class 'owl' has 1"):
        load_images(pets)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], r"owl \(no file\)"),
        (["a.txt", "b.txt", "c"], r"owl \(no image among .txt 2, no ending 1\)"),
        ([".DS_Store"], r"owl \(no file\)"),
    ],
)
def test_an_empty_class_is_refused_with_the_reason(pets, names, words):
    (pets / "owl").mkdir()
    for name in names:
        (pets / "owl" / name).write_text("no picture")
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match=f"classes with images.*{words}"),
    ):
        warnings.simplefilter("ignore")
        load_images(pets)


@pytest.fixture
def spoilt(pets):
    """A text file named .jpg and a JPEG that ends in the middle of the set."""
    (pets / "cat" / "5a.jpg").write_text("not an image")
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), "uint8")
    Image.fromarray(noise).save(pets / "dog" / "5b.jpg")
    whole = (pets / "dog" / "5b.jpg").read_bytes()
    (pets / "dog" / "5b.jpg").write_bytes(whole[: len(whole) // 2])
    return pets


@pytest.mark.parametrize(
    "words", [r"5a\.jpg \(not an image by its content\)", r"5b\.jpg \(.*[Tt]runcated"]
)
def test_files_that_cannot_be_decoded_are_named(spoilt, words):
    with pytest.raises(ValueError, match=words):
        load_images(spoilt)


def test_files_that_cannot_be_decoded_can_be_skipped(spoilt):
    with pytest.warns(UserWarning, match=r"Skipped 2 files.*5a\.jpg.*5b\.jpg"):
        train, validation, _ = load_images(spoilt, on_bad="skip")
    assert len(train) + len(validation) == 20


def test_files_beside_the_class_folders_are_not_used(pets):
    (pets / "README.md").touch()
    write(pets / "cover.png")
    write(pets / ".cache" / "0.png")
    with pytest.warns(UserWarning, match=r"no class folder \('cover.png'\)") as caught:
        train, *_ = load_images(pets, validation=0)
    assert len(caught) == 1
    assert len(train) == 20


@pytest.mark.parametrize("name", ["on_bad", "on_leak"])
def test_unknown_choices_are_refused(pets, name):
    with pytest.raises(ValueError, match=f"`{name}` must be one of"):
        load_images(pets, **{name: "explode"})


def test_progress_counts_the_files(pets):
    seen = []
    load_images(pets, progress=lambda *done: seen.append(done))
    assert seen[-1] == (20, 20)
