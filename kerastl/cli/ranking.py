"""`kerastl rank`: which backbone to start from, by its features of your images."""

import argparse
from pathlib import Path
from typing import Any

from kerastl._progress import ProgressLine
from kerastl.cli.options import (
    add_data,
    add_image_size,
    add_json,
    add_resize,
    add_seed,
    check_picture,
    library_options,
    whole,
)
from kerastl.cli.printing import json_line


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    # A suppressed default stays out of the call: the library's is the only default.
    command = commands.add_parser(
        "rank",
        help="compare backbones on your images, without training",
        # DATA first: an option that takes several values would swallow it.
        usage="%(prog)s DATA [options]",
        description=__doc__,
        argument_default=argparse.SUPPRESS,
    )
    option = command.add_argument
    add_data(option)
    option(
        "--candidates",
        metavar="NAME",
        nargs="+",
        help="such as ResNet50 or MobileNet:alpha=0.25,weights=tiny,image_size=96; "
        "what is on this machine if absent",
    )
    add_image_size(option)
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
    add_resize(option)
    add_seed(option, "of the images that are drawn")
    option(
        "--plot",
        metavar="FILE",
        default=None,
        help="a picture of accuracy against time: .png, .svg or .pdf",
    )
    add_json(option)
    return command


def run(arguments: argparse.Namespace) -> str:
    """Rank, and return the table."""
    if arguments.plot is not None:
        check_picture("plot", Path(arguments.plot))
    # Imported here: `kerastl --help` need not wait for it.
    from kerastl.evaluation.figures import save_figure
    from kerastl.selection.ranking import rank_backbones

    options = library_options(arguments, without=("data", "plot"))
    with ProgressLine("computing features") as progress:
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
