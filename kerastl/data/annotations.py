"""Files that say where objects are: COCO's json, PASCAL VOC's xml, YOLO's text."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import fail, warn
from kerastl.data.boxes import Boxes, convert_boxes
from kerastl.data.decoding import is_image, upright_size
from kerastl.data.folders import PARTS, Folder, few, part_of
from kerastl.data.mask_folders import mask_files
from kerastl.data.sets import FolderImages, ImageSet, counted, natural_key

_CROWD = "Left out {} that are marked as crowds or as difficult, in {}."


@dataclass
class _Image:
    """One image and its objects as a file names them."""

    path: Path
    boxes: list[Sequence[float]]
    names: list[str]
    size: tuple[int, int] | None = None


def read_coco(
    file: str | Path,
    *,
    images: str | Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """The images and boxes of a COCO json file.

    Its category ids may have gaps and begin anywhere: classes are the categories in the
    order of their ids, and files are brought together by the categories' names.

    Args:
        file: Holds `images`, `annotations` with `bbox` (left, top, width, height in
            pixels) and `categories`.
        images: Folder of the images; None: the file's own, or `images` beside it.
        class_names: Order of the classes; None: the file's.

    Returns:
        All images of the file, those without objects too.

    Raises:
        ValueError: If the file holds no annotation, one names an image or a category
            that the file lacks, or a box does not fit its image.
        FileNotFoundError: If an image is not there.
    """
    file = Path(file)
    data = _json(file)
    where = str(file)
    names = _categories(data["categories"], where)
    rows: dict[Any, _Image] = {}
    places = _places(file, images)
    for entry in data["images"]:
        path = _find(str(entry["file_name"]), places)
        size = (entry.get("height"), entry.get("width"))
        known = None if None in size else (int(size[0]), int(size[1]))
        if entry["id"] in rows:
            fail("file", "one image an id", f"id {entry['id']} twice in {where}")
        rows[entry["id"]] = _Image(path, [], [], known)
    _check_there([row.path for row in rows.values()], where)
    crowds = 0
    for entry in data["annotations"]:
        if entry.get("image_id") not in rows:
            shown = f"image_id {entry.get('image_id')!r} in {where}"
            hint = f"It lists {counted(len(rows))}."
            fail("file", "boxes of images that the file lists", shown, hint)
        if entry.get("category_id") not in names:
            shown = f"category_id {entry.get('category_id')!r} in {where}"
            hint = f"It has {', '.join(f'{k}: {v}' for k, v in names.items())}."
            fail("file", "boxes of categories that the file lists", shown, hint)
        if "bbox" not in entry:
            fail("file", "annotations with a `bbox`", f"one without in {where}")
        if entry.get("iscrowd"):
            crowds += 1
            continue
        row = rows[entry["image_id"]]
        row.boxes.append(entry["bbox"])
        row.names.append(names[entry["category_id"]])
    if crowds:
        warn(_CROWD.format(counted(crowds, "box"), where))
    order = tuple(class_names or names.values())
    return _annotated(list(rows.values()), order, "xywh", where)


def _json(file: Path) -> dict[str, Any]:
    """The file's contents, with all three lists."""
    where = str(file)
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        fail("file", "a COCO file of JSON", where, f"{error}.")
    if is_coco(data):
        for name in ("annotations", "images"):
            if not data[name]:
                hint = "Nothing could be learnt from it."
                fail("file", f"a COCO file with {name}", f"none in {where}", hint)
        return data
    hint = f"It holds {few(data)}." if isinstance(data, dict) else ""
    expected = "a COCO file with images, annotations and categories"
    return fail("file", expected, where, hint)


def is_coco(data: Any) -> bool:
    """Whether the contents of a JSON file are those of a COCO data set."""
    keys = ("images", "annotations", "categories")
    return isinstance(data, Mapping) and all(
        isinstance(data.get(key), list) for key in keys
    )


