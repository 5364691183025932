"""How many of the first k suspects are labels that were planted wrong?

Of each data set some labels are changed to another class, drawn at random, and
`find_label_issues` ranks all images; k is the number of changed labels, so precision
and recall at k are the same. Beside it: the top features alone; cross-validated
logistic regression on the same features, ranked by the probability of the given label;
and, where cleanlab can be imported, its ranking of the same probabilities. A ranking
that knows nothing has a precision of the share of changed labels.

    python benchmarks/label_issues.py digits shapes flowers --logistic

`flowers` are TensorFlow's flower photos, which `kerastl train flowers` downloads, and
`--weights imagenet` takes Keras's own weights of MobileNet 0.25.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np

import kerastl
from kerastl.features.files import extract
from kerastl.features.label_issues import features_at_depths
from kerastl.features.network import open_backbone
from kerastl.metrics import find_label_issues

RESULTS = Path(__file__).parent / "results" / "label_issues.json"
SHARES, SEEDS = (0.05, 0.1), (0, 1, 2)
SIZES = {"digits": 64, "shapes": 96, "flowers": 144}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="+", choices=SIZES)
    parser.add_argument("--weights", nargs="+", default=["tiny", "imagenet"])
    parser.add_argument("--logistic", action="store_true", help="the slow comparison")
    arguments = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in arguments.data:
        splits = kerastl.open_data(name, validation=0.0, test=0.0)
        for weights in arguments.weights:
            alpha = 0.5 if weights == "tiny" else 0.25
            options = {"alpha": alpha, "weights": weights, "image_size": SIZES[name]}
            network = open_backbone("MobileNet", **options)
            given = {"resize": "stretch", "batch_size": 64}
            began = time.perf_counter()
            rows = features_at_depths(network, splits.train, **given)
            seconds = time.perf_counter() - began
            top = extract(network, splits.train).features
            key, labels = f"{name} {weights}", splits.train.labels
            row = {"images": len(labels), "features_seconds": round(seconds, 1)}
            found[key] = row | scores(rows, top, labels, arguments.logistic)
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
            print(key, json.dumps(found[key]))


def scores(
    rows: np.ndarray, top: np.ndarray, labels: np.ndarray, logistic: bool
) -> dict:
    """Precision at k of each ranking, by share of changed labels, one a seed."""
    table: dict[str, dict[str, list[float]]] = {}
    for share in SHARES:
        for seed in SEEDS:
            noisy, wrong = changed(labels, share, seed)
            ranked = rankings(rows, top, noisy, logistic)
            for name, order in ranked.items():
                hits = np.isin(order[: len(wrong)], wrong).mean()
                ways = table.setdefault(name, {})
                ways.setdefault(str(share), []).append(round(float(hits), 3))
    return table


def changed(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, ...]:
    """Labels of which a share is another class, and which these are."""
    generator = np.random.default_rng(seed)
    classes = int(labels.max()) + 1
    wrong = generator.choice(len(labels), round(share * len(labels)), replace=False)
    noisy = labels.copy()
    noisy[wrong] = (noisy[wrong] + generator.integers(1, classes, len(wrong))) % classes
    return noisy, wrong


def rankings(
    rows: np.ndarray, top: np.ndarray, noisy: np.ndarray, logistic: bool
) -> dict[str, np.ndarray]:
    """All images, the most suspect first, by each way."""
    began = time.perf_counter()
    first = find_label_issues(rows, noisy)
    print(f"  {time.perf_counter() - began:.2f} s", flush=True)
    found = {"find_label_issues": first.ranking}
    found["top features alone"] = find_label_issues(top, noisy).ranking
    probabilities = {"probe": first.probabilities}
    if logistic:
        probabilities["logistic"] = cross_validated(rows, noisy)
        given = probabilities["logistic"][np.arange(len(noisy)), noisy]
        found["logistic regression"] = np.argsort(given, kind="stable")
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return found
    for name, each in probabilities.items():
        quality = get_label_quality_scores(noisy, each, method="normalized_margin")
        found[f"cleanlab, {name}"] = np.argsort(quality, kind="stable")
    return found


def cross_validated(rows: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Probabilities of five-fold logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cross_val_predict(model, rows, noisy, cv=5, method="predict_proba")


if __name__ == "__main__":
    main()
