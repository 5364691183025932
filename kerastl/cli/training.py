"""`kerastl train`: from a folder of images to a trained, scored, saved classifier."""

import argparse
import datetime
import sys
from pathlib import Path
from typing import Any

import kerastl
from kerastl.cli.options import (
    Adder,
    add_augment,
    add_backbone,
    add_data,
    add_json,
    add_seed,
    library_options,
    whole,
)
from kerastl.cli.printing import json_line, percent


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    # A suppressed default stays out of the call: the library's is the only default.
    command = commands.add_parser(
        "train",
        help="train a classifier on a folder of images or a named dataset",
        # DATA first: an option that takes several values would swallow it.
        usage="%(prog)s DATA [options]",
        description=__doc__,
        argument_default=argparse.SUPPRESS,
    )
    add_data(
        command.add_argument,
        "a folder of class folders, one with train/ and test/ inside, or the "
        "name of a dataset: digits, shapes, flowers, cifar10, ...",
    )
    add_settings(command.add_argument)
    add_output(command.add_argument)
    return command


def add_settings(option: Adder) -> None:
    """Add the options that become arguments of `transfer`."""
    add_backbone(option)
    option(
        "--recipe",
        metavar="R",
        help="auto, linear_probe, two_phase, lp_ft, gradual, full, or scratch",
    )
    option("--epochs", type=whole, nargs="+", metavar="N", help="one, or one a phase")
    option("--batch-size", type=whole, metavar="N", help="images in a step")
    option(
        "--learning-rate",
        type=float,
        metavar="LR",
        help="of the last phase (gradual: of all after the head)",
    )
    option("--patience", type=whole, metavar="N", help="epochs without a better result")
    option("--resize", metavar="R", help="stretch, crop, or pad")
    option("--dropout", type=float, metavar="P", help="on the head's features")
    option("--label-smoothing", type=float, metavar="E", help="share, 0 to 1")
    option("--class-weight", metavar="W", help="balanced: rare classes count more")
    option("--precision", metavar="P", help="mixed_bfloat16 or mixed_float16")
    option("--on-leak", metavar="L", help="drop or error: copies of held-out images")
    add_augment(option)
    option("--views", type=whole, metavar="K", help="augmented versions kept of each")
    option("--cache", metavar="C", help="frozen outputs: auto, memory, disk, or off")
    option("--strategy", metavar="D", help="auto, cpu, mirrored, or tpu")
    option(
        "--validation",
        type=float,
        metavar="SHARE",
        help="of the training images, where DATA has no such part",
    )
    option(
        "--test",
        type=float,
        metavar="SHARE",
        help="of all images, scored once at the end, where DATA has no such part",
    )
    option("--on-bad", metavar="B", help="error or skip: files that cannot be read")
    add_seed(option, "of splits, weights and order")


def add_output(option: Adder) -> None:
    """Add the options on what is written."""
    option(
        "--output", metavar="DIR", help="where to write; a fresh dated folder if absent"
    )
    option(
        "--overwrite", action="store_true", default=False, help="replace what DIR holds"
    )
    add_json(option)


def fresh_folder(data: str) -> Path:
    """A folder named after the data and the time, that does not exist."""
    name = Path(data).resolve().name if Path(data).is_dir() else data
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path(f"kerastl-{name}-{stamp}")
    number = 2
    while folder.exists():
        folder = Path(f"kerastl-{name}-{stamp}-{number}")
        number += 1
    return folder


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, as keyword arguments of `transfer`."""
    given = library_options(
        arguments,
        without=("data", "output", "overwrite"),
        may_be_none=("weights", "augment"),
    )
    if len(given.get("epochs", ())) == 1:
        given["epochs"] = given["epochs"][0]
    return given


def summary(report: dict[str, Any], output: Path) -> dict[str, Any]:
    """The numbers a script wants, from the report of `transfer`."""
    return {
        "validation_accuracy": (report["validation"] or {}).get("accuracy"),
        "test_accuracy": (report["test"] or {}).get("accuracy"),
        "seconds": report["seconds"]["total"],
        "output": str(output),
        "settings": report["settings"],
    }


def run(arguments: argparse.Namespace) -> str:
    """Train, and return the summary to print."""
    output = Path(vars(arguments).get("output") or fresh_folder(arguments.data))
    try:
        result = kerastl.transfer(
            arguments.data,
            output=output,
            overwrite=arguments.overwrite,
            **settings(arguments),
        )
    except KeyboardInterrupt:
        kept = output / "model.keras"
        if kept.exists():
            print(f"kerastl: the best weights so far are in {kept}", file=sys.stderr)
        raise
    if "weights" not in arguments:
        print(
            "kerastl: this started from the bundled weights; "
            "--weights imagenet starts from ImageNet's, downloaded once",
            file=sys.stderr,
        )
    numbers = summary(result.report, output)
    if arguments.json:
        return json_line(numbers)
    return "\n".join(
        [
            f"validation accuracy  {percent(numbers['validation_accuracy'])}",
            f"test accuracy        {percent(numbers['test_accuracy'])}",
            f"time                 {numbers['seconds']:.0f} s",
            f"written to           {output}",
            f"next                 kerastl predict {output / 'model.keras'} IMAGE ...",
        ]
    )
