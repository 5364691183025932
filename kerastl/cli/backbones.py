"""`kerastl backbones`: the networks that can be transferred, as a table."""

import argparse
from typing import Any

from kerastl.cli.printing import json_line, table


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command's parser to `commands`."""
    command = commands.add_parser(
        "backbones", help="list the backbones", description=__doc__
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object as the last line on standard output",
    )
    return command


def run(arguments: argparse.Namespace) -> str:
    """Return the table of backbones."""
    # Imported here: `kerastl --help` need not wait for it.
    from kerastl.models.backbones import backbone_table

    rows = backbone_table()
    return json_line({"backbones": rows}) if arguments.json else table(rows)
