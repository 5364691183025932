"""`kerastl advise`: how much of a backbone to train on your images, and why."""

import argparse
from typing import Any

from kerastl._progress import Progress
from kerastl.cli.printing import json_line
from kerastl.cli.training import seed, whole


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    # A suppressed default stays out of the call: the library's is the only default.
    command = commands.add_parser(
        "advise",
        help="say how much of a backbone to train on your images",
        description=__doc__,
        argument_default=argparse.SUPPRESS,
    )
    option = command.add_argument
    option(
        "data", metavar="DATA", help="a folder of class folders, or a dataset's name"
    )
    option(
        "--backbone",
        metavar="NAME",
        default="MobileNet",
        help="see `kerastl backbones`; MobileNet if absent",
    )
    option("--alpha", type=float, metavar="A", help="width of a MobileNet")
    option(
        "--weights",
        metavar="W",
        help="tiny (bundled), imagenet (downloaded once), none, or a file",
    )
    option("--image-size", type=whole, metavar="N", help="side in pixels")
    option("--images", type=whole, metavar="N", help="images to measure on, at most")
    option("--resize", metavar="R", help="stretch, crop or pad")
    option("--seed", type=seed, metavar="S", help="of the images that are drawn")
    option(
        "--json",
        action="store_true",
        default=False,
        help="print one JSON object as the last line on standard output",
    )
    return command


def run(arguments: argparse.Namespace) -> str:
    """Measure, and return the advice."""
    # Imported here: it loads Keras, and `kerastl --help` must not.
    from kerastl.selection.advising import advise

    program = {"data", "backbone", "run", "debug", "json"}
    options = {k: value for k, value in vars(arguments).items() if k not in program}
    if options.get("weights") == "none":
        options["weights"] = None
    with Progress("computing features") as progress:
        advice = advise(
            arguments.data, arguments.backbone, progress=progress, **options
        )
    return json_line(advice.to_dict()) if arguments.json else str(advice)
