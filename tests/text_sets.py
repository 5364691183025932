"""A tiny model of texts, and texts that it can learn."""

from functools import cache

from texts import VOCABULARY, hub_backbone

import kerastl
from kerastl.models.text_backbones import build_text_backbone

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
GOOD, BAD = ["fine", "good", "great", "lovely"], ["bad", "dull", "poor", "weak"]
NOUNS = ["film", "plot", "cast", "score", "light", "sound", "pace", "tone"]
WORDS = ["the", "was", "a", "and", "very", ".", "!", "##s", "##er"]
PIECES = [*SPECIAL, *GOOD, *BAD, *NOUNS, *WORDS]
PIECES += [f"w{number}" for number in range(VOCABULARY - len(PIECES))]
TEXTS = [f"The {noun} was very {word} ." for noun in NOUNS for word in GOOD + BAD]
LABELS = [int(word in GOOD) for noun in NOUNS for word in GOOD + BAD]
NAMES = ("bad", "good")


def encoder(**options):
    """An encoder that fits the tiny networks of `texts`."""
    return kerastl.TextEncoder(PIECES, **{"sequence_length": 10, **options})


def backbone(**options):
    """A random BERT with its encoder."""
    return build_text_backbone(hub_backbone(), encoder=encoder(**options))


@cache
def classifier():
    """A model that nobody may change."""
    return kerastl.build_classifier(backbone(), NAMES, dropout=0.0)


def text_set(step=1):
    """Every `step`-th text."""
    return kerastl.TextSet(TEXTS[::step], LABELS[::step], NAMES, "reviews")
