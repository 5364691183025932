"""Folders of images and masks: read, cut, audited, and refused in one sentence."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerastl.data.audit import audit
from kerastl.data.inputs import open_data
from kerastl.data.masks import IGNORE, Masks
from kerastl.workflow import folder_labels

NAMES = ["ground", "block", "bar"]


def write(folder, count=6, seed=0, masks="masks", images="images", ending=""):
    """So many noisy images with masks of a block and a bar, and the masks."""
    random, made = np.random.default_rng(seed), []
    for place in (images, masks):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        mask = np.zeros((12, 16), np.uint8)
        mask[2:6, 3:9], mask[8:, :5], mask[0, 0] = 1, 2, IGNORE
        pixels = random.integers(0, 256, (12, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / images / f"{number}.png")
        Image.fromarray(mask).save(folder / masks / f"{number}{ending}.png")
        made.append(mask)
    return np.stack(made)


def name(folder, said=NAMES):
    (folder / "classes.json").write_text(json.dumps(said))


def test_a_folder_is_read_and_cut(tmp_path):
    masks = write(tmp_path, ending="_mask")
    name(tmp_path)
    train, validation, test = open_data(tmp_path, validation=0.33)
    assert (len(train), len(validation), test) == (4, 2, None)
    assert train.class_names == tuple(NAMES) and isinstance(train.labels, Masks)
    for part in (train, validation):
        for index, path in enumerate(part.paths):
            number = int(path.rsplit("/", 1)[-1].removesuffix(".png"))
            np.testing.assert_array_equal(part.labels.read(index), masks[number])
    assert train.counts() == dict.fromkeys(NAMES, 4)


@pytest.mark.parametrize("inner", [False, True])
def test_parts_are_kept(tmp_path, inner):
    for number, part in enumerate(("train", "val", "test")):
        if inner:
            given = {"images": f"images/{part}", "masks": f"masks/{part}"}
            write(tmp_path, 3, number, **given)
        else:
            write(tmp_path / part, 3, number)
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    parts = open_data(tmp_path)
    assert [len(part) for part in parts] == [3, 3, 3]
    for part, word in zip(parts, ("train", "val", "test"), strict=True):
        assert all(f"/{word}/" in path for path in (*part.paths, *part.labels.paths))


def test_names_may_be_left_out(tmp_path):
    write(tmp_path)
    assert open_data(tmp_path).train.class_names == ("0", "1", "2")


def test_white_on_black_is_said(tmp_path):
    masks = write(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        pixels = np.asarray(Image.open(path))
        Image.fromarray(((pixels == 1) * 255).astype("uint8")).save(path)
    with pytest.raises(ValueError, match=r"classes\.json"):
        open_data(tmp_path)
    name(tmp_path, {"names": ["no", "yes"]})
    with pytest.raises(ValueError, match=r"`values` in classes\.json"):
        open_data(tmp_path)
    name(tmp_path, {"names": ["no", "yes"], "values": {"0": 0, "255": 1}})
    train = open_data(tmp_path).train
    np.testing.assert_array_equal(train.labels.read(0), masks[0] == 1)


def test_masks_in_colours_bring_their_table(tmp_path):
    masks = write(tmp_path)
    table = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 90]], np.uint8)
    for path in (tmp_path / "masks").iterdir():
        pixels = np.asarray(Image.open(path))
        Image.fromarray(table[pixels * (pixels < 3)]).save(path)
    name(tmp_path)
    with pytest.raises(ValueError, match="Pass `colours`"):
        open_data(tmp_path)
    name(tmp_path, {"names": NAMES, "colours": table.tolist()})
    read = open_data(tmp_path).train.labels.read(0)
    np.testing.assert_array_equal(read, masks[0] * (masks[0] < 3))


def test_a_mask_of_no_image_is_an_error(tmp_path):
    write(tmp_path)
    (tmp_path / "masks/3.png").rename(tmp_path / "masks/three.png")
    with pytest.raises(ValueError, match=r"each name an image.*three\.png"):
        open_data(tmp_path)


def test_an_image_without_a_mask_is_said(tmp_path):
    write(tmp_path)
    name(tmp_path)
    (tmp_path / "masks/3.png").unlink()
    with pytest.warns(UserWarning, match="Not used: 1 image without a mask"):
        parts = open_data(tmp_path, validation=0.0)
    assert len(parts.train) == 5


def test_a_mask_of_another_size_is_an_error(tmp_path):
    write(tmp_path)
    name(tmp_path)
    Image.new("L", (8, 8)).save(tmp_path / "masks/1.png")
    with pytest.raises(ValueError, match="16 x 12 pixels, its mask 8 x 8"):
        open_data(tmp_path)


def test_values_outside_the_classes_are_an_error(tmp_path):
    write(tmp_path)
    name(tmp_path, NAMES[:2])
    with pytest.raises(ValueError, match=r"0.png.*\[2\].*ignore=2"):
        open_data(tmp_path)
    name(tmp_path, {"names": NAMES[:2], "ignore": 2})
    assert open_data(tmp_path).train.class_names == ("ground", "block")


def test_a_class_without_a_pixel_is_said(tmp_path):
    write(tmp_path)
    name(tmp_path, [*NAMES, "ghost"])
    with pytest.warns(UserWarning, match="No pixel is of some classes: ghost"):
        open_data(tmp_path)


def test_an_audit_finds_what_is_wrong_with_masks(tmp_path):
    write(tmp_path / "train")
    write(tmp_path / "val", seed=1)
    name(tmp_path, [*NAMES, "ghost"])
    copy = (tmp_path / "train/images/0.png").read_bytes()
    (tmp_path / "val/images/5.png").write_bytes(copy)
    Image.new("L", (8, 8)).save(tmp_path / "train/masks/1.png")
    Image.new("L", (16, 12), 77).save(tmp_path / "train/masks/2.png")
    found = audit(tmp_path)
    text = "\n".join(found.masks)
    assert "its mask 8 x 8" in text and "masks/2.png" in text and "[77]" in text
    assert "no pixel of class 'ghost'" in text and len(found.masks) == 3
    assert len(found.leaks) == 1 and not found.ok
    assert "masks: 3" in str(found)


def test_an_audit_of_good_masks_finds_nothing(tmp_path):
    write(tmp_path)
    name(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = audit(tmp_path)
    assert found.ok, str(found)
    assert found.counts == dict.fromkeys(NAMES, 6)


SCENES = Path(__file__).parents[2] / "data" / "scenes"


def test_the_bundled_scenes_have_masks_and_boxes_of_the_same_shapes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masked = open_data(SCENES, labels="masks")
        boxed = open_data(SCENES, labels="boxes")
    for masks, boxes in zip(masked, boxed, strict=True):
        assert masks.paths == boxes.paths
        assert masks.class_names == ("background", *boxes.class_names)
        for row in range(len(masks)):
            mask = masks.labels.read(row)
            inside = np.zeros_like(mask)
            pairs = zip(boxes.labels.boxes[row], boxes.labels.classes[row], strict=True)
            for (left, top, right, bottom), kind in pairs:
                part = mask[int(top) : int(bottom), int(left) : int(right)] == kind + 1
                # The box is the smallest around its shape.
                assert part[0].any() and part[-1].any()
                assert part[:, 0].any() and part[:, -1].any()
                inside[int(top) : int(bottom), int(left) : int(right)][part] = 1
            np.testing.assert_array_equal(inside == 1, mask > 0)


def test_of_masks_and_boxes_somebody_says_which():
    with pytest.raises(ValueError, match="--labels masks or boxes"):
        open_data(SCENES)
    assert folder_labels("segmentation", SCENES) == {"labels": "masks"}
    assert folder_labels("detection", str(SCENES)) == {"labels": "boxes"}
    assert folder_labels("auto", SCENES) == folder_labels("detection", "digits") == {}
    assert "Not looked at: boxes" in str(audit(SCENES))
    assert audit(SCENES, labels="boxes").notes == ()


def test_what_a_folder_does_not_have_is_refused(tmp_path):
    write(tmp_path)
    name(tmp_path)
    with pytest.raises(ValueError, match=r"what is in the folder: masks\. .*'boxes'"):
        open_data(tmp_path, labels="boxes")
    (tmp_path / "cats").mkdir()
    with pytest.raises(ValueError, match="neither masks nor boxes"):
        open_data(tmp_path / "cats", labels="masks")
    with pytest.raises(ValueError, match="None for data that are no folder"):
        open_data("digits", labels="masks")
