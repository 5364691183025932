"""The data that the lessons read or make: questions, sentences, photographs."""

import csv
from pathlib import Path
from types import SimpleNamespace

#: Sentences for `sentences`: P is a person, L a place and F a firm.
_PATTERNS = """P works for F in L .|P moved from L to L .|F opened an office in L .
F hired P last week .|The train to L was late .|P called the bank about a card .
Shares of F fell sharply today .|We met P at a hotel in L .|In L it rained all day .
P sold the company to F .|F and F will merge .|Is P still living in L ?
P moved to L last year .|The doctor P lives in L .|F sells phones in L .
Workers at F met in L .|P and P are friends .|The mayor of L is P .
Flights to L are late .|P bought shares of F .|Our hotel in L was full .
P told me about L .|The bank sued F in L ."""
_SOUNDS = ("ba", "do", "ke", "li", "mar", "no", "pe", "ra", "sol", "ti", "van", "zu")
_KINDS = {"P": "person", "L": "place", "F": "firm"}


def questions() -> SimpleNamespace:
    """Read the bundled questions to a bank, each about one of ten topics.

    They are of Banking77, CC BY 4.0: see `questions/README.md` beside this file.

    Returns:
        `train` (500) and `test` (200), each with `texts`, an array of strings, and
        `labels`, the number of each one's topic; and the topics, `class_names`.

    Example:
        >>> bank = questions()
        >>> bank.train.texts[0], bank.class_names[bank.train.labels[0]]
        ("There's been a transaction to the wrong account.", 'cancel transfer')
    """
    import numpy as np

    file = Path(__file__).parent / "questions" / "questions.csv"
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = sorted({row["topic"] for row in rows})
    parts = {}
    for part in ("train", "test"):
        here = [row for row in rows if row["part"] == part]
        texts = np.array([row["question"] for row in here], object)
        labels = np.array([names.index(row["topic"]) for row in here])
        parts[part] = SimpleNamespace(texts=texts, labels=labels)
    return SimpleNamespace(**parts, class_names=names)


def sentences(number: int, *, seed: int = 0) -> list[tuple[tuple[str, ...], ...]]:
    """Make sentences with invented names of persons, places and firms.

    All names are of the same sounds: only the words around one tell its kind.

    Args:
        number: How many.
        seed: Of the patterns and names.

    Returns:
        `(words, tags)` of each, the tags in the scheme BIO.

    Example:
        >>> words, tags = sentences(1, seed=3)[0]
        >>> " ".join(words), tags[2]
        ('Flights to Keke are late .', 'B-place')
    """
    import numpy as np

    draw, made = np.random.default_rng(seed), []
    patterns = _PATTERNS.replace("\n", "|").split("|")
    for _ in range(number):
        pairs = []
        for word in str(draw.choice(patterns)).split():
            if word not in _KINDS:
                pairs.append((word, "O"))
                continue
            for place in range(int(draw.integers(1, 3))):
                name = "".join(draw.choice(_SOUNDS, int(draw.integers(2, 4))))
                tag = f"{'I' if place else 'B'}-{_KINDS[word]}"
                pairs.append((name.capitalize(), tag))
        made.append(tuple(zip(*pairs, strict=True)))
    return made


def photographs() -> SimpleNamespace:
    """Read the bundled pieces of photographs, four of each.

    They are CC0 or in the public domain: see `photographs/README.md` beside this file.

    Returns:
        `images` of shape (28, 96, 96, 3), uint8, from 0 to 255; `labels` of shape
        (28,), which photograph each is of; and their names, `class_names`.

    Example:
        >>> photos = photographs()
        >>> photos.images.shape, photos.class_names[photos.labels[4]]
        ((28, 96, 96, 3), 'cat')
    """
    import numpy as np
    from PIL import Image

    files = sorted((Path(__file__).parent / "photographs").glob("*.jpg"))
    pieces = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    owners = [file.stem.rpartition("_")[0] for file in files]
    names, labels = np.unique(owners, return_inverse=True)
    images = np.stack(pieces)
    return SimpleNamespace(images=images, labels=labels, class_names=names.tolist())
