"""The `kerastl` command, begun in silence: TensorFlow writes when it is imported.

Beside the package, not in it: importing anything of `kerastl` imports TensorFlow.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

STANDARD_ERROR = 2
INTERRUPTED = 130


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold what the process writes to standard error; show it only if this fails."""
    try:
        screen = os.dup(STANDARD_ERROR)
    except OSError:
        # Closed by whoever started the program: there is nothing to keep clean.
        yield
        return
    with tempfile.TemporaryFile() as held, os.fdopen(screen, "wb") as shown:
        os.dup2(held.fileno(), STANDARD_ERROR)
        try:
            yield
        except BaseException:
            held.seek(0)
            shown.write(held.read())
            raise
        finally:
            shown.flush()
            os.dup2(screen, STANDARD_ERROR)


def main() -> int:
    """Run one command, and return its exit status."""
    # Its C++ code calls a missing GPU an error, and warns in each epoch of a guess it
    # could not make. What TensorFlow raises is reported all the same.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with held_back():
            from kerastl.cli.program import main as run
    except KeyboardInterrupt:
        return INTERRUPTED
    return run()


if __name__ == "__main__":
    sys.exit(main())
