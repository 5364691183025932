"""Boxes: formats, what is no box, and the three kinds of files that hold them."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerastl import Augmentation, ImageSet, batches
from kerastl.data.annotations import read_coco, read_data_yaml, read_voc, read_yolo
from kerastl.data.audit import audit
from kerastl.data.augmentation import PRESETS
from kerastl.data.boxes import BOX_FORMATS, Boxes, convert_boxes, move_boxes
from kerastl.data.loading import load_images
from kerastl.data.splitting import split_set

SIZE = (60, 80)
TRUTH = np.array([[4.0, 6.0, 20.0, 30.0], [40.0, 10.0, 72.0, 58.0]])
NAMES = ("mug", "pen")


@pytest.mark.parametrize(("a", "b"), list(itertools.product(BOX_FORMATS, repeat=2)))
def test_conversions_are_mutually_inverse(a, b):
    boxes = convert_boxes(TRUTH, "xyxy", a, image_size=SIZE)
    there = convert_boxes(boxes, a, b, image_size=SIZE)
    back = convert_boxes(there, b, a, image_size=SIZE)
    np.testing.assert_allclose(back, boxes, atol=1e-12)


def test_the_formats_are_those_of_their_names():
    for form, expected in {
        "xywh": [4, 6, 16, 24],
        "cxcywh": [12, 18, 16, 24],
        "yxyx": [6, 4, 30, 20],
        "rel_xyxy": [4 / 80, 6 / 60, 20 / 80, 30 / 60],
    }.items():
        found = convert_boxes(TRUTH[0], "xyxy", form, image_size=SIZE)
        np.testing.assert_allclose(found, expected)


def test_shares_need_the_images_size():
    with pytest.raises(ValueError, match="`image_size` must be"):
        convert_boxes(TRUTH, "xyxy", "rel_xyxy")


@pytest.fixture
def root(tmp_path):
    """Two images, the second without objects, annotated in three ways."""
    for part in ("coco", "voc/JPEGImages", "voc/Annotations", "images", "labels"):
        (tmp_path / part).mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for folder in ("coco", "voc/JPEGImages", "images"):
        for name in ("a", "b"):
            Image.fromarray(noise).save(tmp_path / folder / f"{name}.png")
    write_coco(tmp_path / "coco" / "labels.json")
    for name, boxes in (("a", TRUTH), ("b", [])):
        objects = "".join(
            f"<object><name>{NAMES[i]}</name><bndbox><xmin>{box[0] + 1:g}</xmin>"
            f"<ymin>{box[1] + 1:g}</ymin><xmax>{box[2]:g}</xmax><ymax>{box[3]:g}</ymax>"
            "</bndbox></object>"
            for i, box in enumerate(boxes)
        )
        (tmp_path / "voc" / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.png</filename><size><width>80</width>"
            f"<height>60</height></size>{objects}</annotation>"
        )
    rows = convert_boxes(TRUTH, "xyxy", "rel_cxcywh", image_size=SIZE).tolist()
    lines = [f"{i} " + " ".join(map(repr, row)) for i, row in enumerate(rows)]
    (tmp_path / "labels" / "a.txt").write_text("\n".join(lines))
    (tmp_path / "labels" / "b.txt").write_text("")
    (tmp_path / "data.yaml").write_text(
        "# exported\ntrain: ../images  # beside\nnc: 2\nnames:\n  0: mug\n  1: 'pen'\n"
    )
    return tmp_path


def write_coco(path, change=lambda data: None):
    data = {
        "images": [
            {"id": 7, "file_name": "a.png", "height": 60, "width": 80},
            {"id": 9, "file_name": "b.png"},
        ],
        "annotations": [
            {"image_id": 7, "category_id": 44 - 41 * i, "bbox": box}
            for i, box in enumerate(convert_boxes(TRUTH, "xyxy", "xywh").tolist())
        ],
        # Ids with gaps, in no order: 3 is the first class.
        "categories": [{"id": 44, "name": "mug"}, {"id": 3, "name": "pen"}],
    }
    change(data)
    path.write_text(json.dumps(data))
    return path


def voc_files(root):
    return sorted((root / "voc" / "Annotations").glob("*.xml"))


def test_one_image_in_three_formats_loads_to_one_array(root):
    found = [
        read_coco(root / "coco" / "labels.json", class_names=NAMES),
        read_voc(voc_files(root)),
        read_yolo(root / "data.yaml")["train"],
    ]
    for each in found:
        assert each.class_names == NAMES
        assert [len(boxes) for boxes in each.labels.boxes] == [2, 0]
        np.testing.assert_allclose(each.labels.boxes[0], TRUTH, atol=1e-4)
        assert each.labels.classes[0].tolist() == [0, 1]
        assert each.labels.image_sizes.tolist() == [list(SIZE)] * 2
        assert [path[-5:] for path in each.paths] == ["a.png", "b.png"]


def test_category_ids_with_gaps_are_taken_by_name(root):
    found = read_coco(root / "coco" / "labels.json")
    assert found.class_names == ("pen", "mug")
    assert found.labels.classes[0].tolist() == [1, 0]


def test_coco_boxes_that_are_corners_are_noticed(root):
    def corners(data):
        for entry, box in zip(data["annotations"], TRUTH.tolist(), strict=True):
            entry["bbox"] = box

    file = write_coco(root / "coco" / "wrong.json", corners)
    with pytest.raises(ValueError, match="All fit as 'xyxy'"):
        read_coco(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["annotations"][0].update(image_id=8), "image_id 8"),
        (lambda d: d["annotations"][0].update(category_id=1), "category_id 1"),
        (lambda d: d.update(annotations=[]), "a COCO file with annotations"),
        (lambda d: d.pop("categories"), "images, annotations and categories"),
        (lambda d: d["images"][0].update(height=80, width=60), "80 x 60 pixels"),
        (lambda d: d["annotations"][0].update(bbox=[9, 9, -4, 8]), "wider and higher"),
        (lambda d: d["annotations"][0].update(bbox=[90, 9, 4, 8]), "inside their"),
    ],
)
def test_a_wrong_coco_file_is_one_sentence(root, change, message):
    file = write_coco(root / "coco" / "wrong.json", change)
    with pytest.raises(ValueError, match=message):
        read_coco(file)


def test_labels_that_name_no_image_are_refused(root):
    absent = write_coco(
        root / "coco" / "wrong.json", lambda d: d["images"][0].update(file_name="c.png")
    )
    with pytest.raises(FileNotFoundError, match="1 of 2 images"):
        read_coco(absent)
    (root / "images" / "a.png").rename(root / "images" / "c.png")
    (root / "images" / "b.png").rename(root / "images" / "d.png")
    with pytest.raises(ValueError, match=r"images with label files.*c\.txt"):
        read_yolo(root / "data.yaml")


def test_some_labels_without_an_image_are_said(root):
    (root / "images" / "a.png").rename(root / "images" / "c.png")
    (root / "labels" / "b.txt").write_text("0 0.5 0.5 0.2 0.2")
    with pytest.warns(UserWarning) as caught:
        read_yolo(root / "data.yaml")
    texts = " ".join(str(each.message) for each in caught)
    assert "without objects: 1 image" in texts
    assert "that name no image: 'a.txt'" in texts


def test_yolo_boxes_in_pixels_are_refused(root):
    (root / "labels" / "a.txt").write_text("0 12 18 16 24")
    with pytest.raises(ValueError, match="as shares of the image"):
        read_yolo(root / "data.yaml")
    (root / "labels" / "a.txt").write_text("2 0.5 0.5 0.2 0.2")
    with pytest.raises(ValueError, match="begin with a class"):
        read_yolo(root / "data.yaml")


def test_a_polygons_box_is_taken(root):
    (root / "labels" / "a.txt").write_text("1 0.1 0.2 0.5 0.2 0.3 0.6")
    found = read_yolo(root / "data.yaml")["train"].labels.boxes[0]
    np.testing.assert_allclose(found, [[8, 12, 40, 36]], atol=1e-5)


def test_boxes_without_area_and_crowds_are_left_out_and_said(root):
    def flat(data):
        data["annotations"][0]["bbox"] = [4, 6, 0, 9]
        data["annotations"] += [{**data["annotations"][1], "iscrowd": 1}]

    with pytest.warns(UserWarning) as caught:
        found = read_coco(write_coco(root / "coco" / "flat.json", flat))
    texts = " ".join(str(each.message) for each in caught)
    assert "1 box without area" in texts
    assert "1 box that are marked as crowds" in texts
    assert list(map(len, found.labels.boxes)) == [1, 0]


def test_a_data_yaml_is_read_in_each_of_its_usual_forms():
    flat = read_data_yaml("names: ['a b', \"c\", d]\nnc: 3\nval: x/images\n")
    assert flat == {"names": ["a b", "c", "d"], "nc": "3", "val": "x/images"}
    dashes = read_data_yaml("train:\n  - one\n  - two\nnames:\n- a\n- b # last\n")
    assert dashes == {"train": ["one", "two"], "names": ["a", "b"]}
    assert read_data_yaml("names: {0: a, 1: b}")["names"] == {"0": "a", "1": "b"}


def test_boxes_refuse_what_is_in_another_format():
    xywh = convert_boxes(TRUTH, "xyxy", "xywh")
    with pytest.raises(ValueError, match=r"wider and higher than 0.*read as 'xyxy'"):
        Boxes([[[40, 10, 32, 48]]], [[0]], NAMES, SIZE)
    with pytest.raises(ValueError, match="in pixels"):
        Boxes([TRUTH / 100], [[0, 1]], NAMES, SIZE)
    with pytest.raises(ValueError, match="inside their images"):
        Boxes([[[90, 10, 95, 20]]], [[0]], NAMES, SIZE)
    with pytest.raises(ValueError, match="finite"):
        Boxes([[[np.nan, 10, 95, 20]]], [[0]], NAMES, SIZE)
    with pytest.raises(TypeError, match="integers"):
        Boxes([TRUTH], [["mug", "pen"]], NAMES, SIZE)
    right = Boxes([xywh], [[0, 1]], NAMES, SIZE, format="xywh")
    np.testing.assert_array_equal(right.boxes[0], TRUTH)


def test_boxes_over_the_edge_are_cut_and_said():
    with pytest.warns(UserWarning, match="cut at the edges of their images: image 0"):
        cut = Boxes([[[-5, 4, 10, 20]]], [[0]], NAMES, SIZE)
    assert cut.boxes[0].tolist() == [[0, 4, 10, 20]]
    # Rounding is nothing to speak of.
    assert Boxes([[[-0.4, 4, 10, 20]]], [[0]], NAMES, SIZE).boxes[0][0, 0] == 0


def test_moved_boxes_are_clipped_and_slivers_dropped():
    random = np.random.default_rng(1)
    corners = random.uniform(0, 40, (200, 2))
    boxes = np.concatenate([corners, corners + random.uniform(2, 20, (200, 2))], 1)
    turn = np.deg2rad(20)
    matrix = [[np.cos(turn), -np.sin(turn), 25], [np.sin(turn), np.cos(turn), -30]]
    moved, stay = move_boxes(boxes, np.array(matrix), (40, 48))
    assert 0 < stay.sum() == len(moved) < 200
    assert ((moved[:, 2:] - moved[:, :2]) >= 1).all()
    assert moved.min() >= 0
    assert (moved <= [48, 40, 48, 40]).all()


def test_boxes_move_as_their_pixels_do():
    pixels = np.zeros((40, 50), bool)
    pixels[8:20, 12:31] = True
    flip = np.array([[-1.0, 0, 50], [0, 1, 0]])
    (moved,), _ = move_boxes([[12, 8, 31, 20]], flip, pixels.shape)
    rows, columns = np.nonzero(pixels[:, ::-1])
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert moved.tolist() == seen


CHANGES = {
    "shift": Augmentation(translation=0.3, fill="nearest"),
    "turn": Augmentation(flip=True, rotation=40, area=(0.7, 1.4), fill="nearest"),
    "window": "resized_crop",
}


def in_one_colour(count, size, seed=4):
    """Images of one white box each on black, and the boxes."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((count, *size, 3), np.uint8)
    boxes = np.zeros((count, 1, 4))
    for image in range(count):
        wide, tall = random.integers(10, 20, 2)
        left = random.integers(2, size[1] - 2 - wide)
        top = random.integers(2, size[0] - 2 - tall)
        pixels[image, top : top + tall, left : left + wide] = 255
        boxes[image] = left, top, left + wide, top + tall
    return ImageSet(pixels, Boxes(boxes, np.zeros((count, 1), int), ("it",), size))


