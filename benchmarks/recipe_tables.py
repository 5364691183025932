"""The tables of `recipes.md`: differences to a baseline, paired run by run."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from recipe_methods import BESIDE, DEFAULT, METHODS, NOW, VARIANTS

#: One file's records by "cell weights/seed".
Results = dict[str, Any]
#: Images a class -> whether that many images of all classes are meant.
IMAGES = {10: lambda images: images <= 100, 100: lambda images: 100 < images <= 1000}
SIZES = [(what, size) for what in ("% right", "seconds") for size in IMAGES]


def ordered_rows() -> list[str]:
    """Methods paired with the first default, those of one run side by side."""
    rows = []
    for method in METHODS:
        rows += [method, *(row for row, run in BESIDE.items() if run == method)]
    others = {DEFAULT, *NOW[1:], *VARIANTS}
    return [row for row in rows if row not in others]


def pairs(files: Sequence[Results], method: str, base: str) -> Iterator[dict[str, Any]]:
    """What a method and the baseline gave for one cell and seed, within one file."""
    for results in files:
        for key, record in results.items():
            runs = record["runs"]
            if method in runs and base in runs:
                yield {
                    "cell": key.rpartition("/")[0],
                    "share": 100 * runs[method]["right"] / record["test_images"],
                    "base": 100 * runs[base]["right"] / record["test_images"],
                    "seconds": runs[method]["seconds"],
                    "base seconds": runs[base]["seconds"],
                }


def by_cell(files: Sequence[Results], method: str, base: str) -> dict[str, list[float]]:
    """Cell -> differences to the baseline in points, one a run."""
    gaps: dict[str, list[float]] = {}
    for pair in pairs(files, method, base):
        gaps.setdefault(pair["cell"], []).append(pair["share"] - pair["base"])
    return gaps


def time_ratio(files: Sequence[Results], method: str, base: str) -> str:
    """Median of seconds over the baseline's, of what ran under the same load."""
    ratios = [
        pair["seconds"] / pair["base seconds"]
        for pair in pairs(files, method, base)
        if pair["seconds"] and pair["base seconds"]
    ]
    return f"{np.median(ratios):.2f}" if ratios else ""


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % t-interval of the mean."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1)
    half /= math.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def print_line(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |")


def print_rows(files: Sequence[Results], rows: Sequence[str], base: str) -> None:
    """One line a method: runs of one cell are alike, so the interval is over cells."""
    columns = f"points above {base}", "95 % interval", "cells", "ahead in", "runs"
    print_line(["method", *columns, "time", "verdict"])
    print_line(["---"] * 8)
    for method in rows:
        gaps = by_cell(files, method, base)
        if not gaps:
            continue
        means = [float(np.mean(runs)) for runs in gaps.values()]
        mean, low, high = interval(means)
        verdict = "better" if low > 0 else "worse" if high < 0 else "no effect shown"
        span = f"{low:+.1f} to {high:+.1f}" if math.isfinite(low) else "one cell"
        print_line(
            [
                method,
                f"{mean:+.1f}",
                span,
                str(len(gaps)),
                str(sum(gap > 0 for gap in means)),
                str(sum(len(runs) for runs in gaps.values())),
                time_ratio(files, method, base),
                verdict,
            ]
        )


def print_cells(files: Sequence[Results], rows: Sequence[str], base: str) -> None:
    """The baseline's accuracy by cell, and every method's difference to it."""
    shares: dict[str, list[float]] = {}
    for pair in pairs(files, base, base):
        shares.setdefault(pair["cell"], []).append(pair["share"])
    cells = sorted(sorted(shares), key=lambda cell: cell.split()[1])
    print_line(["", *cells])
    print_line(["---"] * (1 + len(cells)))
    print_line([f"**{base}**, % right", *(f"{np.mean(shares[c]):.1f}" for c in cells)])
    for method in rows:
        gaps = by_cell(files, method, base)
        if gaps:
            found = (f"{np.mean(gaps[c]):+.1f}" if c in gaps else "" for c in cells)
            print_line([method, *found])


def print_sizes(files: Sequence[Results]) -> None:
    """Each recipe at 10 and at 100 images a class: accuracy, and mean seconds."""
    print_line(["recipe", *(f"{what}, {size} a class" for what, size in SIZES)])
    print_line(["---"] * (1 + len(SIZES)))
    for recipe in NOW:
        row = [recipe]
        for what, size in SIZES:
            found: dict[str, list[float]] = {}
            for pair in pairs(files, recipe, NOW[0]):
                images = int(pair["cell"].split()[0].rpartition("-")[2])
                value = pair["share" if what == "% right" else "seconds"]
                if IMAGES[size](images) and value:
                    found.setdefault(pair["cell"], []).append(value)
            means = [float(np.mean(values)) for values in found.values()]
            row.append(f"{np.mean(means):.1f}" if means else "")
        print_line(row)


def print_tables(files: Sequence[Results]) -> None:
    """The recipes, then every method, and both by cell; as Markdown."""
    print_sizes(files)
    for printed in (print_rows, print_cells):
        for rows, base in ((NOW[1:] + VARIANTS, NOW[0]), (ordered_rows(), DEFAULT)):
            print()
            printed(files, rows, base)
