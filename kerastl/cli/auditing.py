"""`kerastl audit`: what is wrong with a folder of images, before training on it."""

import argparse
from typing import Any

import kerastl
from kerastl._progress import ProgressLine
from kerastl.cli.printing import json_line


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    command = commands.add_parser(
        "audit",
        help="look for unreadable, duplicate, leaking and mislabelled files",
        description=__doc__,
    )
    command.add_argument(
        "data", metavar="DATA", help="a folder of class folders, or of train/ and test/"
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object as the last line on standard output",
    )
    return command


def run(arguments: argparse.Namespace) -> str:
    """Audit, and return the report."""
    with ProgressLine("reading images") as progress:
        report = kerastl.audit(arguments.data, progress=progress)
    return json_line(report.to_dict()) if arguments.json else str(report)