def seen(image):
    """The box around what is white, with no more doubt than a pixel's."""
    rows, columns = np.nonzero(image > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def moved(images, augment, **options):
    data = batches(images, image_size=(48, 64), augment=augment, seed=0, **options)
    rows = [(i.numpy()[..., 0], t.numpy()) for i, t in data]
    return [np.concatenate(part) for part in zip(*rows, strict=True)]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_boxes_move_with_their_images(change):
    images = in_one_colour(24, (48, 64))
    if isinstance(change, str):
        fields = {**vars(PRESETS[change]), "brightness": 0, "contrast": 0}
        change = Augmentation(**{**fields, "saturation": 0})
    pixels, rows = moved(images, change)
    compared = 0
    for image, row in zip(pixels, rows[:, 0], strict=True):
        if row[4] < 0 or not (image > 127).any():
            continue
        # What is cut off is cut off of both.
        np.testing.assert_allclose(row[:4], seen(image), atol=2.1)
        compared += 1
    assert compared > 12
    still = np.stack(images.labels.boxes)[:, 0]
    assert np.abs(rows[:, 0, :4] - still).max() > 4


@pytest.mark.parametrize("resize", ["pad", "stretch", "crop"])
def test_boxes_are_resized_as_their_images(resize):
    images = in_one_colour(16, (100, 90))
    pixels, rows = moved(images, None, resize=resize)
    for image, row in zip(pixels, rows[:, 0], strict=True):
        if row[4] >= 0:
            np.testing.assert_allclose(row[:4], seen(image), atol=1.1)
    assert (rows[:, 0, 4] >= 0).sum() > 10


def test_a_set_of_boxes_is_cut_and_counted():
    boxes = [[[1, 1, 9, 9]] * (i % 3) for i in range(12)]
    labels = Boxes(boxes, [[0, 1][: i % 3] for i in range(12)], NAMES, (16, 16))
    pixels = np.arange(12, dtype=np.uint8).repeat(256).reshape(12, 16, 16)
    images = ImageSet(pixels, labels)
    # Images that show it; and objects.
    assert images.counts() == {"mug": 8, "pen": 4}
    assert labels.counts() == {"mug": 8, "pen": 4}
    train, held, _ = split_set(images, validation=0.25)
    assert len(train) + len(held) == 12
    assert sum(map(len, [*train.labels.boxes, *held.labels.boxes])) == 12
    # Padding is a class of -1, never a box.
    rows = labels.rows(np.arange(12), image_size=(32, 32), resize="stretch")
    assert rows.shape == (12, 2, 5)
    np.testing.assert_array_equal((rows[..., 4] >= 0).sum(axis=1), np.arange(12) % 3)
    np.testing.assert_allclose(rows[2, 0], [2, 2, 18, 18, 0])


def test_boxes_for_another_size_are_refused():
    with pytest.raises(ValueError, match="20 x 16 for image 0 of 16 x 16"):
        ImageSet(np.zeros((1, 16, 16)), Boxes([[]], [[]], NAMES, (16, 20)))


def test_each_kind_of_folder_is_recognised(root):
    noise = np.random.default_rng(1)
    for name in ("a", "b"):
        # Other pixels than the rest, or they would be copies.
        for folder in ("coco", "voc/JPEGImages", "images"):
            pixels = noise.integers(0, 256, (*SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{name}.png")
    yolo = root / "yolo"
    yolo.mkdir()
    for name in ("images", "labels", "data.yaml"):
        (root / name).rename(yolo / name)
    for folder in ("coco", "voc", "yolo"):
        train, validation, test = load_images(root / folder, validation=0.0)
        assert validation is test is None
        assert sorted(train.class_names) == list(NAMES)
        names = [train.class_names[k] for k in train.labels.classes[0]]
        assert names == list(NAMES)
        np.testing.assert_allclose(train.labels.boxes[0], TRUTH, atol=1e-4)
        assert train.name == folder


def test_the_parts_of_annotations_are_those_of_their_names(tmp_path):
    random = np.random.default_rng(0)
    for part, count in (("train", 4), ("valid", 2)):
        (tmp_path / part).mkdir()
        images = []
        for number in range(count):
            pixels = random.integers(0, 256, (*SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png"})
        data = {
            "images": images,
            "annotations": [
                {"image_id": k, "category_id": 5, "bbox": [4, 4, 20, 20]}
                for k in range(count - 1)
            ],
            # The ids of a name need not be the same in both.
            "categories": [{"id": 5, "name": "mug"}]
            if part == "train"
            else [{"id": 0, "name": "none"}, {"id": 5, "name": "mug"}],
        }
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(data))
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "loose.png")
    with pytest.warns(UserWarning) as caught:
        train, validation, _ = load_images(tmp_path)
    texts = " ".join(str(each.message) for each in caught)
    assert "1 image without annotations ('train/loose.png')" in texts
    assert "No image of folder/train shows 'none'" in texts
    assert (len(train), len(validation)) == (4, 2)
    assert train.class_names == ("mug", "none")
    assert train.counts() == {"mug": 3, "none": 0}
    assert sum(map(len, validation.labels.boxes)) == 1


def test_the_parts_of_voc_are_those_of_its_lists(root):
    lists = root / "voc" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    for name in ("a", "b"):
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(root / "voc" / "JPEGImages" / f"{name}.png")
    (root / "voc" / "Annotations" / "b.xml").write_text(
        (root / "voc" / "Annotations" / "a.xml").read_text().replace("a.png", "b.png")
    )
    train, validation, test = load_images(root / "voc")
    assert [Path(path).stem for path in (*train.paths, *validation.paths)] == ["a", "b"]
    assert test is None


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_an_audit_counts_objects_and_images_without(root, kind):
    found = audit(root / kind, smallest_class=1)
    assert (found.num_images, found.boxes) == (2, ())
    assert found.counts == {"mug": 1, "pen": 1} or found.counts == {"pen": 1, "mug": 1}
    assert "1 of 2 images have no object" in found.notes


def test_an_audit_names_a_class_without_an_object(root):
    extra = {"id": 5, "name": "cup"}
    write_coco(
        root / "coco" / "labels.json", lambda data: data["categories"].append(extra)
    )
    found = audit(root / "coco")
    assert found.boxes == ("no object of class 'cup'",)
    assert not found.ok
    assert "no object of class 'cup'" in str(found)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([10, 10, -4, 5], "wider and higher than 0"),
        ([100, 10, 20, 20], "inside their images"),
        ([0.1, 0.1, 0.2, 0.2], "in pixels"),
    ],
)
def test_an_audit_tells_what_keeps_boxes_from_being_read(root, box, said):
    def change(data):
        for each in data["annotations"]:
            each["bbox"] = box

    write_coco(root / "coco" / "labels.json", change)
    found = audit(root / "coco")
    assert len(found.boxes) == 1
    assert said in found.boxes[0]
    assert not found.ok
    assert (found.num_images, found.layout) == (2, ())
