"""The program: parser, exit statuses, and what goes to which stream.

Every command returns its text. While it runs, standard output points at standard
error, so that no progress bar of Keras can come between a script and its JSON.
"""

import argparse
import contextlib
import os
import re
import sys
import traceback
import warnings
from collections.abc import Sequence

import kerastl
from kerastl.cli import (
    advising,
    auditing,
    backbones,
    caching,
    calibration,
    evaluation,
    features,
    prediction,
    ranking,
    rates,
    training,
)

FAILED, BAD_ARGUMENTS, INTERRUPTED = 1, 2, 130

# A pipe closed by its reader, such as `| head`, ends a program with this status.
CLOSED_PIPE = 141


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. An option that is not given is not in its result."""
    parser = argparse.ArgumentParser(
        prog="kerastl", description="Transfer learning for Keras 3."
    )
    parser.add_argument(
        "--version", action="version", version=f"kerastl {kerastl.__version__}"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (
        training,
        prediction,
        evaluation,
        calibration,
        features,
        ranking,
        rates,
        advising,
        auditing,
        backbones,
        caching,
    ):
        command = module.add_command(commands)
        command.set_defaults(run=module.run, usage=command.format_help())
        command.add_argument(
            "--debug",
            action="store_true",
            default=False,
            help="when the work fails, print the traceback as well",
        )
    return parser


def one_line(error: BaseException) -> str:
    """The message of `error` on one line; its class alone where it has none."""
    message = " ".join(str(error).split())
    # Bad input and missing files explain themselves; of the rest the class helps.
    if message and isinstance(error, ValueError | TypeError | OSError):
        return message
    return f"{type(error).__name__}: {message}".removesuffix(": ")


def blames_an_option(error: BaseException, given: set[str]) -> bool:
    """Whether `error` is the library's sentence about an option that was given."""
    named = re.match(r"`(\w+)` must be ", str(error))
    return (
        isinstance(error, ValueError | TypeError)
        and named is not None
        and named[1] in given
    )


def say(line: str) -> None:
    """Write one line to standard error, under the program's name."""
    print(f"kerastl: {line}", file=sys.stderr, flush=True)


def show_warning(message: Warning | str, *_: object) -> None:
    """Show a warning as one line, without the place in the source."""
    say(f"warning: {' '.join(str(message).split())}")


def in_words_of(arguments: argparse.Namespace, line: str) -> str:
    """The library's way out, as it is written on this command's line."""
    for name in (name for name, value in vars(arguments).items() if value is False):
        line = line.replace(f"{name}=True", f"--{name}")

    def option(found: re.Match[str]) -> str:
        flag = f"--{found[1].replace('_', '-')} "
        return f"{flag}{found[2]}" if flag in arguments.usage else found[0]

    # What was received is in single quotes, and stays.
    return re.sub(r'(\w+)="(\w+)"', option, line)


def failure(error: BaseException, arguments: argparse.Namespace) -> int:
    """Report `error` in one line and return the exit status."""
    if arguments.debug:
        traceback.print_exception(error)
    line = in_words_of(arguments, one_line(error))
    expected = isinstance(error, ValueError | TypeError | OSError)
    hint = "" if expected or arguments.debug else " (--debug shows the traceback)"
    say(f"error: {line}{hint}")
    options = set(vars(arguments)) - {"data", "model", "paths", "run", "usage"}
    return BAD_ARGUMENTS if blames_an_option(error, options) else FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; those of the process when None.

    Returns:
        The exit status: 0, or 1 when the work failed, 2 for bad arguments,
        130 when interrupted, 141 when the reader of a pipe went away.

    Raises:
        SystemExit: By `--help` and `--version` (0), and for arguments that cannot
            be parsed (2).
    """
    arguments = build_parser().parse_args(argv)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.showwarning = show_warning
            text = arguments.run(arguments)
        print(text, flush=True)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # What Python still flushes at exit must not fail a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    # The one boundary of the program: no command may end in a bare traceback.
    except Exception as error:
        return failure(error, arguments)
    return 0
