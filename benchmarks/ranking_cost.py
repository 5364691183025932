"""What does a ranking cost over the forward passes it cannot do without?

Six backbones on 1,000 images: `rank_backbones` with its default scores against the
same networks' passes over the same decoded images, in turns, each in a fresh process
(a network compiled once would be free the second time). Building and compiling are on
both sides. `--scores` prints the seconds of each score on features of these widths.

    python benchmarks/ranking_cost.py
    python benchmarks/ranking_cost.py --scores
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "ranking_cost.json"
SIZE = 96
CANDIDATES = [
    "MobileNet:alpha=0.25,weights=tiny",
    "MobileNet:alpha=0.5,weights=tiny",
    "MobileNetV2:alpha=0.5,weights=tiny",
    "MobileNet:alpha=0.25,weights=none",
    "MobileNetV2:alpha=0.35,weights=none",
    "MobileNet:alpha=1,weights=none",
]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scores", action="store_true", help="seconds of each score")
    parser.add_argument("--side", choices=("ranking", "passes"), help="in this process")
    return parser.parse_args()


def seconds_of(side: str, images: int) -> float:
    """Seconds of one side, its data made beforehand."""
    from kerastl.data.shapes import make_shapes
    from kerastl.features.network import extract_features, feature_network
    from kerastl.selection.ranking import rank_backbones, read_candidates

    data, _ = make_shapes(images, image_size=SIZE)
    start = time.perf_counter()
    if side == "ranking":
        rank_backbones(data, CANDIDATES, image_size=SIZE)
    else:
        options = {"image_size": SIZE, "weights": None}
        for candidate in read_candidates(CANDIDATES, options):
            network = feature_network(candidate.open(seed=0))
            extract_features(network, data, image_size=SIZE)
    return time.perf_counter() - start


def in_fresh_process(side: str, images: int) -> float:
    command = [sys.executable, __file__, "--side", side, "--images", str(images)]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def score_seconds(images: int) -> dict[str, dict[str, float]]:
    """Seconds of each score on random features of two widths, ten classes."""
    from kerastl.selection.transferability import SCORES

    random = np.random.default_rng(0)
    labels = np.arange(images) % 10
    found: dict[str, dict[str, float]] = {}
    for width in (256, 1280):
        features = random.normal(size=(images, width)) + labels[:, None] / 10
        found[str(width)] = {}
        for name, score in SCORES.items():
            start = time.perf_counter()
            score(features, labels)
            found[str(width)][name] = round(time.perf_counter() - start, 3)
    return found


def main() -> None:
    arguments = parse_arguments()
    if arguments.side:
        print(seconds_of(arguments.side, arguments.images))
        return
    if arguments.scores:
        print(json.dumps(score_seconds(arguments.images), indent=1))
        return
    rows = []
    for _ in range(arguments.repeats):
        passes = in_fresh_process("passes", arguments.images)
        ranking = in_fresh_process("ranking", arguments.images)
        rows.append({"passes": round(passes, 2), "ranking": round(ranking, 2)})
        print(f"passes {passes:.1f} s, ranking {ranking:.1f} s", flush=True)
    ratio = statistics.median(row["ranking"] / row["passes"] for row in rows)
    record = {
        "images": arguments.images,
        "image_size": SIZE,
        "candidates": CANDIDATES,
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "runs": rows,
        "ratio": round(ratio, 2),
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    print(f"median ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
