"""A zip file for a class: the open notebooks and a wheel, without any solution.

python notebooks/make_handout.py HANDOUT.zip [--wheel KERASTL.whl]
"""

import argparse
import sys
import zipfile
from pathlib import Path

from build import ROOT
from lesson_files import FOLDER

_START = """\
# Start here

Once, with a network, in the folder of this file:

    python -m venv .venv
    {folder}pip install {wheel} jupyterlab

and from then on without one:

    {folder}jupyter lab

Open `00_start_here.ipynb`. On Windows write `.venv\\Scripts\\` for `.venv/bin/`.
In Colab: upload a notebook and the `.whl` file, and run the first cell.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zip", type=Path, metavar="HANDOUT.zip")
    parser.add_argument("--wheel", type=Path, help="made by: pip wheel --no-deps .")
    options = parser.parse_args(arguments)
    if options.zip.exists():
        print(f"{options.zip} exists: nothing was written", file=sys.stderr)
        return 1
    if options.wheel and not options.wheel.is_file():
        print(f"{options.wheel} is no file: nothing was written", file=sys.stderr)
        return 1
    for name in write_handout(options.zip, options.wheel):
        print(name)
    return 0


def write_handout(path: Path, wheel: Path | None = None) -> list[str]:
    """Write the zip file; the names of what it holds.

    Only what is named here goes in: a new folder of solutions cannot slip through.
    """
    notebooks = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
    named = "kerastl-*.whl" if wheel is None else wheel.name
    start = _START.format(folder=".venv/bin/", wheel=named)
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("START.md", start)
        for each in (*notebooks, ROOT / "LICENSE", *([wheel] if wheel else [])):
            bundle.write(each, each.name)
        return bundle.namelist()


if __name__ == "__main__":
    sys.exit(main())
