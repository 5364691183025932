"""Folders of images: what is walked into, and which folder is which part and class."""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kerastl._checks import fail
from kerastl.data.decoding import is_image
from kerastl.data.sets import counted, natural_key

_NAMED = 5

#: What systems put between people's files, in lower case; also all that is hidden.
_SYSTEMS = {
    "__macosx",
    "@eadir",
    "#recycle",
    "#snapshot",
    "@recycle",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
}
#: What a run writes, or holds while it writes: all files of one row are there.
_OUTPUTS = (("model.keras",), ("report.json", "history.csv"), (".kerastl-run",))

PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "development": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "test": "test",
    "testing": "test",
}
_WORDS = "|".join(sorted(PARTS, key=len, reverse=True))
_PART_WORD = re.compile(rf"(?<![^\W\d_])({_WORDS})|({_WORDS})(?![^\W\d_])")


@dataclass
class Folder:
    """A folder as it was walked, all in natural order.

    Attributes:
        path: Where it is.
        folders: Name -> folder inside.
        images: Files of images directly inside.
        others: Other files of people directly inside.
        systems: Files and folders of systems directly inside.
    """

    path: Path
    folders: dict[str, "Folder"] = field(default_factory=dict)
    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    systems: list[Path] = field(default_factory=list)

    def every(self) -> Iterator["Folder"]:
        """The folder and all below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.every()

    def levels(self) -> set[str]:
        """Names of the folders directly inside that hold images."""
        return {
            name
            for name, folder in self.folders.items()
            if any(each.images for each in folder.every())
        }

    def files(self, kind: str) -> list[Path]:
        """All `"images"`, `"others"` or `"systems"`, those in folders below too."""
        found = [path for folder in self.every() for path in getattr(folder, kind)]
        return sorted(found, key=lambda path: natural_key(path.as_posix()))


class _Walk:
    """A walk through a folder, and what it met besides files."""

    def __init__(self, root: Path, wanted: Callable[[Path], bool]) -> None:
        self.top = Folder(root)
        self._wanted = wanted
        self.met: dict[str, list[str]] = {}
        self._real = os.path.realpath(root)
        self._seen = {_identity(path) for path in Path(self._real).parents}
        self._links: list[tuple[Folder, Path]] = []
        self._enter(self.top)
        # Links last: where something else leads to a folder, its images are counted.
        while self._links:
            self._follow(*self._links.pop(0))

    def _enter(self, folder: Folder) -> None:
        self._seen.add(_identity(folder.path))
        try:
            entries = list(folder.path.iterdir())
        except OSError as error:
            hint = f"{error.strerror or error}."
            fail("folder", "a folder that can be read", str(folder.path), hint)
        for path in sorted(entries, key=lambda path: natural_key(path.name)):
            self._take(folder, path)

    def _take(self, folder: Folder, path: Path) -> None:
        """Sort one entry of a folder."""
        link, name = path.is_symlink(), path.name
        try:
            mode = path.stat().st_mode
        except OSError:
            mode = 0
        if name.startswith(".") or name.lower() in _SYSTEMS:
            folder.systems.append(path)
        elif stat.S_ISDIR(mode) and _is_output(path):
            self._meet("Left out what kerastl wrote", path)
        elif stat.S_ISDIR(mode) and link:
            self._links.append((folder, path))
        elif stat.S_ISDIR(mode):
            folder.folders[name] = Folder(path)
            self._enter(folder.folders[name])
        elif not stat.S_ISREG(mode):
            self._meet("Left out what is no regular file", path)
        else:
            (folder.images if self._wanted(path) else folder.others).append(path)
            if link and self._is_outside(path):
                self._meet("Followed links that lead out of the folder", path)

    def _follow(self, folder: Folder, path: Path) -> None:
        """Walk into a folder that a link leads to, unless its images count already."""
        if _identity(path) in self._seen:
            self._meet("Left out links to folders that are read anyhow", path)
            return
        if self._is_outside(path):
            self._meet("Followed links that lead out of the folder", path)
        folder.folders[path.name] = Folder(path)
        names = sorted(folder.folders, key=natural_key)
        folder.folders = {name: folder.folders[name] for name in names}
        self._enter(folder.folders[path.name])

    def _is_outside(self, path: Path) -> bool:
        return os.path.commonpath([self._real, os.path.realpath(path)]) != self._real

    def _meet(self, what: str, path: Path) -> None:
        self.met.setdefault(what, []).append(path.relative_to(self.top.path).as_posix())


def _is_output(folder: Path) -> bool:
    """Whether a run of kerastl writes or wrote into a folder."""
    return any(all((folder / file).exists() for file in row) for row in _OUTPUTS)


def _identity(path: Path) -> tuple[int, int]:
    """What is the same for all ways to one folder."""
    status = path.stat()
    return status.st_dev, status.st_ino


def walk(
    root: Path, wanted: Callable[[Path], bool] = is_image
) -> tuple[Folder, list[str]]:
    """A folder with all below it, each folder once, and lines on what was met.

    Args:
        root: The folder.
        wanted: Which files are examples, and so in `Folder.images`.
    """
    found = _Walk(root, wanted)
    return found.top, [f"{what}: {few(names)}." for what, names in found.met.items()]


def list_files(folder: Path) -> tuple[list[Path], list[str]]:
    """(image files below a folder, in natural order; a line for what is left out)."""
    top, said = walk(folder)
    return top.files("images"), said + left_out([top])


def left_out(folders: Iterable[Folder]) -> list[str]:
    """A line that counts the files that are no images by kind, if there are any."""
    others = [path for folder in folders for path in folder.files("others")]
    if not others:
        return []
    return [
        f"Left out {counted(len(others), 'file')} of other kinds: {_kinds(others)}."
    ]


def _kinds(files: Iterable[Path]) -> str:
    """Files counted by their endings: `".txt 3, no ending 1"`."""
    counts = Counter(path.suffix.lower() or "no ending" for path in files).most_common()
    listed = [f"{kind} {count}" for kind, count in counts[:_NAMED]]
    rest = sum(count for _, count in counts[_NAMED:])
    return ", ".join([*listed, *([f"others {rest}"] if rest else [])])


def printable(name: str) -> str:
    """A file's name as text that can be printed: bytes that are no UTF-8 in hex."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def few(names: Iterable[object]) -> str:
    """The first names, quoted, and how many more there are."""
    names = [printable(str(name)) for name in names]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


