"""Options that several commands share, each defined once."""

import argparse
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from kerastl._checks import fail

#: Adds an option, as `parser.add_argument` does.
Adder = Callable[..., Any]

_PICTURES = (".png", ".svg", ".pdf")
#: Of the program itself; all the others are the library's.
_PROGRAM = ("run", "usage", "debug", "json")


def whole(text: str) -> int:
    """A whole number of at least one, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def seed(text: str) -> int:
    """A seed: a whole number of at least zero, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, not {value}")
    return value


def add_data(
    option: Adder, text: str = "a folder of class folders, or a dataset's name"
) -> None:
    """Add the images that a command works on."""
    option("data", metavar="DATA", help=text)


def add_backbone(
    option: Adder,
    *,
    default: str = argparse.SUPPRESS,
    text: str = "see `kerastl backbones`",
) -> None:
    """Add the options that choose a backbone, its weights and its size."""
    option("--backbone", metavar="NAME", default=default, help=text)
    option("--alpha", type=float, metavar="A", help="width of a MobileNet")
    option(
        "--weights",
        metavar="W",
        help="tiny (bundled), imagenet (downloaded once), none, or a file",
    )
    add_image_size(option)


def add_image_size(option: Adder) -> None:
    """Add the size that images are brought to."""
    option("--image-size", type=whole, metavar="N", help="side in pixels")


def add_augment(option: Adder) -> None:
    """Add how training images are changed."""
    names = "none, light, standard, strong, resized_crop, randaugment, or digits"
    option("--augment", metavar="A", help=names)


def add_resize(option: Adder) -> None:
    """Add how they are brought to it."""
    option("--resize", metavar="R", help="stretch, crop or pad")


def add_seed(option: Adder, text: str) -> None:
    """Add the seed, and what follows from it."""
    option("--seed", type=seed, metavar="S", help=text)


def add_json(option: Adder) -> None:
    """Add the choice of what is printed."""
    option(
        "--json",
        action="store_true",
        default=False,
        help="print one JSON object as the last line on standard output",
    )


def library_options(
    arguments: argparse.Namespace,
    *,
    without: Collection[str] = ("data",),
    may_be_none: Sequence[str] = ("weights",),
) -> dict[str, Any]:
    """The options that were given, as keyword arguments of the library.

    Args:
        arguments: What was parsed.
        without: Names that the command passes on by itself.
        may_be_none: Options for which the word `none` stands for no value.
    """
    left_out = {*_PROGRAM, *without}
    given = {
        key: value for key, value in vars(arguments).items() if key not in left_out
    }
    for name in may_be_none:
        if given.get(name) == "none":
            given[name] = None
    return given


def check_picture(name: str, path: Path) -> None:
    """Raise unless a picture may be written there: before the work, not after."""
    if path.suffix.lower() not in _PICTURES:
        fail(name, f"a file name ending in {', '.join(_PICTURES)}", str(path))
    if not path.parent.is_dir():
        hint = f"Make the folder {str(path.parent)!r} first."
        fail(name, "in a folder that exists", str(path), hint)
