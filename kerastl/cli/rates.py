"""`kerastl lr`: a learning rate for your images, from one short sweep of rates."""

import argparse
from pathlib import Path
from typing import Any

from kerastl._progress import ProgressLine
from kerastl.cli.options import (
    add_augment,
    add_backbone,
    add_data,
    add_json,
    add_resize,
    add_seed,
    check_picture,
    library_options,
    whole,
)
from kerastl.cli.printing import json_line

_BUILDING = ("alpha", "image_size", "resize")


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    # A suppressed default stays out of the call: the library's is the only default.
    command = commands.add_parser(
        "lr",
        help="find a learning rate for your images",
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
    add_resize(option)
    option(
        "--trainable",
        type=count_or_name,
        metavar="T",
        help="what is to train: head, all, a number of blocks, or a layer's name; "
        "head if absent",
    )
    option("--optimizer", metavar="O", help="adamw, sgd, ...")
    option("--batch-size", type=whole, metavar="N", help="images in a step")
    option("--steps", type=whole, metavar="N", help="of the sweep")
    add_augment(option)
    add_seed(option, "of the split, random weights and order")
    option(
        "--output",
        metavar="FILE",
        default=None,
        help="a picture of the loss against the rate: .png, .svg or .pdf",
    )
    add_json(option)
    return command


def count_or_name(text: str) -> int | str:
    """A number of blocks, or a word."""
    return int(text) if text.isdigit() else text


def run(arguments: argparse.Namespace) -> str:
    """Sweep, and return the rates to take."""
    if arguments.output is not None:
        check_picture("output", Path(arguments.output))
    # Imported here: `kerastl --help` need not wait for it.
    from kerastl.data.inputs import open_data
    from kerastl.evaluation.figures import save_figure
    from kerastl.tasks.building import build_model
    from kerastl.tasks.task import task_of_set
    from kerastl.training.rate_finder import find_learning_rate

    options = library_options(
        arguments,
        without=("data", "backbone", "output"),
        may_be_none=("weights", "augment"),
    )
    building = {name: options.pop(name) for name in _BUILDING if name in options}
    weights = options.pop("weights", "tiny")
    seed = options.get("seed", 0)
    with ProgressLine("reading images") as progress:
        # The images that `kerastl train` trains on.
        splits = open_data(
            arguments.data, validation=0.15, seed=seed, progress=progress
        )
    model = build_model(
        arguments.backbone,
        task_of_set(splits.train),
        weights=weights,
        seed=seed,
        **building,
    )
    with ProgressLine("trying learning rates") as progress:
        curve = find_learning_rate(model, splits.train, progress=progress, **options)
    if arguments.output is not None:
        save_figure(curve.plot(), arguments.output)
    return json_line(curve.to_dict()) if arguments.json else str(curve)
