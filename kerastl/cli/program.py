"""The program: parser, exit statuses, and what goes to which stream.

While a command runs, standard output points at standard error, so that no progress
bar of Keras can come between a script and its JSON.
"""

import argparse
import contextlib
import inspect
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

import shtab

import kerastl
from kerastl.cli.commands import COMMANDS
from kerastl.cli.printing import say
from kerastl.cli.signatures import REQUIRED, parameters

FAILED, BAD_ARGUMENTS, INTERRUPTED = 1, 2, 130

# A pipe closed by its reader, such as `| head`, ends a program with this status.
CLOSED_PIPE = 141
_STANDARD_ERROR = 2
_FILES = {"data", "model", "paths", "output", "plot", "folder"}


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser. An option that is not given is not in its result.

    Args:
        only: The one command whose arguments are needed; None: of all.
    """
    parser = argparse.ArgumentParser(
        prog="kerastl", description="Transfer learning for Keras 3."
    )
    parser.add_argument(
        "--version", action="version", version=f"kerastl {kerastl.__version__}"
    )
    shtab.add_argument_to(
        parser, help="print the script that completes words in this shell"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (run, _) in COMMANDS.items():
        text = (inspect.getdoc(run) or "").partition("\n\nArgs:")[0].replace("`", "")
        command = commands.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            argument_default=argparse.SUPPRESS,
        )
        if only in (None, name):
            _add_arguments(command, name)
    return parser


def _add_arguments(command: argparse.ArgumentParser, name: str) -> None:
    """Add the arguments of a command's function, and of the library's."""
    run, sources = COMMANDS[name]
    module = run.__module__.removeprefix("kerastl.")
    own = parameters(f"{module}:{name}")
    known = {parameter.name: parameter for parameter in own}
    for source in sources:
        for parameter in parameters(source):
            # The library's data arguments are the command's own.
            if not (parameter.positional and parameter.default is REQUIRED):
                option = replace(parameter, positional=False)
                known.setdefault(parameter.name, option)
    # DATA first: an option that takes several values would swallow it.
    needed = [each for each in own if each.positional or each.default is REQUIRED]
    words = [each.word for each in needed]
    command.usage = " ".join(["%(prog)s", *words, "[options]"])
    for parameter in known.values():
        added = parameter.add_to(command)
        if parameter.name in _FILES:
            added.complete = shtab.FILE  # type: ignore[attr-defined]
    if "jsonl" not in known:
        command.add_argument(
            "--json",
            action="store_true",
            help="print one JSON object as the last line on standard output",
        )
    command.add_argument(
        "--debug",
        action="store_true",
        help="when the work fails, print the traceback as well",
    )
    command.set_defaults(command=name, run=run, known=known, json=False, debug=False)


#: Of TensorFlow 2.18 to 2.20, whatever level of its log is set: a thousand characters
#: on a cost that it could not guess, and what announces them.
_NOISE = (b"op_level_cost_estimator", b"before absl::InitializeLog()")


def _is_noisy() -> bool:
    try:
        if sys.stderr.fileno() != _STANDARD_ERROR:
            return False
    except (AttributeError, OSError):  # There is none, or a test holds it.
        return False
    for name in ("tensorflow", "tensorflow-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(name).startswith(("2.18.", "2.19.", "2.20."))
    return False


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Keep known noise of TensorFlow's C++ code off the screen, while it makes any.

    What Python writes goes straight to the screen, which stays a terminal for it.
    """
    if not _is_noisy():
        yield
        return
    screen, (end, begin) = os.dup(_STANDARD_ERROR), os.pipe()
    os.dup2(begin, _STANDARD_ERROR)
    os.close(begin)

    def show() -> None:
        with os.fdopen(end, "rb") as lines:
            for line in lines:
                if not any(words in line for words in _NOISE):
                    os.write(screen, line)

    shown = threading.Thread(target=show, daemon=True)
    shown.start()
    straight = open(screen, "w", buffering=1, closefd=False)  # noqa: SIM115
    try:
        with contextlib.redirect_stderr(straight):
            yield
    finally:
        os.dup2(screen, _STANDARD_ERROR)
        shown.join()
        os.close(screen)


class Ended(KeyboardInterrupt):
    """A signal that asks the program to end: it ends as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        """Keep the signal's number."""
        super().__init__(number)
        self.status = 128 + number


