"""The tables of `recipes.md`: differences to the default, paired run by run."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from recipe_methods import BESIDE, DEFAULT, METHODS

#: One file's records by "cell weights/seed".
Results = dict[str, Any]


def ordered_rows() -> list[str]:
    """Every row but the default's, those of one run side by side."""
    rows = []
    for method in METHODS:
        rows += [method, *(row for row, run in BESIDE.items() if run == method)]
    return [row for row in rows if row != DEFAULT]


def cell_gaps(files: Sequence[Results], method: str) -> dict[str, list[float]]:
    """Cell -> differences to the default in points, one a run."""
    gaps: dict[str, list[float]] = {}
    for results in files:
        for key, record in results.items():
            runs = record["runs"]
            if method in runs and DEFAULT in runs:
                gap = runs[method]["right"] - runs[DEFAULT]["right"]
                gap *= 100 / record["test_images"]
                gaps.setdefault(key.rpartition("/")[0], []).append(gap)
    return gaps


def time_ratios(files: Sequence[Results], method: str) -> list[float]:
    """Seconds over the default's, where both were timed under the same load."""
    pairs = [
        (record["runs"][method]["seconds"], record["runs"][DEFAULT]["seconds"])
        for results in files
        for record in results.values()
        if method in record["runs"] and DEFAULT in record["runs"]
    ]
    return [other / base for other, base in pairs if other and base]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % t-interval of the mean."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1)
    half /= math.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def print_methods(files: Sequence[Results]) -> None:
    """One line a method: runs of one cell are alike, so the interval is over cells."""
    columns = "points above the default", "95 % interval", "cells", "ahead in", "runs"
    print(f"| method | {' | '.join(columns)} | time | verdict |")
    print("|---|---|---|---|---|---|---|---|")
    for method in ordered_rows():
        gaps = cell_gaps(files, method)
        if not gaps:
            continue
        means = [float(np.mean(runs)) for runs in gaps.values()]
        mean, low, high = interval(means)
        verdict = "better" if low > 0 else "worse" if high < 0 else "no effect shown"
        span = f"{low:+.1f} to {high:+.1f}" if math.isfinite(low) else "one cell"
        ratios = time_ratios(files, method)
        row = [
            method,
            f"{mean:+.1f}",
            span,
            str(len(gaps)),
            str(sum(gap > 0 for gap in means)),
            str(sum(len(runs) for runs in gaps.values())),
            f"{np.median(ratios):.2f}" if ratios else "",
            verdict,
        ]
        print(f"| {' | '.join(row)} |")


def print_cells(files: Sequence[Results]) -> None:
    """The default's accuracy by cell, and every method's difference to it."""
    cells = sorted({key.rpartition("/")[0] for results in files for key in results})
    cells.sort(key=lambda cell: cell.split()[1])
    print(f"\n| | {' | '.join(cells)} |")
    print(f"|---|{'---|' * len(cells)}")
    shares: dict[str, list[float]] = {cell: [] for cell in cells}
    for results in files:
        for key, record in results.items():
            if DEFAULT in record["runs"]:
                right = record["runs"][DEFAULT]["right"]
                share = 100 * right / record["test_images"]
                shares[key.rpartition("/")[0]].append(share)
    row = [f"{np.mean(shares[cell]):.1f}" if shares[cell] else "" for cell in cells]
    print(f"| **{DEFAULT}**, % right | {' | '.join(row)} |")
    for method in ordered_rows():
        gaps = cell_gaps(files, method)
        if gaps:
            row = [f"{np.mean(gaps[c]):+.1f}" if c in gaps else "" for c in cells]
            print(f"| {method} | {' | '.join(row)} |")


def print_tables(files: Sequence[Results]) -> None:
    """Both tables, as Markdown."""
    print_methods(files)
    print_cells(files)
