"""Is the advice right? Four ways to train and the advised one, on small cells.

A cell is a data set at a size, on the bundled MobileNet 0.25. Of each, `head` trains
the head alone, `cut` a head on the best earlier features, `top` the upper half
(`two_phase`), `all` everything (`lp_ft`), `advised` what `advise` says. For each seed
other training images are drawn; the test images choose nothing. The advice is right
where its mean accuracy is the best of all or within the 95 % interval of the best.

`--scores` asks instead how well each transferability score orders backbones: weighted
tau with the accuracy of `lp_ft`, over eight backbones.

    python benchmarks/advice.py
    python benchmarks/advice.py --cells digits-50 flowers-50 --seeds 0
    python benchmarks/advice.py --scores --cells digits-400
    python benchmarks/advice.py --report

Results are added to `results/advice.json` after each run; what is there is not run
again, so that a long table can be made in parts.
"""

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from cells import SOURCES, augmentation, draw

import kerastl
from kerastl.data.sets import ImageSet
from kerastl.data.splitting import split_set
from kerastl.evaluation.metrics import wilson_interval
from kerastl.selection.advice import Advice, advise, follow
from kerastl.selection.decision import PROBE_RATE, Measurements, decide
from kerastl.selection.ranking import rank_backbones
from kerastl.selection.transferability import SCORES

