"""What does the bundled network of texts know that counting words does not?

Of each set a few texts are drawn to train on, and each side answers the same test
texts: TF-IDF of words and of characters with logistic regression, and logistic
regression on the mean over a frozen network's tokens. Each side's strength of
regularisation, and which of the two TF-IDFs it is, are chosen by cross-validation
within the texts that are trained on. With `--tune` the bundled network is also tuned by
`kerastl.fine_tune`, a fifth of the texts held out to choose by: `head` is the new head
alone, `5e-4` everything at that rate after it, `5e-4:0.7` the same with rates that
shrink from block to block.

    python benchmarks/text.py SENTENCES BANKING77 --preset MINILM
    python benchmarks/text.py SENTENCES BANKING77 --tune head 5e-4 5e-4:0.7 --test 1000

`SENTENCES` holds the three files of Sentiment Labelled Sentences (Kotzias et al. 2015),
`BANKING77` its `train.csv` and `test.csv` (Casanueva et al. 2020). `MINILM` is a
keras-hub preset of all-MiniLM-L6-v2, the network that the bundled one was distilled
from; without it that side is left out.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

import kerastl
from kerastl.data.texts import normalised
from kerastl.features import FeatureExtractor

RESULTS = Path(__file__).parent / "results" / "text.json"
SEEDS, LENGTH = (0, 1, 2), 32
#: Texts to train on: in all of sentences, of each class of Banking77.
SIZES = {"sentences": (300, 1000), "banking77": (3, 10)}
Texts = tuple[list[str], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sentences", type=Path)
    parser.add_argument("banking", type=Path)
    parser.add_argument("--preset", help="all-MiniLM-L6-v2 as keras-hub keeps it")
    parser.add_argument("--tune", nargs="*", default=[], metavar="RATE[:DECAY]")
    parser.add_argument("--test", type=int, help="test texts, drawn; all if not said")
    arguments = parser.parse_args()
    networks = {"MiniText": "MiniText"}
    if arguments.preset:
        networks["MiniLM"] = arguments.preset
    pools = {
        "sentences": read_sentences(arguments.sentences),
        "banking77": read_banking(arguments.banking),
    }
    found = {}
    for name, sizes in SIZES.items():
        pool, test = pools[name]
        used = rows_used(pool, test, sizes)
        vectors = {
            side: embed(network, pool, used, test) for side, network in networks.items()
        }
        for size in sizes:
            cell = f"{name} {size}"
            found[cell] = measure(pool, test, size, vectors, arguments)
            print(cell, json.dumps(found[cell]), flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


def read_sentences(folder: Path) -> tuple[Texts, Texts | None]:
    """All sentences; the test texts are those that a seed does not train on."""
    rows = {}
    for path in sorted(folder.glob("*_labelled.txt")):
        for line in path.read_text("utf-8").removesuffix("\n").split("\n"):
            text, _, label = line.rpartition("\t")
            rows.setdefault(normalised(text), (text.strip(), int(label)))
    texts, labels = zip(*rows.values(), strict=True)
    return (list(texts), np.array(labels)), None


def read_banking(folder: Path) -> tuple[Texts, Texts]:
    """Its two parts, without test texts that are in the other."""
    parts, names = [], {}
    seen: set[str] = set()
    for part in ("train", "test"):
        texts, labels = [], []
        with (folder / f"{part}.csv").open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                if (key := normalised(row["text"])) not in seen:
                    seen.add(key)
                    texts.append(row["text"])
                    labels.append(names.setdefault(row["category"], len(names)))
        parts.append((texts, np.array(labels)))
    return parts[0], parts[1]


def rows_used(pool: Texts, test: Texts | None, sizes: tuple[int, ...]) -> np.ndarray:
    """The rows of the pool that any seed asks for."""
    if test is None:
        return np.arange(len(pool[0]))
    drawn = [draw(pool[1], size, s, False)[0] for size in sizes for s in SEEDS]
    return np.unique(np.concatenate(drawn))


def embed(
    network: str, pool: Texts, used: np.ndarray, test: Texts | None
) -> dict[str, np.ndarray]:
    """Means over the tokens of each part, and the milliseconds that a text took."""
    backbone = kerastl.build_backbone(network, sequence_length=LENGTH)
    extractor = FeatureExtractor(backbone, cache="off").fit(pool[0][:2])
    extractor.transform(pool[0][:64])
    began = time.perf_counter()
    rows = extractor.transform([pool[0][i] for i in used])
    milliseconds = 1000 * (time.perf_counter() - began) / len(used)
    whole = np.full((len(pool[0]), rows.shape[1]), np.nan, "float32")
    whole[used] = rows
    found = extractor.transform(test[0]) if test else whole
    return {"pool": whole, "test": found, "milliseconds": milliseconds}


def measure(
    pool: Texts,
    test: Texts | None,
    size: int,
    vectors: dict,
    arguments: argparse.Namespace,
) -> dict:
    """Accuracy of each side by seed, and by how much the networks are ahead."""
    right: dict[str, list[np.ndarray]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in SEEDS:
        train, held_out = draw(pool[1], size, seed, test is None)
        others = (pool, held_out) if test is None else (test, np.arange(len(test[0])))
        if arguments.test:
            some = np.random.default_rng(9).permutation(others[1])[: arguments.test]
            others = others[0], some
        targets = others[0][1][others[1]]

        def texts(rows: np.ndarray, of: list[str]) -> list[str]:
            return [of[i] for i in rows]

        words = texts(train, pool[0]), texts(others[1], others[0][0])
        sides: dict[str, Callable[[], np.ndarray]] = {
            "TF-IDF": lambda w=words, t=train: tfidf(w[0], pool[1][t], w[1])
        }
        for name, made in vectors.items():
            rows = made["pool"][train], made["test" if test else "pool"][others[1]]
            sides[name] = lambda r=rows, t=train: probe(r[0], pool[1][t], r[1])
        for how in arguments.tune:
            sides[f"MiniText, {how}"] = lambda w=words, t=train, s=seed, h=how: tuned(
                w[0], pool[1][t], w[1], s, h
            )
        for name, answer in sides.items():
            began = time.perf_counter()
            right.setdefault(name, []).append(answer() == targets)
            seconds.setdefault(name, []).append(time.perf_counter() - began)
    return {name: summary(name, right, seconds, vectors) for name in right}


def draw(
    labels: np.ndarray, size: int, seed: int, whole: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on, as many of each class, and the others."""
    order = np.random.default_rng(seed).permutation(len(labels))
    classes = np.unique(labels)
    each = size // len(classes) if whole else size
    train = np.concatenate([order[labels[order] == c][:each] for c in classes])
    return train, np.setdiff1d(order, train)


