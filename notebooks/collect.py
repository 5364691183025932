"""A table of the checks that a class has passed, from the records of its notebooks.

    python notebooks/collect.py FOLDER [--csv]

Each learner sets `KERASTL_RECORD` to a file of their own before the notebook starts,
such as `anna.jsonl`, and hands it in; FOLDER holds these files. A cell of the table
says "passed", "open" for an exercise that was begun, or "-", and the number of hints
before it. The checks can be read and the records edited: the table shows who needs
help, and is no basis for marks.
"""

import argparse
import csv
import json
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 1 where there is no record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--csv", action="store_true", help="commas, for a spreadsheet")
    options = parser.parse_args(arguments)
    records = sorted(options.folder.glob("*.jsonl"))
    if not records:
        print(f"{options.folder} holds no file that ends in .jsonl", file=sys.stderr)
        return 1
    rows = table({path.stem: read_checks(path) for path in records})
    if options.csv:
        csv.writer(sys.stdout).writerows(rows)
        return 0
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0


def read_checks(path: Path) -> dict[str, tuple[str, int]]:
    """Exercise -> (state, hints until then); a torn last line counts for nothing."""
    found: dict[str, tuple[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            note = json.loads(line)
        except ValueError:
            continue
        if note.get("kind") != "check":
            continue
        state, hints = found.get(note["key"], ("-", 0))
        if state == "passed":
            continue
        hints += note["outcome"] == "hint"
        state = {"passed": "passed", "hint": "open"}.get(note["outcome"], state)
        found[note["key"]] = state, hints
    return found


def table(learners: dict[str, dict[str, tuple[str, int]]]) -> list[list[str]]:
    """A row of cells for each learner, below the names of the exercises."""
    keys = sorted({key for checks in learners.values() for key in checks})
    rows = [["learner", *keys, "passed"]]
    for name, checks in sorted(learners.items()):
        states = [checks.get(key, ("-", 0)) for key in keys]
        cells = [f"{state} ({hints})" if hints else state for state, hints in states]
        passed = sum(state == "passed" for state, _ in states)
        rows.append([name, *cells, f"{passed} of {len(keys)}"])
    return rows


if __name__ == "__main__":
    sys.exit(main())
