"""`kerastl train` against the guide of Keras, paired: same photos, same test folder.

Each seed makes one 80/20 split. Both sides train on its train/ folder and are scored
on its test/ folder, which neither may use to choose anything (the guide does anyway:
its best epoch is reported). The side that goes first alternates.

    python benchmarks/against_guide.py KERAS_HOME/datasets/flower_photos
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
TEST_SHARE = 0.2


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder of class folders")
    parser.add_argument("--recipe", nargs="+", default=["default"], metavar="R")
    parser.add_argument("--image-size", type=int, default=144)
    parser.add_argument("--alpha", type=float, default=0.25)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--guide-epochs", type=int, nargs=2, default=(5, 5))
    parser.add_argument("--name", default="against_guide", help="of the files written")
    return parser.parse_args()


def split(source: Path, target: Path, seed: int) -> dict[str, int]:
    """Link `source` into train/ and test/ of `target`, class by class."""
    counts = {"train": 0, "test": 0}
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        random.Random(f"{seed}-{folder.name}").shuffle(files)
        cut = round(TEST_SHARE * len(files))
        for part, chosen in (("test", files[:cut]), ("train", files[cut:])):
            place = target / part / folder.name
            place.mkdir(parents=True)
            for file in chosen:
                (place / file.name).symlink_to(file.resolve())
            counts[part] += len(chosen)
    return counts


def last_json(command: Sequence[str]) -> dict[str, Any]:
    """The JSON object on the last line that `command` prints, and its processor time.

    Other work on the machine disturbs that less than the seconds on the clock.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found, "processor_seconds": round(spent, 1)}


def options(arguments: argparse.Namespace, seed: int) -> list[str]:
    """What both sides are told alike."""
    return [
        f"--image-size={arguments.image_size}",
        f"--alpha={arguments.alpha}",
        f"--weights={arguments.weights}",
        f"--seed={seed}",
        "--json",
    ]


def guide(arguments: argparse.Namespace, folder: Path, seed: int) -> dict[str, Any]:
    """One run of the guide."""
    epochs = [str(number) for number in arguments.guide_epochs]
    script = [sys.executable, str(HERE / "guide.py")]
    folders = [f"--train={folder / 'train'}", f"--test={folder / 'test'}"]
    result = last_json(
        [*script, *folders, *options(arguments, seed), "--epochs", *epochs]
    )
    return {**result, "accuracy": result["best_accuracy"]}


def ours(
    arguments: argparse.Namespace, folder: Path, seed: int, recipe: str
) -> dict[str, Any]:
    """One run of `kerastl train`."""
    command = [sys.executable, "-m", "kerastl.cli", "train", str(folder)]
    command += ["--backbone=MobileNet", *options(arguments, seed)]
    command += [f"--output={folder.parent / f'{recipe}-{seed}'}"]
    if recipe != "default":
        command.append(f"--recipe={recipe}")
    result = last_json(command)
    names = ("test_accuracy", "validation_accuracy", "seconds", "processor_seconds")
    kept = {name: result[name] for name in names}
    return {**kept, "accuracy": result["test_accuracy"], "seed": seed}


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and range."""
    mean, low, high = statistics.mean(values), min(values), max(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def report(results: dict[str, Any]) -> str:
    """A table of each run, then the paired differences."""
    sides, base = results["sides"], results["sides"]["guide"]
    lines = ["| side | seed | test accuracy, % | seconds |", "|---|---|---|---|"]
    for name, runs in sides.items():
        lines += [
            f"| {name} | {run['seed']} | {100 * run['accuracy']:.1f} "
            f"| {run['seconds']:.0f} |"
            for run in runs
        ]
    lines += [
        "",
        "| side | accuracy, %: mean (range) | points above the guide's best epoch "
        "| time, s | time as a share of the guide's | processor time as a share |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in sides.items():
        pairs = list(zip(runs, base, strict=True))
        accuracy = spread([100 * run["accuracy"] for run in runs], 1)
        points = spread([100 * (a["accuracy"] - b["accuracy"]) for a, b in pairs], 1)
        seconds = spread([run["seconds"] for run in runs], 0)
        shares = [
            spread([a[key] / b[key] for a, b in pairs], 2)
            for key in ("seconds", "processor_seconds")
        ]
        row = [name, accuracy, points, seconds, *shares]
        lines.append(f"| {' | '.join(row)} |")
    first = spread([100 * run["accuracy_after_head"] for run in base], 1)
    second = spread([100 * run["accuracy_after_all"] for run in base], 1)
    moved = sum(run["batch_norm_arrays_moved"] for run in base)
    arrays = sum(run["batch_norm_arrays"] for run in base)
    lines += [
        "",
        f"The guide after its first phase: {first}; after its second: {second}; "
        f"{moved} of {arrays} BatchNorm statistics moved.",
    ]
    return "\n".join(lines)


def main() -> None:
    arguments = parse_arguments()
    source = Path(arguments.data)
    runners = {"guide": lambda folder, seed: guide(arguments, folder, seed)}
    for recipe in arguments.recipe:
        runners[f"kerastl, {recipe}"] = lambda folder, seed, recipe=recipe: ours(
            arguments, folder, seed, recipe
        )
    sides: dict[str, list[dict[str, Any]]] = {name: [] for name in runners}
    counts = {}
    for turn, seed in enumerate(arguments.seeds):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "split"
            counts = split(source, folder, seed)
            order = list(runners) if turn % 2 == 0 else list(runners)[::-1]
            for name in order:
                sides[name].append(runners[name](folder, seed))
                print(name, sides[name][-1], file=sys.stderr, flush=True)
    told = {key: value for key, value in vars(arguments).items() if key != "data"}
    results = {
        "data": source.name,
        "images": counts,
        "settings": told,
        "sides": sides,
    }
    (HERE / "results").mkdir(exist_ok=True)
    path = HERE / "results" / f"{arguments.name}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    title = (
        f"{source.name}, {arguments.image_size} px, MobileNet {arguments.alpha}, "
        f"{arguments.weights} weights, {counts['train']} photos to train on, "
        f"{counts['test']} to test on"
    )
    text = f"# Against the guide\n\n{title}\n\n{report(results)}\n"
    (HERE / f"{arguments.name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