def _end(number: int, _: object) -> NoReturn:
    # Once is enough: what was learnt is being written.
    signal.signal(number, signal.SIG_IGN)
    raise Ended(number)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let a batch system, a closed terminal and a shutdown end the program as Ctrl-C.

    What somebody set before, such as `nohup`, stays.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP.
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold what the process writes to standard error; show it only if this fails."""
    try:
        screen = os.dup(_STANDARD_ERROR)
    except OSError:
        # Closed by whoever started the program: there is nothing to keep clean.
        yield
        return
    with tempfile.TemporaryFile() as held, os.fdopen(screen, "wb") as shown:
        os.dup2(held.fileno(), _STANDARD_ERROR)
        try:
            yield
        except BaseException:
            held.seek(0)
            shown.write(held.read())
            raise
        finally:
            shown.flush()
            os.dup2(screen, _STANDARD_ERROR)


def load_library() -> None:
    """Import what every command needs; a setting that stops it is named.

    Raises:
        ValueError: If an environment variable names what cannot be used.
    """
    failed = None
    with held_back():
        try:
            kerastl.register_saved_classes()
        except (ValueError, ImportError) as error:
            failed = error
            for name in ("KERAS_BACKEND", "MPLBACKEND"):
                if (value := os.environ.get(name)) and value in str(error):
                    break
            else:
                raise
    if failed is not None:
        hint = "Leave it out, or install what it names."
        message = f"The environment variable {name}={value} cannot be used. {hint}"
        raise ValueError(message) from failed


def one_line(error: BaseException) -> str:
    """The message of `error` on one line; its class alone where it has none."""
    message = " ".join(str(error).split())
    if message and _explains_itself(error):
        return message
    return f"{type(error).__name__}: {message}".removesuffix(": ")


def _explains_itself(error: BaseException) -> bool:
    """Whether the message is enough; of other errors the class helps.

    It is for bad input and missing files, and where the library says what to install.
    """
    to_install = isinstance(error, ImportError) and str(error).startswith("`")
    return to_install or isinstance(error, ValueError | TypeError | OSError)


def show_warning(message: Warning | str, *_: object) -> None:
    """Show a warning as one line, without the place in the source."""
    say(f"warning: {' '.join(str(message).split())}")


def in_words_of(arguments: argparse.Namespace, line: str) -> str:
    """The library's way out, as it is written on this command's line."""

    def option(found: re.Match[str]) -> str:
        parameter = arguments.known.get(found[1])
        if parameter is None or parameter.positional:
            return found[0]
        return f"{parameter.flag} {found[2] or ''}".rstrip()

    line = re.sub(r"(?<=Pass )(\w+)=([\d.]*\d)", option, line)
    # What was received is in single quotes, and stays.
    return re.sub(r'(\w+)=(?:"(\w+)"|True\b)', option, line)


def say_notes(error: BaseException) -> None:
    """Say what an error says beside its message, such as where the model is."""
    for note in getattr(error, "__notes__", []):
        say(note)


def failure(error: BaseException, arguments: argparse.Namespace) -> int:
    """Report `error` in one line and return the exit status."""
    if arguments.debug:
        traceback.print_exception(error)
    line = in_words_of(arguments, one_line(error))
    expected = _explains_itself(error)
    hint = "" if expected or arguments.debug else " (--debug shows the traceback)"
    say(f"error: {line}{hint}")
    say_notes(error)
    named = re.match(r"`(\w+)` must be ", str(error))
    blamed = arguments.known.get(named[1]) if named else None
    given = blamed is not None and not blamed.positional and blamed.name in arguments
    return BAD_ARGUMENTS if given and expected else FAILED


def _print(text: str) -> None:
    """Write the result; a full disk behind the pipe says where it failed."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python would flush what is left at exit, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(f"Cannot write standard output: {error.strerror}.") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; those of the process when None.

    Returns:
        The exit status: 0, or 1 when the work failed, 2 for bad arguments, 130 when
        interrupted, 129 and 143 when ended by a hang-up or by SIGTERM, 141 when the
        reader of a pipe went away.

    Raises:
        SystemExit: By `--help` and `--version` (0), and for arguments that cannot
            be parsed (2).
    """
    if sys.stdout is None:
        say("error: standard output is closed, and the result goes there")
        return FAILED
    words = sys.argv[1:] if argv is None else argv
    # Reading what all commands take would be felt.
    named = next((word for word in words if word in COMMANDS), "")
    completing = any(word.startswith("--print-completion") for word in words)
    arguments = build_parser(None if completing else named).parse_args(words)
    options = {
        name: parameter.value(getattr(arguments, name))
        for name, parameter in arguments.known.items()
        if name in arguments
    }
    try:
        with (
            without_noise(),
            contextlib.redirect_stdout(sys.stderr),
            warnings.catch_warnings(),
            ending_on_signals(),
        ):
            warnings.showwarning = show_warning
            if "keras" not in sys.modules:
                # TensorFlow writes when it is imported.
                load_library()
            reply = arguments.run(**options)
        text = reply.shown(as_json=arguments.json, terminal=sys.stdout.isatty())
        _print(text)
    except KeyboardInterrupt as error:
        say_notes(error)
        say("ended by a signal" if isinstance(error, Ended) else "interrupted")
        return getattr(error, "status", INTERRUPTED)
    except BrokenPipeError:
        # What Python still flushes at exit must not fail a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    # The one boundary of the program: no command may end in a bare traceback.
    except Exception as error:
        return failure(error, arguments)
    return 0