Classes = dict[str, Folder]


@dataclass
class Layout:
    """Which folder is which part and class.

    Attributes:
        parts: Part, or "" for a folder without parts -> class name -> its folder.
        top: The whole folder.
        said: Lines on what is not used, and on how folders were taken.
        fault: (what the folder must be, the way out) where it is no such folder.
    """

    parts: dict[str, Classes]
    top: Folder
    said: list[str]
    fault: tuple[str, str] | None = None

    @property
    def classes(self) -> list[tuple[str, str, Folder]]:
        """(part, class, its folder) for each."""
        return [
            (part, name, folder)
            for part, classes in self.parts.items()
            for name, folder in classes.items()
        ]


def read_layout(top: Folder, said: Iterable[str] = ()) -> Layout:
    """Find the parts and classes of a folder, from what `walk` found and said."""
    said = list(said)
    chosen = _parts(top)
    layout = Layout({"": top.folders}, top, said)
    if isinstance(chosen, tuple):
        layout.fault = chosen
        return layout
    for part in ("train", "validation", "test") if chosen else ():
        if folder := chosen.get(part):
            inner = _wrapped(folder) or folder
            layout.parts[part] = inner.folders
            if inner is not folder:
                line = f"The classes of {folder.path.name!r} are those of {inner.path}."
                said.append(line)
    if chosen:
        del layout.parts[""]
    layout.fault = _fault(layout)
    used = [folder for _, _, folder in layout.classes]
    layout.said += [*_unused(top, chosen), *_levels(used), *left_out(used)]
    return layout


def part_of(name: str) -> tuple[str, str]:
    """(the part that a folder's name speaks of or "", what else the name says)."""
    found = _PART_WORD.search(name.lower())
    if found is None:
        return "", name
    rest = name[: found.start()] + name[found.end() :]
    return PARTS[found[0].lower()], re.sub(r"[\W\d_]", "", rest.lower())


