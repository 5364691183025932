"""What adapting to a target without labels gains, and whether it can be chosen so.

    python benchmarks/adaptation.py FLOWERS --weights imagenet

Seven pairs of domains, three seeds. Features of a frozen network, computed once with
its own BatchNorm statistics and once with the target's; on them a linear head. The
images that are adapted to are others than those that are scored, and none of their
labels is used but by the rows that say so. Prints the tables of `adaptation.md`.
"""

import argparse
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
from glyphs import make_glyphs
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

import kerastl
from kerastl.adaptation import (
    Candidate,
    CoralAlign,
    GaussianMap,
    adapt_statistics,
    target_scores,
)
from kerastl.data.images import load_pixels
from kerastl.data.shapes import make_shapes
from kerastl.data.sources import ArraySource
from kerastl.features.classical import classical_head
from kerastl.features.extractor import FeatureExtractor
from kerastl.training.domains import AdaptedLoss, Strength, TwoDomains, confident

SEEDS = (0, 1, 2)
TRAIN, CHECK, ADAPT, TEST = 400, 200, 300, 400
STEPS, BATCH = 150, 128
Drawn = tuple[np.ndarray, np.ndarray]


def shapes(style: str) -> Callable[[int, int], Drawn]:
    def draw(count: int, seed: int) -> Drawn:
        made, _ = make_shapes(count, image_size=64, seed=seed, style=style)
        return load_pixels(made, image_size=64), made.labels

    return draw


def digits(count: int, seed: int) -> Drawn:
    whole = kerastl.load_dataset("digits", validation=0.0).train
    chosen = np.random.default_rng(seed).permutation(len(whole))[:count]
    return load_pixels(whole.subset(chosen), image_size=64), whole.labels[chosen]


def typeset(count: int, seed: int) -> Drawn:
    made = make_glyphs(count, image_size=64, seed=seed, letters="0123456789")
    return load_pixels(made, image_size=64), made.labels


@cache
def photos(folder: str, side: int) -> Drawn:
    whole = kerastl.load_images(folder, validation=0.0).train
    most = 3 * (TRAIN + CHECK + ADAPT + TEST) // 2
    chosen = np.random.default_rng(0).permutation(len(whole))[:most]
    part = whole.subset(chosen)
    return load_pixels(part, image_size=side), part.labels


