"""`kerastl rank`: which backbone to start from, by its features of your images."""

import argparse
from pathlib import Path
from typing import Any

from kerastl._checks import fail
from kerastl._progress import Progress
from kerastl.cli.printing import json_line
from kerastl.cli.training import seed, whole

_PICTURES = (".png", ".svg", ".pdf")


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    # A suppressed default stays out of the call: the library's is the only default.
    command = commands.add_parser(
        "rank",
        help="compare backbones on your images, without training",
        description=__doc__,
        argument_default=argparse.SUPPRESS,
    )
    option = command.add_argument
    option(
        "data", metavar="DATA", help="a folder of class folders, or a dataset's name"
    )
    option(
        "--candidates",
        metavar="NAME",
        nargs="+",
        help="such as ResNet50 or MobileNet:alpha=0.25,weights=tiny,image_size=96; "
        "what is on this machine if absent",
    )
    option("--image-size", type=whole, metavar="N", help="side in pixels")
    option(
        "--weights",
        metavar="W",
        help="of candidates that do not say theirs: imagenet (downloaded once), tiny, "
        "none, or a file",
    )
    option(
        "--scores",
        metavar="S",
        nargs="+",
        help="besides linear_probe: knn, logme, h_score, gbc, nleep",
    )
    option("--images", type=whole, metavar="N", help="images to measure on, at most")
    option("--resize", metavar="R", help="stretch, crop or pad")
    option("--seed", type=seed, metavar="S", help="of the images that are drawn")
    option(
        "--plot",
        metavar="FILE",
        default=None,
        help="a picture of accuracy against time: .png, .svg or .pdf",
    )
    option(
        "--json",
        action="store_true",
        default=False,
        help="print one JSON object as the last line on standard output",
    )
    return command


def check_picture(path: Path) -> None:
    """Raise unless a picture may be written there: before the work, not after."""
    if path.suffix.lower() not in _PICTURES:
        fail("plot", f"a file name ending in {', '.join(_PICTURES)}", str(path))
    if not path.parent.is_dir():
        hint = f"Make the folder {str(path.parent)!r} first."
        fail("plot", "in a folder that exists", str(path), hint)


def run(arguments: argparse.Namespace) -> str:
    """Rank, and return the table."""
    given = vars(arguments)
    if arguments.plot is not None:
        check_picture(Path(arguments.plot))
    # Imported here: these load Keras, and `kerastl --help` must not.
    from kerastl.evaluation.figures import save_figure
    from kerastl.selection.ranking import rank_backbones

    program = {"data", "run", "debug", "json", "plot"}
    options = {key: value for key, value in given.items() if key not in program}
    if options.get("weights") == "none":
        options["weights"] = None
    with Progress("computing features") as progress:
        ranking = rank_backbones(arguments.data, progress=progress, **options)
    if arguments.plot is not None:
        save_figure(ranking.plot(), arguments.plot)
    if not arguments.json:
        return str(ranking)
    return json_line(
        {
            "best": ranking.best,
            "images": ranking.images,
            "classes": ranking.classes,
            "backbones": ranking.to_rows(),
            "agreement": ranking.agreement,
            "unavailable": ranking.unavailable,
        }
    )