def _parts(top: Folder) -> dict[str, Folder] | tuple[str, str]:
    """Part -> its folder; empty without parts; or why it is unclear."""
    spoken = {name: part_of(name) for name in top.folders}
    # A class may be called "train" (beside "bus"): it has no folders inside. Names
    # such as "seg_train" and "seg_test" say the same but for the part.
    for rest in sorted({rest for part, rest in spoken.values() if part}):
        alike = {
            name: part
            for name, (part, other) in spoken.items()
            if part and other == rest and top.folders[name].folders
        }
        counts = Counter(alike.values())
        if "train" not in counts or (rest and len(counts) == 1):
            continue
        if (
            len(alike) == 1 < len(top.folders)
            and len(top.folders[next(iter(alike))].folders) == 1
        ):
            continue
        twice = [name for name, part in alike.items() if counts[part] > 1]
        if twice:
            hint = "Each part is one folder: join or rename them."
            return f"a folder with one folder a part, not {few(twice)}", hint
        return {part: top.folders[name] for name, part in alike.items()}
    if len({rest for _, rest in spoken.values()}) == 1 and all(
        part for part, _ in spoken.values()
    ):
        hint = f"Its folders {few(spoken)} are named as parts. Put the images of each "
        hint += (
            "class into a folder of its own inside them, and name one of them train."
        )
        return "a folder of class folders, or one with train/<class> inside", hint
    return {}


def _fault(layout: Layout) -> tuple[str, str] | None:
    """What is wrong with the folders that were taken for classes."""
    inner = _wrapped(layout.top) if "" in layout.parts else None
    if inner:
        around = few(layout.top.folders)
        expected = f"a folder of class folders, not one around {around}"
        return expected, f"Did you mean {str(inner.path)!r}?"
    used = [folder for _, _, folder in layout.classes]
    inside = [folder.levels() for folder in used]
    if len(used) < 2 or any(folder.images for folder in used) or not all(inside):
        return None
    outer, names = few(layout.parts[next(iter(layout.parts))]), set().union(*inside)
    if {part_of(name)[1] for name in names if part_of(name)[0]} == {""} and all(
        part_of(name)[0] for name in names
    ):
        hint = (
            f"Put the parts outside and the classes {outer} inside each: train/<class>."
        )
        return f"a folder without parts inside its classes ({few(sorted(names))})", hint
    if len(names) > 1 and all(each == names for each in inside):
        listed = few(sorted(names, key=natural_key))
        hint = (
            f"If {listed} are the classes, name the others train, validation and test; "
        )
        hint += f"if {outer} are, put their images directly into them."
        return f"a folder of classes that do not all hold the folders {listed}", hint
    return None


def _wrapped(folder: Folder) -> Folder | None:
    """The folder with classes or parts that one without a choice leads to, if any."""
    if len(folder.folders) != 1 or folder.images:
        return None
    (inner,) = folder.folders.values()
    if len(inner.folders) > 1 or (inner.folders and _parts(inner)):
        return inner
    return _wrapped(inner)


def _unused(top: Folder, chosen: dict[str, Folder]) -> list[str]:
    """A line on images that lie where no class is looked for."""
    unused = []
    if chosen:
        taken = [folder.path for folder in chosen.values()]
        for name, folder in top.folders.items():
            if folder.path not in taken:
                count = len(folder.files("images"))
                word = counted(count) if count else "no images"
                unused.append(f"{name!r} ({word})")
    for folder in [top, *chosen.values()]:
        if folder.images:
            loose = few(path.relative_to(top.path).as_posix() for path in folder.images)
            unused.append(f"{counted(len(folder.images))} in no class folder ({loose})")
    return [f"Not used: {', '.join(unused)}."] if unused else []


def _levels(classes: list[Folder]) -> list[str]:
    """A line where folders inside class folders could be meant as classes."""
    inside = [names for folder in classes if (names := folder.levels())]
    # "images" in each class is no second level of classes.
    if not inside or (len(inside) == len(classes) and len(set().union(*inside)) == 1):
        return []
    deep = next(folder for folder in classes if folder.levels())
    below = min(deep.levels(), key=natural_key)
    return [
        "The classes are the first level of folders: images of "
        f"{deep.path.name}/{below} and the like count for {deep.path.name!r}."
    ]


def empty_classes(layout: Layout) -> list[str]:
    """Each class folder without images, and why."""
    found = []
    for part, name, folder in layout.classes:
        if not folder.files("images"):
            others = folder.files("others")
            why = f"no image among {_kinds(others)}" if others else "no file"
            found.append(f"{part}/{name} ({why})" if part else f"{name} ({why})")
    return found