RESULTS = Path(__file__).parent / "results" / "advice.json"
STRATEGIES = ("head", "cut", "top", "all", "advised")
VALIDATION = 0.15
SEEDS = (0, 1, 2)
CELLS = tuple(f"{name}-{n}" for name, source in SOURCES.items() for n in source[2])
#: For the rank correlation: other widths, other data, truncations, random weights.
BACKBONES: dict[str, dict[str, Any]] = {
    "MobileNet 0.25 tiny": {"alpha": 0.25, "weights": "tiny"},
    "MobileNet 0.5 tiny": {"alpha": 0.5, "weights": "tiny"},
    "MobileNetV2 0.5 tiny": {"name": "MobileNetV2", "alpha": 0.5, "weights": "tiny"},
    "MobileNet 0.25 imagenet": {"alpha": 0.25, "weights": "imagenet"},
    "MobileNet 0.25 random": {"alpha": 0.25, "weights": None},
    "MobileNet 0.25 tiny, to 4": {"weights": "tiny", "at": "conv_pw_4_relu"},
    "MobileNet 0.25 tiny, to 8": {"weights": "tiny", "at": "conv_pw_8_relu"},
    "MobileNet 0.25 imagenet, to 8": {"weights": "imagenet", "at": "conv_pw_8_relu"},
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="NAME-SIZE")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--scores", action="store_true", help="of backbones instead")
    parser.add_argument("--report", action="store_true", help="only print the table")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def advised_as(strategy: str, advice: Advice, images: ImageSet) -> Advice:
    """The advice of someone who always says the same; `advised` stays as it is."""
    measured = advice.evidence
    steps = -(-measured.images // 32)
    # As many epochs as the advice would give to a head.
    head = {"recipe": "linear_probe", "learning_rate": PROBE_RATE, "augment": None}
    head["unfreeze"] = "head"
    head["epochs"] = (max(20, min(-(-600 // steps), 60)),)
    fine = {"learning_rate": None, "epochs": None, "augment": augmentation(images)}
    fine |= {"unfreeze": "all", "cut": None}
    settings: dict[str, dict[str, Any]] = {
        "head": {**head, "cut": None},
        "cut": {**head, "cut": measured.truncation},
        "top": {**fine, "recipe": "two_phase"},
        "all": {**fine, "recipe": "lp_ft"},
        "advised": {},
    }
    return Advice(**{**vars(advice), **settings[strategy]})


def run_strategy(
    strategy: str, advice: Advice, train: ImageSet, test: ImageSet, side: int, seed: int
) -> dict[str, Any]:
    """Test images that are right, and seconds."""
    start = time.perf_counter()
    chosen = advised_as(strategy, advice, train)
    fit, check, _ = split_set(train, validation=VALIDATION, seed=seed)
    building = {"alpha": 0.25, "image_size": side, "weights": "tiny"}
    training = follow(chosen, "MobileNet", fit, seed=seed, **building)
    model = kerastl.build_classifier(training.backbone, train.class_names, seed=seed)
    kerastl.fine_tune(
        model,
        fit,
        check,
        recipe=training.recipe,
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        augment=training.augment,
        seed=seed,
        verbose=0,
    )
    right = round(kerastl.evaluate(model, test).accuracy * len(test))
    keras.backend.clear_session()
    return {"right": right, "seconds": round(time.perf_counter() - start, 1)}


def run_cell(
    cell: str, seed: int, strategies: list[str], known: dict[str, Any]
) -> Iterator[Any]:
    """Add to the cell's record what it lacks, and tell it after each strategy."""
    if "advice" in known and is_stale(known):
        known["runs"].pop("advised", None)
    missing = [name for name in strategies if name not in known.get("runs", {})]
    if not missing:
        return
    train, test, side = draw(cell, seed)
    options = {"alpha": 0.25, "image_size": side, "seed": seed}
    advice = advise(train, "MobileNet", **options)
    known["advice"] = {**advice.to_dict(), "reasons": list(advice.reasons)}
    known["test_images"] = len(test)
    for strategy in missing:
        result = run_strategy(strategy, advice, train, test, side, seed)
        known.setdefault("runs", {})[strategy] = result
        yield strategy, result


def backbone(settings: dict[str, Any], side: int) -> keras.Model:
    """One of `BACKBONES`, its random weights the same each time."""
    keras.utils.set_random_seed(0)
    built = kerastl.build_backbone(
        settings.get("name", "MobileNet"),
        alpha=settings.get("alpha", 0.25),
        weights=settings["weights"],
        image_size=side,
    )
    return (
        kerastl.features.truncate(built, settings["at"]) if "at" in settings else built
    )


def run_scores(cell: str, seed: int, known: dict[str, Any]) -> Iterator[Any]:
    """Scores of all backbones on the training images, and their accuracy trained."""
    from scipy.stats import weightedtau

    train, test, side = draw(cell, seed)
    if "scores" not in known:
        networks = {name: backbone(each, side) for name, each in BACKBONES.items()}
        ranking = rank_backbones(train, networks, scores=tuple(SCORES))
        known["scores"] = {row.name: row.scores for row in ranking.rows}
    fit, check, _ = split_set(train, validation=VALIDATION, seed=seed)
    tuned = known.setdefault("tuned", {})
    for name, settings in BACKBONES.items():
        if name in tuned:
            continue
        network = backbone(settings, side)
        model = kerastl.build_classifier(network, train.class_names, seed=seed)
        recipe = "scratch" if settings["weights"] is None else "lp_ft"
        options = {"augment": augmentation(train), "seed": seed, "verbose": 0}
        kerastl.fine_tune(model, fit, check, recipe=recipe, **options)
        tuned[name] = kerastl.evaluate(model, test).accuracy
        yield name, tuned[name]
    truth = [tuned[name] for name in BACKBONES]
    known["tau"] = {
        score: float(
            weightedtau([known["scores"][n][score] for n in BACKBONES], truth).statistic
        )
        for score in SCORES
    }


def judged(records: dict[str, Any], cell: str) -> dict[str, Any] | None:
    """One row of the table: shares right, the best, and who is within its interval."""
    seeds = [r for key, r in records.items() if key.rpartition("/")[0] == cell]
    whole = [r for r in seeds if set(STRATEGIES) <= set(r.get("runs", {}))]
    if not whole:
        return None
    total = sum(record["test_images"] for record in whole)
    right = {
        name: sum(record["runs"][name]["right"] for record in whole)
        for name in STRATEGIES
    }
    best = max(right, key=lambda name: right[name])
    low, _ = wilson_interval(right[best], total)
    return {
        "cell": cell,
        "seeds": len(whole),
        "quadrants": sorted({r["advice"]["quadrant"] for r in whole}),
        "accuracy": {name: right[name] / total for name in STRATEGIES},
        "best": best,
        "low": low,
        "good": {name: right[name] / total >= low for name in STRATEGIES},
    }


def is_stale(record: dict[str, Any]) -> bool:
    """Whether the rule as it is now says otherwise to the measurements on record."""
    evidence = record["advice"]["evidence"]
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in evidence.items()}
    decision, said = decide(Measurements(**tuples)), record["advice"]
    now = decision.quadrant, decision.cut, decision.recipe
    return now != (said["quadrant"], said["cut"], said["recipe"])


def print_report(results: dict[str, Any]) -> None:
    """The tables, as Markdown."""
    rows = [row for cell in CELLS if (row := judged(results["cells"], cell))]
    print("| cell | seeds | quadrant | head | cut | top | all | advised | best from |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        shares = [
            f"{'**' * row['good'][name]}{100 * row['accuracy'][name]:.1f}"
            f"{'**' * row['good'][name]}"
            for name in STRATEGIES
        ]
        quadrants = " / ".join(row["quadrants"])
        cells = [row["cell"], str(row["seeds"]), quadrants, *shares]
        print(f"| {' | '.join(cells)} | {100 * row['low']:.1f} |")
    if rows:
        print("\nBold: the best or within its 95 % interval. Cells where that is so:")
        for name in STRATEGIES:
            good = sum(row["good"][name] for row in rows)
            print(f"- {name}: {good} of {len(rows)} ({good / len(rows):.0%})")
    stale = [
        key
        for key, record in results["cells"].items()
        if "advice" in record and is_stale(record)
    ]
    if stale:
        print(f"\nThe rule has changed since these were run: {', '.join(stale)}")
    taus = {key: r["tau"] for key, r in results["scores"].items() if "tau" in r}
    if taus:
        print(f"\n| weighted tau | {' | '.join(SCORES)} |")
        print(f"|---|{'---|' * len(SCORES)}")
        for key, tau in taus.items():
            print(f"| {key} | {' | '.join(f'{tau[name]:.2f}' for name in SCORES)} |")
        means = [np.mean([tau[name] for tau in taus.values()]) for name in SCORES]
        print(f"| mean | {' | '.join(f'{mean:.2f}' for mean in means)} |")


def main() -> None:
    arguments = parse_arguments()
    # Flowers hold one photo under two labels; it is dropped each time.
    warnings.filterwarnings("ignore", message="Dropped")
    results: dict[str, Any] = {"cells": {}, "scores": {}}
    if arguments.results.exists():
        results = json.loads(arguments.results.read_text("utf-8"))
    for cell in () if arguments.report else arguments.cells:
        for seed in arguments.seeds:
            part = results["scores" if arguments.scores else "cells"]
            known = part.setdefault(f"{cell}/{seed}", {})
            if arguments.scores:
                steps = run_scores(cell, seed, known)
            else:
                steps = run_cell(cell, seed, list(arguments.strategies), known)
            for name, result in steps:
                print(f"{cell} seed {seed} {name}: {result}", flush=True)
                arguments.results.write_text(json.dumps(results, indent=1) + "\n")
            arguments.results.write_text(json.dumps(results, indent=1) + "\n")
    print_report(results)


if __name__ == "__main__":
    main()
