"""Reading image files and folders of them."""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerastl._checks import check_choice, fail, warn
from kerastl._files import regular_bytes
from kerastl._progress import Progress
from kerastl.data.annotations import annotation_files, read_annotations
from kerastl.data.decoding import (
    as_rgb,
    decoding_errors,
    promised_formats,
    read_image,
    reason,
)
from kerastl.data.folders import (
    Folder,
    Layout,
    empty_classes,
    few,
    printable,
    read_layout,
    walk,
)
from kerastl.data.images import for_each
from kerastl.data.mask_folders import check_masks, mask_files, read_mask_folder
from kerastl.data.sets import (
    Examples,
    FolderImages,
    ImageSet,
    Splits,
    counted,
    integer_codes,
    joined,
    keep_mask,
    natural_key,
    warn_user,
)
from kerastl.data.splitting import check_shares, cut, drop_conflicts

if TYPE_CHECKING:
    from PIL import Image as PillowImage


@dataclass(frozen=True)
class FileRecord:
    """What one image file holds.

    Attributes:
        path: The file.
        digest: sha256 of its bytes, in hexadecimal; empty when it cannot be read.
        format: True format by its content, such as `"JPEG"`; None if it is none.
        size: (width, height) in pixels, or None when it cannot be opened.
        mode: Pillow's mode, such as `"RGB"`, or None.
        fault: Why it cannot be decoded, or None.
        spread: Largest difference of two pixels in a channel, 0-255, or None.
        look: A sum over its pixels; copies in other files have the same.
    """

    path: str
    digest: str
    format: str | None
    size: tuple[int, int] | None
    mode: str | None
    fault: str | None
    spread: int | None = None
    look: int | None = None

    @property
    def wrong_extension(self) -> bool:
        """Whether the name promises another format than the bytes hold."""
        promised = promised_formats().get(Path(self.path).suffix.lower())
        return self.format is not None and promised not in (None, self.format)