def noise(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return images + random.normal(0, 50, images.shape)


def fog(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    field = gaussian_filter(random.normal(size=images.shape[:3]), (0, 12, 12))
    share = (0.6 + 0.15 * field / field.std()).clip(0, 0.95)[..., None]
    return images * (1 - share) + 225 * share


def blur(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return gaussian_filter(images, (0, 2, 2, 0))


def colour(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return images * [1.25, 0.85, 0.45]


PAIRS = {
    "shapes: photo to sketch": (shapes("photo"), shapes("sketch")),
    "shapes: photo to night": (shapes("photo"), shapes("night")),
    "digits: typeset to handwritten": (typeset, digits),
    "flowers: noise": noise,
    "flowers: fog": fog,
    "flowers: blur": blur,
    "flowers: colour": colour,
}


def draw(name: str, folder: str, seed: int) -> list[Drawn]:
    """Source to learn and to check by, target to adapt to and to score, all apart."""
    pair = PAIRS[name]
    if isinstance(pair, tuple):
        near, far = (
            draw_one(count, 2 * seed + far)
            for draw_one, count, far in zip(
                pair, (TRAIN + CHECK, ADAPT + TEST), (0, 1), strict=True
            )
        )
    else:
        images, labels = photos(folder, 96)
        random = np.random.default_rng(seed)
        order = random.permutation(len(images))
        first, later = order[: TRAIN + CHECK], order[-(ADAPT + TEST) :]
        changed = pair(images[later].astype("float32"), random)
        changed = changed.clip(0, 255).round().astype("uint8")
        near, far = (images[first], labels[first]), (changed, labels[later])
    return [
        (images[part], labels[part])
        for (images, labels), cut in ((near, TRAIN), (far, ADAPT))
        for part in (slice(cut), slice(cut, None))
    ]


def features(backbone: keras.Model, images: np.ndarray) -> np.ndarray:
    extractor = FeatureExtractor(backbone, cache="off")
    return extractor.fit_transform(images)


def logistic(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A linear head: kernel and bias."""
    head = classical_head("logistic", normalize=None, regularization=100.0)
    last = head.fit(rows, labels)[-1]
    return last.coef_.T, last.intercept_


def confused_less(
    rows: np.ndarray, labels: np.ndarray, target: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A linear head trained with the term of MCC, on mixed batches."""
    keras.utils.set_random_seed(seed)
    classes = len(np.unique(labels))
    x = keras.Input(rows.shape[1:])
    dense = keras.layers.Dense(classes, kernel_initializer="zeros")
    logits = dense(x)
    both = keras.layers.Concatenate()([logits, Strength(1.0, 0)(logits)])
    model = keras.Model(x, both)
    base = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = AdaptedLoss(base, "mcc", classes)
    model.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    known = ArraySource(rows.astype("float32"), labels.astype("int32"))
    others = ArraySource(target.astype("float32"), np.full(len(target), -1))
    data = TwoDomains(known, others).dataset(
        BATCH, seed=seed, shuffle=True, others=len(target)
    )
    model.fit(data, epochs=-(-STEPS // len(data)), verbose=0, shuffle=False)
    return tuple(dense.get_weights())


def taught_by_itself(
    rows: np.ndarray, labels: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Three rounds of the surest half of each predicted class."""
    head = logistic(rows, labels)
    for _ in range(3):
        guessed = confident(target @ head[0] + head[1], 0.5)
        sure = guessed >= 0
        both = np.concatenate([rows, target[sure]])
        head = logistic(both, np.concatenate([labels, guessed[sure]]))
    return head


def standard(rows: np.ndarray, by: np.ndarray) -> np.ndarray:
    return (rows - by.mean(axis=0)) / (by.std(axis=0) + 1e-6)


def candidates(parts: list[Drawn], weights: str, seed: int) -> dict[str, Any]:
    """Name -> features of the four parts, and a head on them."""
    side = parts[0][0].shape[1]
    given = {"alpha": 0.25 if weights == "imagenet" else 0.5, "weights": weights}
    given["image_size"] = side
    backbone = kerastl.build_backbone("MobileNet", **given)
    own = [features(backbone, images) for images, _ in parts]
    adapt_statistics(backbone, parts[2][0])
    moved = [*own[:2], *(features(backbone, images) for images, _ in parts[2:])]
    # The network never saw the source either: its statistics are those of photos.
    adapt_statistics(backbone, parts[0][0])
    each = [*(features(backbone, images) for images, _ in parts[:2]), *moved[2:]]
    labels = parts[0][1]
    found = {}

    def add(name: str, rows: list[np.ndarray], head: Any) -> None:
        found[name] = rows, head(rows)

    def plain(rows: list[np.ndarray]) -> Any:
        return logistic(rows[0], labels)

    def by_source(rows: list[np.ndarray]) -> list[np.ndarray]:
        return [standard(part, rows[0]) for part in rows]

    def by_itself(rows: list[np.ndarray]) -> list[np.ndarray]:
        pairs = zip(rows, (0, 0, 2, 2), strict=True)
        return [standard(part, rows[by]) for part, by in pairs]

    def mapped(align: Any, rows: list[np.ndarray]) -> list[np.ndarray]:
        align.fit(rows[0], rows[2])
        both = [align.transform(part) for part in rows[:2]] + rows[2:]
        return [standard(part, both[2]) for part in both]

    def mcc(rows: list[np.ndarray]) -> Any:
        return confused_less(rows[0], labels, rows[2], seed)

    add("source only", by_source(own), plain)
    add("standardise", by_itself(own), plain)
    add("AdaBN", by_source(moved), plain)
    add("AdaBN, standardise", by_itself(moved), plain)
    add("AdaBN of both", by_source(each), plain)
    add("AdaBN of both, standardise", by_itself(each), plain)
    add("CORAL", mapped(CoralAlign(), own), plain)
    add("Gaussian map", mapped(GaussianMap(), own), plain)
    add("MCC", by_source(own), mcc)
    add("standardise, MCC", by_itself(own), mcc)
    add("AdaBN, standardise, MCC", by_itself(moved), mcc)
    add("AdaBN of both, standardise, MCC", by_itself(each), mcc)
    add(
        "standardise, self-training",
        by_itself(own),
        lambda rows: taught_by_itself(rows[0], labels, rows[2]),
    )
    add("target labels", by_itself(own), lambda rows: logistic(rows[2], parts[2][1]))
    return found


def density(answers: np.ndarray) -> float:
    """Soft neighbourhood density (Saito et al., 2021): shown because it fails."""
    answers = np.asarray(answers, "float64")
    unit = answers / np.linalg.norm(answers, axis=1, keepdims=True)
    near = unit @ unit.T / 0.05
    np.fill_diagonal(near, -np.inf)
    shares = softmax(near, axis=1)
    return float(-(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1).mean())


def measure(name: str, folder: str, weights: str, seed: int) -> dict[str, Any]:
    """Accuracy of every candidate on the target's test images, and the choices."""
    parts = draw(name, folder, seed)
    found, answers = candidates(parts, weights, seed), {}
    scores = {}
    for way, (rows, (kernel, bias)) in found.items():
        made = [softmax(each @ kernel + bias, axis=1) for each in rows]
        scores[way] = float((made[3].argmax(axis=1) == parts[3][1]).mean())
        if way != "target labels":
            answers[way] = Candidate(made[1], made[2], rows[1], rows[2])
    judged = target_scores(answers, parts[1][1])
    for by in ("mutual_information", "circular"):
        scores[f"chosen: {by}"] = scores[judged.choose(by).name]
    known = (np.arange(50), parts[2][1][:50])
    some = target_scores(answers, parts[1][1], labelled=known)
    scores["chosen: 50 labels"] = scores[some.choose().name]
    dense = {way: density(each.target_probabilities) for way, each in answers.items()}
    scores["chosen: density"] = scores[max(dense, key=dense.get)]
    return {"scores": scores, "chosen": judged.choose().name}


def cell(values: list[float]) -> str:
    points = 100 * np.array(values)
    return f"{points.mean():+.1f} ({points.min():+.1f} to {points.max():+.1f})"


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Gains over source only, in points: mean and range over the seeds."""
    ways = list(next(iter(results.values()))[0]["scores"])
    lines = ["| | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    for way in ways:
        row = []
        for runs in results.values():
            first = [run["scores"]["source only"] for run in runs]
            if way == "source only":
                row.append(f"{100 * np.mean(first):.1f}")
                continue
            pairs = zip(runs, first, strict=True)
            row.append(cell([run["scores"][way] - base for run, base in pairs]))
        lines.append(f"| {way} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("flowers", help="a folder of class folders of photos")
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--weights", default="tiny", help="of the photos: or imagenet")
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    for name in options.pairs:
        weights = options.weights if name.startswith("flowers") else "tiny"
        for seed in options.seeds:
            run = measure(name, options.flowers, weights, seed)
            results.setdefault(name, []).append(run)
            print(json.dumps({"pair": name, "seed": seed, **run}), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