def _categories(entries: Iterable[Mapping[str, Any]], where: str) -> dict[int, str]:
    """Id -> name, in the order of the ids."""
    found = {entry["id"]: str(entry["name"]) for entry in entries}
    if len(set(found.values())) != len(found) or not found:
        fail("file", "categories of different names", f"{few(found.values())}, {where}")
    return {key: found[key] for key in sorted(found)}


def _places(file: Path, images: str | Path | None) -> list[Path]:
    """Folders in which an annotation file's images may lie."""
    if images is not None:
        return [Path(images)]
    around = [file.parent, file.parent.parent]
    inner = [folder / "images" for folder in around]
    named = [folder / name for folder in (*around, *inner) for name in (file.stem,)]
    short = re.sub(r"^(instances_|_?annotations?[._]?)", "", file.stem)
    named += [folder / short for folder in (*around, *inner) if short]
    return [*around[:1], *inner, *named, *around[1:]]


def _find(name: str, places: Sequence[Path]) -> Path:
    """The file of that name in the first folder that has it, else in the first."""
    name = name.replace("\\", "/")
    for place in places:
        if (place / name).is_file():
            return place / name
    short = name.rpartition("/")[2]
    for place in places:
        if (place / short).is_file():
            return place / short
    return places[0] / name


def _check_there(paths: Sequence[Path], where: str) -> None:
    """Raise where annotations name images that are not there."""
    absent = [path for path in paths if not path.is_file()]
    if absent:
        named = few(str(path) for path in absent)
        hint = f"{len(absent)} of {len(paths)} images of {where} are not there."
        fail("file", "labels of images that exist", named, hint, FileNotFoundError)


def _annotated(
    rows: list[_Image], class_names: tuple[str, ...], form: str, where: str
) -> ImageSet:
    """The rows as one set of boxes; what has no area is left out, and said."""
    known = set(class_names)
    strange = sorted({name for row in rows for name in row.names} - known)
    if strange:
        hint = f"Known are {few(class_names)}."
        fail("file", "of classes that are named", f"{few(strange)} in {where}", hint)
    if not any(row.boxes for row in rows):
        hint = "Nothing could be learnt from it."
        fail("file", "labels with at least one box", f"none in {where}", hint)
    empty: list[str] = []
    boxes, classes, sizes = [], [], []
    for row in rows:
        size = upright_size(str(row.path))
        if row.size is not None and row.size != size:
            stated = f"{row.size[1]} x {row.size[0]} in {where}"
            hint = f"{str(row.path)!r} has {size[1]} x {size[0]} pixels."
            fail("file", "of the images' own sizes", stated, hint)
        given = np.reshape(row.boxes, (-1, 4))
        corners = convert_boxes(given, form, "xyxy", image_size=size)
        flat = (corners[:, 2:] == corners[:, :2]).any(axis=1)
        empty += [row.path.name] * int(flat.sum())
        boxes.append(given[~flat])
        kept = [name for name, gone in zip(row.names, flat, strict=True) if not gone]
        classes.append(np.array([class_names.index(name) for name in kept], np.int64))
        sizes.append(size)
    if empty:
        warn(f"Left out {counted(len(empty), 'box')} without area, in {few(empty)}.")
    paths = tuple(str(row.path) for row in rows)
    made = Boxes(boxes, classes, class_names, sizes, format=form, names=paths)
    return ImageSet(paths, made)