def inspect_files(
    paths: Sequence[str | Path],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[FileRecord]:
    """Read, hash and decode each file once.

    A large JPEG is decoded at an eighth of its scale: its whole bit stream is read, at
    a third of the cost.
    """
    records: list[FileRecord] = [None] * len(paths)  # type: ignore[list-item]

    def work(i: int) -> None:
        records[i] = inspect_file(str(paths[i]))

    for_each(work, len(paths), threads=threads, progress=progress)
    return records


def inspect_file(path: str) -> FileRecord:
    """Read, hash and decode one file."""
    seen: dict[str, Any] = {"format": None, "size": None, "mode": None}

    def look(image: "PillowImage.Image", side: int = 32) -> None:
        # A phone's JPEG of several pictures is a JPEG.
        kind = {"MPO": "JPEG"}.get(image.format, image.format)
        seen.update(format=kind, size=image.size, mode=image.mode)
        image.draft(None, (side, side))
        pixels = as_rgb(image)
        spread = max(high - low for low, high in pixels.getextrema())
        seen.update(spread=spread, look=zlib.crc32(pixels.tobytes()))

    digest, fault, ending = "", None, Path(path).suffix
    try:
        data = regular_bytes(path)
        digest = hashlib.sha256(data).hexdigest()
        read_image(data, look, ending)
        if seen["spread"] < HARDLY_ANY:
            # Fine lines are gone at an eighth of the scale.
            read_image(data, lambda image: look(image, max(image.size)), ending)
    except decoding_errors() as error:
        fault = reason(error)
    return FileRecord(path, digest, fault=fault, **seen)


def empty_looking(images: Sequence[tuple[FileRecord, str]]) -> list[str]:
    """Lines on images, each with its class, that show nothing or all the same."""
    records = [record for record, _ in images]
    plain = [r.path for r in records if r.spread == 0]
    faint = [r.path for r in records if r.spread and r.spread < HARDLY_ANY]
    lines: list[str] = []
    looks: dict[str, dict[str, int]] = {}
    if plain:
        lines.append(f"Images of one colour ({len(plain)}): {few(plain)}.")
    if faint:
        lines.append(
            f"Images that use less than {HARDLY_ANY} of 256 levels, as deep grey does "
            f"that fills a part of its 16 bits ({len(faint)}): {few(faint)}."
        )
    for record, name in images:
        if record.look is not None:
            looks.setdefault(name, {})[record.digest] = record.look
    # Of equal bytes other checks speak.
    same = [
        name for name, each in looks.items() if len(each) > 1 == len({*each.values()})
    ]
    if same:
        lines.append(f"Classes whose images all show the same: {few(same)}.")
    return lines


#: What says where things are in the images of a folder.
DENSE_LABELS = ("masks", "boxes")

Groups = Callable[[str], object] | Mapping[str, object]

_NAMED = 10
#: Levels below which an image has hardly any range.
HARDLY_ANY = 16


def load_images(
    folder: str | Path,
    *,
    labels: str | None = None,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    groups: Groups | None = None,
    on_bad: str = "error",
    on_leak: str = "drop",
    progress: Progress | None = None,
) -> Splits:
    """A folder of class folders, of parts with those inside, or of boxes, as splits.

    Each file is read and decoded once here, so that a damaged one is named now and
    not in the middle of an epoch. Pictures with equal bytes never lie in two
    parts; resized or recompressed copies are not noticed: say `groups` for those.

    Args:
        folder: Holds one folder for each class, or `train` with `validation` and
            `test` where they exist, each with the class folders inside; `Training`,
            `val`, `dev`, `eval`, `seg_train` and the like are understood. Classes are
            in natural order ('2' before '10'). What is not used is said in a warning.
            Or it holds `images` and `masks` of the same names, beside each other in the
            folder or in each part, with the classes' names in `classes.json`: see
            `kerastl.data.mask_folders.read_mask_folder`. Or annotations of boxes
            beside its images: COCO's json, PASCAL VOC's xml, or YOLO's text files with
            a `data.yaml`; see `Boxes`.
        labels: `"masks"` or `"boxes"`, for a folder that has both; None: what is there.
        validation: Share of each class, in [0, 1), cut from the training images
            where the folder has no validation part; 0 for none.
        test: Share of each class for test, in [0, 1), where the folder has neither
            train nor test parts.
        seed: Non-negative integer; the same seed gives the same splits.
        groups: What must stay together: a function from a path, relative to
            `folder` and with forward slashes, to a key (a patient, a camera), or a
            mapping.
        on_bad: `"error"` names files that cannot be decoded, `"skip"` leaves them
            out with a warning.
        on_leak: For parts that the folder brings. `"drop"` removes the training
            copy (or group) of a held-out image with a warning, `"error"` names it.
        progress: Called with (done, total) files, or None.

    Returns:
        Train, validation and test; a part that is not there is None.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no image.
        ValueError: If there are fewer than two classes, too few images in one,
            files that cannot be decoded, leaks, a class missing in a part, or masks and
            boxes and nobody says which.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for i in range(10):
        ...     file = root / ("cat", "dog")[i % 2] / f"{i}.png"
        ...     file.parent.mkdir(exist_ok=True)
        ...     Image.effect_noise((8, 8), 90).save(file)
        >>> train, validation, test = load_images(root)
        >>> train.counts(), len(validation), test
        ({'cat': 4, 'dog': 4}, 2, None)
    """
    check_shares(validation, test, seed)
    check_choice("on_bad", on_bad, ("error", "skip"))
    check_choice("on_leak", on_leak, ("drop", "error"))
    root = existing_folder(folder)
    options = {"validation": validation, "test": test, "seed": seed}
    options |= {"on_bad": on_bad, "on_leak": on_leak}
    top, said = walk(root)
    dense = _dense(root, top, labels)
    if dense is not None:
        return _annotated(root, dense, groups, progress, **options)
    layout = read_layout(top, said)
    names = _class_names(layout)
    listed = [
        (path, names.index(name), part)
        for part, name, place in layout.classes
        for path in place.files("images")
    ]
    records = inspect_files([path for path, _, _ in listed], progress=progress)
    good = without_bad(records, on_bad)
    keys = _group_keys(root, [path for path, _, _ in listed], groups)
    labels = np.array([label for _, label, _ in listed])
    for line in empty_looking([(records[i], names[labels[i]]) for i in good]):
        warn(line)
    where = np.array([part for _, _, part in listed])[good]
    paths = tuple(str(listed[i][0]) for i in good)
    whole = ImageSet(paths, labels[good], names, root.resolve().name)
    contents = np.array([records[i].digest for i in good])
    clusters = joined(contents, keys[good])
    if list(layout.parts) == [""]:
        return cut_whole(whole, contents, clusters, validation, test, seed)
    return brought(whole, contents, clusters, where, validation, seed, on_leak)


def _dense(root: Path, top: Folder, labels: str | None) -> FolderImages | None:
    """The images with masks or boxes of a folder; None for class folders."""
    annotated = annotation_files(top)
    files = {"masks": mask_files(top), "boxes": annotated[1]}
    there = [kind for kind, paths in files.items() if paths]
    if labels is None and len(there) > 1:
        hint = "Say which: --labels masks or boxes; to train, --task segmentation "
        hint += "or detection."
        expected = "'masks' or 'boxes', as the folder has both"
        fail("labels", expected, None, hint)
    if labels is not None and labels not in there:
        found = " and ".join(there) or "neither masks nor boxes"
        fail("labels", f"of what is in the folder: {found}", labels)
    kind = labels or next(iter(there), None)
    if kind == "masks":
        found = read_mask_folder(root, top)
        check_masks(found.images)
        return found
    return read_annotations(root, top, annotated) if kind else None


def _annotated(
    root: Path,
    found: FolderImages,
    groups: Groups | None,
    progress: Progress | None,
    *,
    validation: float,
    test: float,
    seed: int,
    on_bad: str,
    on_leak: str,
) -> Splits:
    """The splits of a folder whose annotations say where objects are."""
    for line in found.said:
        warn(line)
    paths = [Path(path) for path in found.images.paths]
    records = inspect_files(paths, progress=progress)
    good = without_bad(records, on_bad)
    keys, whole = _group_keys(root, paths, groups), found.images.subset(good)
    contents = np.array([records[i].digest for i in good])
    clusters, where = joined(contents, keys[good]), found.where[good]
    if set(where.tolist()) == {""}:
        return cut_whole(whole, contents, clusters, validation, test, seed)
    return brought(whole, contents, clusters, where, validation, seed, on_leak)


def existing_folder(folder: str | Path) -> Path:
    """The folder, or the error that it is missing."""
    if not isinstance(folder, (str, Path)):
        expected, kind = "the path of a folder", type(folder).__name__
        hint = "kerastl.open_data takes other data."
        fail("folder", expected, kind, hint, TypeError)
    if not str(folder):
        # Of an unset variable in a shell; Path would take it for the working folder.
        hint = "Pass '.' for the working folder."
        fail("folder", "an existing folder", folder, hint, FileNotFoundError)
    root = Path(folder).expanduser()
    if not root.is_dir():
        kind = "is a file" if root.exists() else "does not exist"
        hint = f"{str(root.resolve())!r} {kind}."
        fail("folder", "an existing folder", str(folder), hint, FileNotFoundError)
    return root


def _class_names(layout: Layout) -> tuple[str, ...]:
    """The names of the classes; raises where the folder is no folder of classes."""
    names = tuple(sorted({name for _, name, _ in layout.classes}, key=natural_key))
    root = str(layout.top.path)
    if layout.fault:
        expected, hint = layout.fault
        fail("folder", expected, root, hint)
    empty = empty_classes(layout)
    if len(empty) == len(layout.classes):
        if layout.top.images:
            hint = "Put the images of each class into a folder of their own."
            fail("folder", "a folder of class folders", root, hint)
        hint = f"It holds {few(empty)}." if empty else "It is empty."
        expected = "a folder with images, one folder of them for each class"
        fail("folder", expected, root, hint, FileNotFoundError)
    if len(names) < 2:
        hint = f"The only class folder is {names[0]!r}."
        fail("folder", "a folder of at least two class folders", root, hint)
    if empty:
        hint = "Add images, or remove those folders."
        fail("folder", "a folder of classes with images", empty[:_NAMED], hint)
    wrong = [name for name in names if printable(name) != name]
    if wrong:
        fail("folder", "of class folders with names in UTF-8", wrong[:_NAMED])
    for line in layout.said:
        warn(line)
    return names


def without_bad(
    records: Sequence[FileRecord], on_bad: str, name: str = "folder"
) -> np.ndarray:
    """Indices of the files that can be decoded."""
    bad = [f"{record.path} ({record.fault})" for record in records if record.fault]
    if bad and on_bad == "error":
        hint = f"{len(bad)} of {len(records)} cannot be decoded. "
        hint += 'Remove them, or leave them out with on_bad="skip".'
        fail(name, f"a {name} of images that can be decoded", bad[:_NAMED], hint)
    if bad:
        warn_user(f"Skipped {len(bad)} files that cannot be decoded", bad)
    return np.array([i for i, record in enumerate(records) if not record.fault], int)


def _group_keys(root: Path, paths: Sequence[Path], groups: Groups | None) -> np.ndarray:
    if groups is None:
        return np.arange(len(paths))
    relative = [path.relative_to(root).as_posix() for path in paths]
    if isinstance(groups, Mapping):
        absent = [path for path in relative if path not in groups]
        if absent:
            expected = "a mapping with a key for each image's path"
            fail("groups", expected, f"none for {absent[:3]}")
        return integer_codes([groups[path] for path in relative])
    if not callable(groups):
        expected = "a function or a mapping from paths to keys"
        fail("groups", expected, type(groups).__name__, error=TypeError)
    return integer_codes([groups(path) for path in relative])


def cut_whole(
    whole: Examples,
    contents: np.ndarray,
    clusters: np.ndarray,
    validation: float,
    test: float,
    seed: int,
) -> Splits:
    """A set without copies that disagree, cut along clusters."""
    keep = keep_mask(len(whole), drop_conflicts(whole, contents))
    kept = whole.subset(keep)
    return cut(kept, clusters[keep], validation=validation, test=test, seed=seed)


def brought(
    whole: Examples,
    contents: np.ndarray,
    clusters: np.ndarray,
    where: np.ndarray,
    validation: float,
    seed: int,
    on_leak: str,
    name: str = "folder",
) -> Splits:
    """Parts as the data have them, less what leaks, and validation where missing."""
    _check_present(whole, where, name)
    keep = keep_mask(len(whole), [leaks(whole, clusters, where, on_leak, name)])
    train = np.flatnonzero(keep & (where == "train"))
    clean = keep_mask(len(train), drop_conflicts(whole.subset(train), contents[train]))
    train = train[clean]
    held = {
        part: whole.subset(keep & (where == part))
        for part in ("validation", "test")
        if (where == part).any()
    }
    if "validation" in held or not validation:
        learn, check = whole.subset(train), held.get("validation")
        _check_counts(learn, name)
    else:
        learn, check, _ = cut(
            whole.subset(train),
            clusters[train],
            validation=validation,
            test=0.0,
            seed=seed,
        )
    return Splits(learn, check, held.get("test"))


def leaks(
    whole: Examples,
    clusters: np.ndarray,
    where: np.ndarray,
    on_leak: str,
    name: str = "folder",
) -> np.ndarray:
    """Indices of training (then validation) images that a later part holds too."""
    in_test = np.isin(clusters, clusters[where == "test"])
    in_validation = np.isin(clusters, clusters[where == "validation"])
    leaking = (where == "train") & (in_test | in_validation)
    leaking |= (where == "validation") & in_test
    found = np.flatnonzero(leaking)
    named = []
    for i in found[: _NAMED + 1]:
        later = clusters == clusters[i]
        later &= (where == "test") | ((where == "validation") & (where[i] == "train"))
        twin = int(np.flatnonzero(later)[0])
        named.append(f"{whole.describe(int(i))} = {whole.describe(twin)}")
    if len(found) and on_leak == "error":
        hint = f"{counted(len(found), whole.noun)} in two parts. "
        hint += 'Remove one copy, or have it dropped with on_leak="drop".'
        fail(name, f"made of parts that share no {whole.noun}", named[:_NAMED], hint)
    if len(found):
        warn_user(
            f"Dropped {counted(len(found), whole.noun)} that a held-out part holds too",
            named,
            len(found),
        )
    return found


def _check_present(whole: Examples, where: np.ndarray, name: str) -> None:
    for part in np.unique(where):
        hint = "Each class must be in each part."
        _check_classes(whole.subset(where == part), f"{name}/{part}", hint)


def _check_counts(train: Examples, name: str) -> None:
    hint = f"All its {train.noun}s were copies of held-out ones or in conflict."
    _check_classes(train, f"{name}/train", hint)


def _check_classes(part: Examples, name: str, hint: str) -> None:
    absent = [each for each, count in part.counts().items() if not count]
    if absent and part.dense and len(absent) < part.num_classes:
        # Rare things are seldom in each part, and the others are worth finding.
        warn(f"No {part.noun} of {name} shows {few(absent)}.")
    elif absent:
        fail(name, "with all classes", f"without {absent}", hint)