def folds(labels: np.ndarray) -> StratifiedKFold:
    least = int(np.bincount(labels).min())
    return StratifiedKFold(min(5, least), shuffle=True, random_state=0)


def tfidf(train: list[str], labels: np.ndarray, test: list[str]) -> np.ndarray:
    """Words, characters or both: whichever does best in cross-validation."""
    word = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True
    )
    best = (-1.0, None)
    for vectorizer in (word, characters, make_union(word, characters)):
        pipeline = make_pipeline(vectorizer, LogisticRegression(tol=1e-3))
        grid = {"logisticregression__C": [3, 30]}
        search = GridSearchCV(pipeline, grid, cv=folds(labels)).fit(train, labels)
        best = max(best, (search.best_score_, search), key=lambda pair: pair[0])
    return best[1].predict(test)


def probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Logistic regression on standardised features."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    grid = {"logisticregression__C": [0.001, 0.003, 0.01, 0.03, 0.1]}
    search = GridSearchCV(pipeline, grid, cv=folds(labels)).fit(train, labels)
    return search.predict(test)


def tuned(
    train: list[str], labels: np.ndarray, test: list[str], seed: int, how: str
) -> np.ndarray:
    """`kerastl.fine_tune`: the head alone, or then everything at a rate."""
    names = [str(c) for c in range(labels.max() + 1)]
    split = np.arange(len(train)) % 5 == 0
    parts = [
        kerastl.TextSet([train[i] for i in np.flatnonzero(part)], labels[part], names)
        for part in (~split, split)
    ]
    backbone = kerastl.build_backbone("MiniText", sequence_length=LENGTH)
    model = kerastl.build_classifier(backbone, names, seed=seed)
    options = {"recipe": "linear_probe"}
    if how != "head":
        rate, _, decay = how.partition(":")
        settings = {"learning_rate": float(rate)}
        settings |= {"layer_decay": float(decay)} if decay else {}
        options = {"phase_settings": settings}
    kerastl.fine_tune(model, *parts, **options, seed=seed, verbose=0)
    found = kerastl.predict(model, test)
    return np.array([int(label) for label in found.labels])


def summary(name: str, right: dict, seconds: dict, vectors: dict) -> dict:
    """In percent: mean and range over seeds, and points ahead of TF-IDF.

    The interval is of the mean over seeds, by a bootstrap over test texts.
    """
    scores = [100 * float(each.mean()) for each in right[name]]
    made = {"accuracy": round(float(np.mean(scores)), 1)}
    made["range"] = [round(min(scores), 1), round(max(scores), 1)]
    made["seconds"] = round(float(np.mean(seconds[name])), 1)
    if name in vectors:
        made["milliseconds_a_text"] = round(vectors[name]["milliseconds"], 2)
    if name == "TF-IDF":
        return made
    pairs = zip(right[name], right["TF-IDF"], strict=True)
    gains = [100.0 * (mine.astype(float) - floor) for mine, floor in pairs]
    generator = np.random.default_rng(0)
    drawn = [
        np.mean([g[generator.integers(0, len(g), len(g))].mean() for g in gains])
        for _ in range(2000)
    ]
    made["ahead"] = round(float(np.mean([g.mean() for g in gains])), 1)
    made["interval"] = [round(float(q), 1) for q in np.quantile(drawn, [0.025, 0.975])]
    return made


def table(found: dict) -> str:
    """What is measured as a table in Markdown."""
    lines = ["| set, texts to train on | side | accuracy | ahead of TF-IDF | seconds |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for cell, sides in found.items():
        for side, row in sides.items():
            low, high = row["range"]
            ahead = ""
            if "ahead" in row:
                least, most = row["interval"]
                ahead = f"{row['ahead']:+.1f} ({least:+.1f} to {most:+.1f})"
            score = f"{row['accuracy']:.1f} ({low:.1f} to {high:.1f})"
            lines.append(
                f"| {cell} | {side} | {score} | {ahead} | {row['seconds']:.1f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
