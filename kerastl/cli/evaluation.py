"""`kerastl evaluate`: the score of a saved classifier on images with labels."""

import argparse
import sys
from typing import Any

import kerastl
from kerastl._progress import ProgressLine
from kerastl.cli.prediction import add_views, view_options
from kerastl.cli.printing import json_line
from kerastl.data.inputs import open_data
from kerastl.data.sets import ImageSet


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    command = commands.add_parser(
        "evaluate", help="score a classifier on labelled images", description=__doc__
    )
    command.add_argument("model", metavar="MODEL", help="a model.keras of `train`")
    command.add_argument(
        "data",
        metavar="DATA",
        help="a folder of class folders, or the name of a dataset; where it has a "
        "test part, that part is scored",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object as the last line on standard output",
    )
    add_views(command)
    return command


def images_to_score(data: str) -> ImageSet:
    """The test part of `data`, else its validation part, else all of it."""
    with ProgressLine("reading images") as progress:
        splits = open_data(data, validation=0.0, progress=progress)
    if splits.test is not None:
        return splits.test
    if splits.validation is not None:
        print(
            f"kerastl: {data} has no test part; scoring its validation part",
            file=sys.stderr,
        )
        return splits.validation
    print(
        f"kerastl: {data} has no test part; scoring all of its {len(splits.train)} "
        "images, those that the model may have been trained on included",
        file=sys.stderr,
    )
    return splits.train


def run(arguments: argparse.Namespace) -> str:
    """Evaluate, and return the report."""
    model = kerastl.load_model(arguments.model)
    images = images_to_score(arguments.data)
    with ProgressLine("scoring") as progress:
        report = kerastl.evaluate(
            model, images, progress=progress, **view_options(arguments)
        )
    return json_line(report.to_dict()) if arguments.json else str(report)