def read_voc(
    files: Sequence[str | Path],
    *,
    images: str | Path | None = None,
    class_names: Sequence[str] | None = None,
) -> ImageSet:
    """The images and boxes of PASCAL VOC's xml files, one an image.

    Their pixels are counted from 1, and the last one belongs to the box: `xmin` and
    `ymin` less 1 are the left and top edge, `xmax` and `ymax` the right and bottom.

    Args:
        files: The xml files.
        images: Folder of the images; None: `JPEGImages` or `images` beside the xml's
            folder, or that folder.
        class_names: Order of the classes; None: the natural order of their names.

    Returns:
        One image a file.

    Raises:
        ValueError: If a file is no such xml, none holds a box, or a box does not fit.
        FileNotFoundError: If an image is not there.
    """
    rows, difficult = [], 0
    for file in map(Path, files):
        root = _xml(file)
        places = [Path(images)] if images is not None else _voc_places(file)
        row = _Image(_voc_image(root, file, places), [], [])
        width, height = (
            _number(root, f"size/{side}", file) for side in ("width", "height")
        )
        if width and height:
            row.size = int(height), int(width)
        for item in root.iter("object"):
            if (item.findtext("difficult") or "0").strip() == "1":
                difficult += 1
                continue
            corners = [
                _number(item, f"bndbox/{key}", file)
                for key in ("xmin", "ymin", "xmax", "ymax")
            ]
            name = (item.findtext("name") or "").strip()
            if None in corners or not name:
                expected = "objects with a name and xmin, ymin, xmax, ymax"
                fail("file", expected, f"one without in {file}")
            left, top, right, bottom = corners
            row.boxes.append((max(left - 1, 0), max(top - 1, 0), right, bottom))
            row.names.append(name)
        rows.append(row)
    where = f"{few(Path(file).name for file in files)}"
    if not rows:
        fail("files", "at least one xml file", list(files))
    _check_there([row.path for row in rows], where)
    if difficult:
        warn(_CROWD.format(counted(difficult, "box"), where))
    found = sorted({name for row in rows for name in row.names}, key=natural_key)
    return _annotated(rows, tuple(class_names or found), "xyxy", where)


def _xml(file: Path) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(file.read_bytes())
    except ElementTree.ParseError as error:
        fail("file", "an xml file of PASCAL VOC", str(file), f"{error}.")
    if root.tag != "annotation":
        fail("file", "an xml file of PASCAL VOC", f"{file} with <{root.tag}>")
    return root


def _number(item: ElementTree.Element, key: str, file: Path) -> float | None:
    text = item.findtext(key)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return fail("file", f"numbers for {key}", f"{text!r} in {file}")


def _voc_places(file: Path) -> list[Path]:
    outer = file.parent.parent
    return [outer / "JPEGImages", outer / "images", file.parent, outer]


def _voc_image(root: ElementTree.Element, file: Path, places: list[Path]) -> Path:
    """The image that an xml file is about: of the name it says, or of its own."""
    said = (root.findtext("filename") or "").strip()
    found = _find(said, places) if said else file
    if said and found.is_file():
        return found
    # Files are renamed, and what they say inside is not.
    for place in places:
        for path in sorted(place.glob(f"{_escaped(file.stem)}.*")):
            if path.suffix.lower() != ".xml" and is_image(path):
                return path
    return found


def _escaped(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def read_yolo(file: str | Path) -> dict[str, ImageSet]:
    """The parts of a YOLO data set from its `data.yaml`.

    Of the file the keys `path`, `train`, `val`, `test`, `names` and `nc` are read; it
    needs no YAML package. The labels of `images/a.jpg` are in `labels/a.txt`, a line an
    object: class, centre x and y, width, height, as shares of the image; or class and
    the corners of a polygon, whose box is taken. An image without a file has no object.

    Args:
        file: `data.yaml`.

    Returns:
        `"train"`, `"validation"`, `"test"`, as far as the file names them.

    Raises:
        ValueError: If names lack, no label file belongs to an image, or a line is no
            such line.
        FileNotFoundError: If a folder or an image is not there.
    """
    file = Path(file)
    said = read_data_yaml(file.read_text(encoding="utf-8-sig"))
    names = _yolo_names(said, file)
    found = {}
    for key, part in (("train", "train"), ("val", "validation"), ("test", "test")):
        if said.get(key):
            paths = _yolo_images(file, str(said.get("path") or ""), said[key])
            found[part] = _yolo_part(paths, names, f"{key} of {file}")
    if "train" not in found:
        fail("file", "a data.yaml that names `train`", str(file))
    return found


def read_data_yaml(text: str) -> dict[str, Any]:
    """The keys of a `data.yaml`: texts, lists of texts, and mappings of numbers.

    Only what such files hold: `key: value`, `key: [a, b]`, `key: {0: a}`, and indented
    `- a` or `0: a` below a key.
    """
    found: dict[str, Any] = {}
    key = ""
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).rstrip()
        if not line.strip() or line.startswith("---"):
            continue
        inner = line.strip()
        if inner.startswith("- "):
            found[key] = [*(found.get(key) or []), _plain(inner[2:])]
            continue
        name, _, value = (each.strip() for each in inner.partition(":"))
        if line[0].isspace():
            entries = found[key] if isinstance(found.get(key), dict) else {}
            found[key] = {**entries, _plain(name): _plain(value)}
            continue
        key = _plain(name)
        found[key] = _value(value)
    return found


