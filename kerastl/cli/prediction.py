"""`kerastl predict`: the class of each image, as CSV or one JSON object a line."""

import argparse
import csv
import io
from typing import Any

import kerastl
from kerastl._progress import ProgressLine
from kerastl.cli.options import whole
from kerastl.cli.printing import json_line


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    command = commands.add_parser(
        "predict", help="name the class of images", description=__doc__
    )
    command.add_argument("model", metavar="MODEL", help="a model.keras of `train`")
    command.add_argument(
        "paths", metavar="PATH", nargs="+", help="an image, or a folder of images"
    )
    command.add_argument(
        "--jsonl", action="store_true", help="one JSON object a line instead of CSV"
    )
    add_views(command)
    return command


def add_views(command: argparse.ArgumentParser) -> None:
    """Add the options on averaging over several views of each image."""
    command.add_argument(
        "--views",
        type=whole,
        metavar="K",
        default=argparse.SUPPRESS,
        help="average over K views of each image: itself, mirrored, cropped",
    )
    command.add_argument(
        "--augment",
        metavar="A",
        default=argparse.SUPPRESS,
        help="what the views come from: light, or digits for what must not be mirrored",
    )


def view_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options on views that were given; without them the library's hold."""
    given = vars(arguments)
    return {name: given[name] for name in ("views", "augment") if name in given}


def csv_row(row: dict[str, Any]) -> dict[str, Any]:
    """`row` with several labels, or none, as one field."""
    label = row["label"]
    return {**row, "label": label if isinstance(label, str) else ";".join(label)}


def run(arguments: argparse.Namespace) -> str:
    """Predict, and return one line for each image."""
    model = kerastl.load_model(arguments.model)
    with ProgressLine("predicting") as progress:
        predictions = kerastl.predict(
            model, arguments.paths, progress=progress, **view_options(arguments)
        )
    rows = [{**row, "probability": round(row["probability"], 6)} for row in predictions]
    if arguments.jsonl:
        return "\n".join(json_line(row) for row in rows)
    text = io.StringIO()
    fields = ["path", "label", "probability"]
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(csv_row, rows))
    return text.getvalue().rstrip("\n")
