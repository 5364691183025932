"""Folders of images with a mask for each: which file belongs to which, and the part."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kerastl._checks import fail
from kerastl.data.folders import Folder, few, part_of
from kerastl.data.masks import IGNORE, Masks
from kerastl.data.sets import FolderImages, ImageSet, counted, natural_key, warn_user

#: What folders of images and of masks are called, in small letters.
_IMAGES = ("images", "image", "imgs", "img", "jpegimages")
_MASKS = ("masks", "mask", "annotations", "annots", "labels", "segmentationclass")
#: What the name of a mask may have beyond that of its image.
_ENDINGS = ("_mask", "_masks", "_label", "_labels", "_seg", "_gt", "_L")


def read_mask_folder(root: Path, top: Folder) -> FolderImages | None:
    """The images with masks of a folder of `images` and `masks`, or None.

    The two lie side by side, in the folder or in each of its parts, or hold the parts.
    `classes.json` or `classes.txt` in the folder names the classes: a list of names, or
    `{"names": [...], "ignore": 11, "values": {"255": 1}, "colours": [[0, 0, 0], ...]}`;
    see `Masks`.

    Args:
        root: An existing folder.
        top: What `walk` found in it.

    Raises:
        ValueError: If a mask has no image, nothing has a mask, or names are missing.
    """
    pairs = list(_side_by_side(top))
    if not pairs:
        return None
    images, masks = _by_name(root, pairs, 0), _by_name(root, pairs, 1)
    alone = [path for key, path in masks.items() if key not in images]
    if alone:
        hint = "A mask is called as its image is, but for the ending."
        shown = [path.relative_to(root).as_posix() for path in alone[:5]]
        fail("folder", "of masks that each name an image", shown, hint)
    unmasked = [path for key, path in images.items() if key not in masks]
    kept = sorted(masks, key=lambda key: [natural_key(part) for part in key])
    said = []
    if unmasked:
        listed = few(path.relative_to(root).as_posix() for path in unmasked)
        said.append(f"Not used: {counted(len(unmasked))} without a mask ({listed}).")
    labels = _masks(root, [masks[key] for key in kept])
    paths = tuple(str(images[key]) for key in kept)
    found = ImageSet(paths, labels, name=root.resolve().name)
    return FolderImages(found, np.array([key[0] for key in kept]), said)


def mask_files(top: Folder) -> list[Path]:
    """The masks that lie beside images in a folder that was walked."""
    return [path for _, masks in _side_by_side(top) for path in masks.files("images")]


def _side_by_side(folder: Folder) -> Iterable[tuple[Folder, Folder]]:
    """Folders of images with their folder of masks beside them, at any level."""
    inside = {name.lower(): each for name, each in folder.folders.items()}
    images = [inside[name] for name in _IMAGES if name in inside]
    masks = [inside[name] for name in _MASKS if name in inside]
    if images and masks and masks[0].files("images"):
        yield images[0], masks[0]
        return
    for each in folder.folders.values():
        yield from _side_by_side(each)


def _by_name(
    root: Path, pairs: list[tuple[Folder, Folder]], which: int
) -> dict[tuple[str, str], Path]:
    """(part, name without its ending) -> file, of images (0) or masks (1)."""
    found: dict[tuple[str, str], Path] = {}
    for pair in pairs:
        for path in pair[which].files("images"):
            place, part = path.relative_to(pair[which].path), ""
            above = pair[which].path.relative_to(root).parts[:-1]
            for name in (*place.parts[:-1], *reversed(above)):
                part = part or part_of(name)[0]
            stem = place.stem
            for ending in _ENDINGS if which else ():
                stem = stem.removesuffix(ending)
            # Folders below that are no parts keep equal names apart.
            inner = [name for name in place.parts[:-1] if not part_of(name)[0]]
            key = part, "/".join([*inner, stem])
            if key in found:
                hint = "Give each a name of its own."
                fail("folder", "one file a name", f"{found[key]} and {path}", hint)
            found[key] = path
    return found


def _masks(root: Path, paths: list[Path]) -> Masks:
    """The masks with the names that the folder gives, or numbers."""
    files = [str(path) for path in paths]
    said = _said(root)
    if "names" in said:
        options = {name: said[name] for name in ("ignore", "colours") if name in said}
        if "values" in said:
            options["values"] = {int(k): int(v) for k, v in said["values"].items()}
        if "ignore_colours" in said:
            options["ignore_colours"] = said["ignore_colours"]
        return Masks(files, said["names"], **options)
    # As many classes as the highest value asks for.
    every = Masks(files, [str(number) for number in range(IGNORE)])
    used = np.flatnonzero(every.pixel_counts().sum(axis=0))
    count = int(used[-1]) + 1 if len(used) else 0
    if count < 2:
        hint = 'White on black is said in classes.json: {"names": ["no", "yes"], '
        hint += '"values": {"0": 0, "255": 1}}.'
        fail("folder", "of masks with at least two classes", str(root), hint)
    return Masks(files, [str(number) for number in range(count)])


def _said(root: Path) -> dict[str, Any]:
    """What `classes.json` or `classes.txt` says; empty without either."""
    text, listed = root / "classes.txt", root / "classes.json"
    if listed.is_file():
        try:
            said = json.loads(listed.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            fail("folder", "with a classes.json of JSON", str(listed), f"{error}.")
        said = {"names": said} if isinstance(said, list) else said
        if isinstance(said, dict) and "classes" in said:
            said = {"names": said["classes"], **said}
        known = isinstance(said, dict) and isinstance(said.get("names"), list)
        if not known or not all(isinstance(name, str) for name in said["names"]):
            hint = 'Such as ["ground", "cell"].'
            fail("folder", "with the names in classes.json", str(listed), hint)
        return said
    if text.is_file():
        lines = text.read_text(encoding="utf-8-sig").splitlines()
        return {"names": [line.strip() for line in lines if line.strip()]}
    return {}


def check_masks(images: ImageSet) -> None:
    """Raise unless the masks can be used; a class without a pixel is said.

    Args:
        images: With `Masks`; each mask is read once.
    """
    masks, names = images.labels, images.class_names
    masks.check_images(images.images, "folder")
    counts = masks.pixel_counts().sum(axis=0)
    if np.count_nonzero(counts) < 2:
        hint = "255 means no class, unless `values` in classes.json names it."
        fail("folder", "of masks that show two classes", str(images.name), hint)
    absent = [name for name, count in zip(names, counts, strict=True) if not count]
    if absent:
        warn_user("No pixel is of some classes", absent)


def mask_faults(images: ImageSet) -> list[str]:
    """Lines on masks that cannot be used, and on classes without a pixel.

    Args:
        images: With `Masks`.
    """
    masks, found = images.labels, []
    found += [f"another size: {line}" for line in masks.other_sizes(images.images)]
    counts = np.zeros(len(images.class_names), np.int64)
    for index in range(len(masks)):
        try:
            counts += masks[[index]].pixel_counts()[0]
        except (ValueError, FileNotFoundError) as error:
            found.append(str(error))
    absent = [n for n, c in zip(images.class_names, counts, strict=True) if not c]
    return found + [f"no pixel of class {name!r}" for name in absent]