def _plain(text: str) -> str:
    return text.strip().strip("'\"")


def _value(text: str) -> Any:
    """A text, a list in brackets or a mapping in braces."""
    if text.startswith("[") and text.endswith("]"):
        inner = re.findall(r"'[^']*'|\"[^\"]*\"|[^,]+", text[1:-1])
        return [_plain(each) for each in inner if each.strip()]
    if text.startswith("{") and text.endswith("}"):
        pairs = [each.partition(":") for each in text[1:-1].split(",") if each.strip()]
        return {_plain(key): _plain(value) for key, _, value in pairs}
    return _plain(text)


def _yolo_names(said: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    """Class names in the order of their numbers."""
    names = said.get("names")
    if isinstance(names, dict):
        try:
            order = {int(key): name for key, name in names.items()}
        except ValueError:
            fail("file", "`names` by number", f"{few(names)} in {file}")
        if sorted(order) != list(range(len(order))):
            fail("file", "`names` of the numbers from 0", f"{sorted(order)} in {file}")
        names = [order[number] for number in range(len(order))]
    if not names or isinstance(names, str) or len(set(names)) != len(names):
        fail("file", "a data.yaml with `names` of classes", f"{names!r} in {file}")
    count = said.get("nc")
    if count and int(count) != len(names):
        shown = f"nc {count} and {len(names)} names in {file}"
        fail("file", "a data.yaml with as many `names` as `nc`", shown)
    return tuple(names)


def _yolo_images(file: Path, root: str, value: str | list[str]) -> list[Path]:
    """The images of a part: of a folder, a text file of paths, or several such."""
    paths: list[Path] = []
    for entry in [value] if isinstance(value, str) else value:
        bases = [Path(root), file.parent / root, file.parent]
        # Exports say "../train/images" although the file lies beside "train".
        short = re.sub(r"^(\.\./)+", "", entry)
        tried = [base / each for each in (entry, short) for base in bases]
        place = next((each for each in tried if each.exists()), None)
        if place is None:
            hint = f"{str(file.parent / entry)!r} does not exist."
            fail(
                "file",
                "a data.yaml of folders that exist",
                entry,
                hint,
                FileNotFoundError,
            )
        if place.is_file():
            lines = place.read_text(encoding="utf-8").split("\n")
            paths += [place.parent / line.strip() for line in lines if line.strip()]
        else:
            inside = sorted(place.rglob("*"), key=lambda p: natural_key(p.as_posix()))
            paths += [each for each in inside if each.is_file() and is_image(each)]
    _check_there(paths, str(file))
    if not paths:
        fail("file", "a data.yaml of folders with images", str(value))
    return paths


def _label_file(image: Path) -> Path:
    """Where the labels of an image lie: `images` becomes `labels`, the last of them."""
    parts = list(image.parts)
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _yolo_part(paths: list[Path], names: tuple[str, ...], where: str) -> ImageSet:
    """One part's images and boxes."""
    rows, without = [], []
    for path in paths:
        labels = _label_file(path)
        row = _Image(path, [], [])
        if labels.is_file():
            for number, line in enumerate(labels.read_text().splitlines(), 1):
                if line.strip():
                    box, name = _yolo_line(line, names, f"{labels}, line {number}")
                    row.boxes.append(box)
                    row.names.append(name)
        else:
            without.append(path.name)
        rows.append(row)
    if len(without) == len(paths):
        hint = (
            f"The labels of {str(paths[0])!r} would be {str(_label_file(paths[0]))!r}."
        )
        fail("file", "images with label files", f"none for {where}", hint)
    if without:
        count = counted(len(without))
        lead = "Without a label file, so without objects"
        warn(f"{lead}: {count} of {where}: {few(without)}.")
    folders = {_label_file(path).parent for path in paths}
    images = {_label_file(path) for path in paths}
    unused = sorted(
        path.name
        for folder in folders
        for path in folder.glob("*.txt")
        if path not in images and path.name != "classes.txt"
    )
    if unused:
        warn(f"Label files of {where} that name no image: {few(unused)}.")
    return _annotated(rows, names, "rel_cxcywh", where)


def _yolo_line(
    line: str, names: tuple[str, ...], where: str
) -> tuple[tuple[float, ...], str]:
    """(centre, width and height as shares; class name) of one line."""
    try:
        number, *values = map(float, line.split())
    except ValueError:
        fail("file", "lines of numbers", f"{line!r} in {where}")
    if not float(number).is_integer() or not 0 <= number < len(names):
        hint = f"`names` has {len(names)}."
        fail("file", "lines that begin with a class", f"{number:g} in {where}", hint)
    polygon = len(values) >= 6 and len(values) % 2 == 0
    if len(values) != 4 and not polygon:
        fail("file", "lines of a class and four shares", f"{line!r} in {where}")
    if polygon:
        xs, ys = np.array(values[::2]), np.array(values[1::2])
        corners = (xs.min(), ys.min(), xs.max(), ys.max())
        values = convert_boxes(corners, "xyxy", "cxcywh").tolist()
    if max(values) > 1.01 or min(values) < -0.01:
        hint = "YOLO's lines are class, centre x, centre y, width, height, from 0 to 1."
        fail("file", "boxes as shares of the image", f"{line!r} in {where}", hint)
    return tuple(values), names[int(number)]


def read_annotations(
    root: Path, top: Folder, found: tuple[str, list[Path]]
) -> FolderImages | None:
    """The images with boxes of a folder of COCO, VOC or YOLO files, or None.

    YOLO is a folder with a `data.yaml`; COCO one with a json of images, annotations and
    categories, or with several whose names, or whose folders' names, are those of parts
    (`instances_train.json`, `valid/_annotations.coco.json`); VOC one with xml files in
    `Annotations`, beside the images, or in the folders of parts. `top` is what `walk`
    found in the folder `root`, `found` what `annotation_files` found in that.
    """
    kind, files = found
    if not files:
        return None
    if kind == "yolo":
        return _found(read_yolo(files[0]), root, top)
    return _found(
        {"coco": _read_cocos, "voc": _read_vocs}[kind](files, root), root, top
    )


def annotation_files(top: Folder) -> tuple[str, list[Path]]:
    """(`"yolo"`, `"coco"`, `"voc"` or "", its files) of a folder that was walked."""
    others = top.files("others")
    for path in [path for path in others if path.suffix in (".yaml", ".yml")]:
        said = read_data_yaml(path.read_text(encoding="utf-8-sig"))
        if said.get("names") and said.get("train"):
            return "yolo", [path]
    cocos = [path for path in others if path.suffix == ".json" and _looks_coco(path)]
    if cocos:
        return "coco", cocos
    xmls = [path for path in others if path.suffix.lower() == ".xml"]
    xmls = [path for path in xmls if b"<annotation" in path.read_bytes()[:1000]]
    return ("voc", xmls) if xmls else ("", [])


def _looks_coco(path: Path) -> bool:
    try:
        return is_coco(json.loads(path.read_text(encoding="utf-8-sig")))
    except ValueError:
        return False


def _found(parts: Mapping[str, ImageSet], root: Path, top: Folder) -> FolderImages:
    """The parts as one set, and a line on the images that no file speaks of."""
    names = tuple(path for part in parts.values() for path in part.paths)
    where = np.repeat(list(parts), [len(part) for part in parts.values()])
    labels = [part.labels for part in parts.values()]
    boxes = Boxes(
        [row for each in labels for row in each.boxes],
        [row for each in labels for row in each.classes],
        labels[0].class_names,
        np.concatenate([each.image_sizes for each in labels]),
        names=names,
    )
    known = {Path(name).resolve() for name in names}
    known |= {path.resolve() for path in mask_files(top)}
    unused = [path for path in top.files("images") if path.resolve() not in known]
    said = []
    if unused:
        listed = few(path.relative_to(root).as_posix() for path in unused)
        said.append(f"Not used: {counted(len(unused))} without annotations ({listed}).")
    return FolderImages(ImageSet(names, boxes, name=root.resolve().name), where, said)


def _part(path: Path, root: Path) -> str:
    """The part that a file's name, or else one of its folders' names, speaks of."""
    inner = path.relative_to(root)
    for name in (inner.stem, *reversed(inner.parts[:-1])):
        part, _ = part_of(name)
        if part:
            return part
    return ""


def _by_part(files: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    """Part -> its files; "" where no part is spoken of."""
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(_part(path, root), []).append(path)
    if "" in found and len(found) > 1:
        listed = few(path.relative_to(root).as_posix() for path in found[""])
        hint = "Name the files, or their folders, after the parts."
        fail("folder", "with a part for each annotation file", f"none: {listed}", hint)
    if found.keys() != {""} and "train" not in found:
        fail("folder", "with annotations of a training part", sorted(found))
    order = ("", "train", "validation", "test")
    return {part: found[part] for part in order if part in found}


def _read_cocos(files: Sequence[Path], root: Path) -> dict[str, ImageSet]:
    """Part -> its images, the classes in one order for all."""
    parts = _by_part(files, root)
    twice = [part for part, mine in parts.items() if len(mine) > 1]
    if twice:
        shown = few(path.relative_to(root).as_posix() for path in parts[twice[0]])
        fail("folder", "with one COCO file a part", shown)
    names: dict[str, None] = {}
    for mine in parts.values():
        data = _json(mine[0])
        names |= dict.fromkeys(_categories(data["categories"], str(mine[0])).values())
    order = tuple(names)
    return {part: read_coco(mine[0], class_names=order) for part, mine in parts.items()}


def _read_vocs(files: Sequence[Path], root: Path) -> dict[str, ImageSet]:
    """Part -> its images: of `ImageSets/Main`, or of the folders that are parts."""
    listed: dict[str, list[Path]] = {}
    stems = {path.stem: path for path in files}
    for path in sorted(root.rglob("ImageSets/Main/*.txt")):
        if path.stem in PARTS:
            rows = [line.split() for line in path.read_text().splitlines()]
            absent = [row[0] for row in rows if row and row[0] not in stems]
            if absent:
                hint = f"{path} lists them."
                fail("folder", "with an xml file for each image", absent[:5], hint)
            listed[PARTS[path.stem]] = [stems[row[0]] for row in rows if row]
    order = ("train", "validation", "test")
    parts = {part: listed[part] for part in order if listed.get(part)}
    if "train" not in parts:
        parts = _by_part(files, root)
    found = {part: read_voc(mine) for part, mine in parts.items()}
    every = {name for part in found.values() for name in part.class_names}
    names = tuple(sorted(every, key=natural_key))
    return {
        part: ImageSet(each.images, _renamed(each.labels, names))
        for part, each in found.items()
    }


def _renamed(labels: Boxes, names: tuple[str, ...]) -> Boxes:
    """The same boxes among more classes."""
    places = np.array([names.index(name) for name in labels.class_names])
    classes = [places[row] if len(row) else row for row in labels.classes]
    return Boxes(labels.boxes, classes, names, labels.image_sizes)
