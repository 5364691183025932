"""`kerastl advise`: how much of a backbone to train on your images, and why."""

import argparse
from typing import Any

from kerastl._progress import ProgressLine
from kerastl.cli.options import (
    add_backbone,
    add_data,
    add_json,
    add_resize,
    add_seed,
    library_options,
    whole,
)
from kerastl.cli.printing import json_line


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
    add_data(option)
    add_backbone(
        option,
        default="MobileNet",
        text="see `kerastl backbones`; MobileNet if absent",
    )
    option("--images", type=whole, metavar="N", help="images to measure on, at most")
    add_resize(option)
    add_seed(option, "of the images that are drawn")
    add_json(option)
    return command


def run(arguments: argparse.Namespace) -> str:
    """Measure, and return the advice."""
    # Imported here: `kerastl --help` need not wait for it.
    from kerastl.selection.advice import advise

    options = library_options(arguments, without=("data", "backbone"))
    with ProgressLine("computing features") as progress:
        advice = advise(
            arguments.data, arguments.backbone, progress=progress, **options
        )
    return json_line(advice.to_dict()) if arguments.json else str(advice)
