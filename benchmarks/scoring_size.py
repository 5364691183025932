"""Does a trained network answer better at another image size than it was trained at?

For each cell and seed a network is trained by the default recipe; the images that
chose its best epoch then choose its image size (`kerastl.selection.choose_image_size`),
and the test images, which choose nothing, score it at both sizes. Cells, seeds and
images are those of `recipes.py`.

    python benchmarks/scoring_size.py --cells flowers-500 photo-600 --seeds 0 1 2

Results are added to a file in `results/`; what is there is not run again.
"""

import argparse
import json
import warnings
from pathlib import Path

import keras
import numpy as np
from cells import augmentation
from recipes import CELLS, SEEDS, make_job

import kerastl
from kerastl.selection import choose_image_size

RESULTS = Path(__file__).parent / "results" / "scoring_size.json"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=CELLS, metavar="NAME-SIZE")
    parser.add_argument("--weights", nargs="+", default=("tiny", "imagenet"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def run(cell: str, weights: str, seed: int) -> dict[str, object]:
    """Test accuracy in percent at the size of training and at the chosen one."""
    job = make_job(cell, weights, seed)
    model = job.model()
    options = {"augment": augmentation(job.train), "seed": seed, "verbose": 0}
    kerastl.fine_tune(model, job.train, job.check, **options)
    choice = choose_image_size(model, job.check)
    own, best = (kerastl.evaluate(m, job.test) for m in (model, choice.model))
    return {
        "trained": model.input_shape[1],
        "chosen": choice.image_size[0],
        "accuracy": 100 * own.accuracy,
        "accuracy_chosen": 100 * best.accuracy,
        "loss": own.metrics["log_loss"],
        "loss_chosen": best.metrics["log_loss"],
    }


def table(results: dict[str, dict[str, float]]) -> str:
    """Markdown: one row a run, then the mean difference over cells."""
    lines = ["| cell, weights, seed | trained at | chosen | % right | points gained |"]
    lines.append("| --- | --- | --- | --- | --- |")
    cells: dict[str, list[float]] = {}
    for name, row in sorted(results.items()):
        gain = row["accuracy_chosen"] - row["accuracy"]
        cells.setdefault(name.split("/")[0], []).append(gain)
        sizes = f"{row['trained']} | {row['chosen']}"
        lines.append(f"| {name} | {sizes} | {row['accuracy']:.1f} | {gain:+.1f} |")
    means = np.array([np.mean(gains) for gains in cells.values()])
    spread = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else np.nan
    lines.append("")
    lines.append(
        f"Mean over {len(means)} cells: {means.mean():+.1f} points, standard error "
        f"{spread:.1f}; runs ahead {sum(g > 0 for c in cells.values() for g in c)}, "
        f"behind {sum(g < 0 for c in cells.values() for g in c)}, of {len(results)}."
    )
    return "\n".join(lines)


def main() -> None:
    arguments = parse_arguments()
    warnings.filterwarnings("ignore", message="Dropped")
    results = {}
    if arguments.results.exists():
        results = json.loads(arguments.results.read_text("utf-8"))
    for seed in arguments.seeds:
        for cell in arguments.cells:
            for weights in arguments.weights:
                name = f"{cell} {weights}/{seed}"
                if name in results:
                    continue
                results[name] = run(cell, weights, seed)
                text = json.dumps(results, indent=1) + "\n"
                arguments.results.write_text(text, "utf-8")
                keras.backend.clear_session()
    print(table(results))


if __name__ == "__main__":
    main()
