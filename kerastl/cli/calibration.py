"""`kerastl calibrate`: honest probabilities, by one temperature kept in the model."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import kerastl
from kerastl._progress import ProgressLine
from kerastl.cli.options import seed
from kerastl.cli.printing import json_line
from kerastl.data.inputs import open_data
from kerastl.data.sets import ImageSet
from kerastl.prediction import calibrate
from kerastl.tasks.building import model_path

# What `train` takes when nobody says otherwise.
_SHARES = {"validation": 0.15, "test": 0.0, "seed": 0}


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    command = commands.add_parser(
        "calibrate",
        help="make the probabilities of a classifier honest",
        description=__doc__,
        argument_default=argparse.SUPPRESS,
    )
    command.add_argument("model", metavar="MODEL", help="a model.keras of `train`")
    command.add_argument(
        "data",
        metavar="DATA",
        help="what `train` was given: the validation part is cut from it in the same "
        "way, and calibrates",
    )
    option = command.add_argument
    option("--validation", type=float, metavar="SHARE", help="as given to `train`")
    option("--test", type=float, metavar="SHARE", help="as given to `train`")
    option("--seed", type=seed, metavar="S", help="as given to `train`")
    option("--output", metavar="FILE", help="where to write; MODEL itself if absent")
    option(
        "--json",
        action="store_true",
        default=False,
        help="print one JSON object as the last line on standard output",
    )
    return command


def report_beside(model: Path) -> dict[str, Any]:
    """What `train` wrote down beside the model; empty if it is not there."""
    try:
        report = json.loads((model.parent / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def validation_images(arguments: argparse.Namespace) -> ImageSet:
    """The images that the run chose its weights by, as `train` cut them."""
    report = report_beside(Path(arguments.model))
    given = {**_SHARES, **(report.get("settings") or {}), **vars(arguments)}
    shares = {name: given[name] for name in _SHARES}
    with ProgressLine("reading images") as progress:
        images = open_data(arguments.data, **shares, progress=progress).validation
    if images is None:
        raise ValueError(
            f"{arguments.data} has no validation part. Pass --validation 0.15 to cut "
            "one off images that were not trained on."
        )
    known = ((report.get("splits") or {}).get("validation") or {}).get("images")
    if known not in (None, len(images)):
        print(
            f"kerastl: warning: these are {len(images)} images, but the run chose by "
            f"{known}; images that were trained on make the model look too timid",
            file=sys.stderr,
        )
    return images


def run(arguments: argparse.Namespace) -> str:
    """Calibrate, write the model, and return what changed."""
    output = model_path(vars(arguments).get("output") or arguments.model)
    model = kerastl.load_model(arguments.model)
    images = validation_images(arguments)
    with ProgressLine("calibrating") as progress:
        result = calibrate(model, images, progress=progress)
    kerastl.save_model(model, output)
    if arguments.json:
        return json_line({**result.to_dict(), "output": str(output)})
    return f"{result}\nwritten to {output}"
