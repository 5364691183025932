"""The backbones that are to be compared, and how they are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from kerastl._checks import fail, nearest
from kerastl.inference.feature_networks import open_backbone
from kerastl.models.specs import REGISTRY, find_spec
from kerastl.models.weights import cached_imagenet_file, tiny_weights

#: What may follow a name, and how it is read.
_OPTIONS = {"alpha": float, "image_size": int, "weights": str}


@dataclass(frozen=True)
class Candidate:
    """A backbone to compare.

    Attributes:
        label: What it is called in the table.
        backbone: Its name, or the network itself.
        options: Arguments of `open_backbone`, for a name.
    """

    label: str
    backbone: str | keras.Model
    options: dict[str, Any] = field(default_factory=dict)

    def open(self, seed: int) -> keras.Model:
        """The network, from 0-255 pixels to a feature map."""
        return open_backbone(self.backbone, seed=seed, **self.options)


def read_candidates(
    candidates: Sequence[Any] | Mapping[str, Any] | None, defaults: dict[str, Any]
) -> list[Candidate]:
    """Candidates from names, networks or a mapping of labels to either.

    Args:
        candidates: See `rank_backbones`.
        defaults: `image_size` and `weights` of names that do not say them.

    Raises:
        ValueError: If a name is unknown, or a label comes twice.
        TypeError: If a candidate is neither a name nor a functional model.
    """
    if candidates is None:
        candidates = offline_candidates(defaults["image_size"])
    if isinstance(candidates, str) or not isinstance(candidates, (Mapping, Sequence)):
        kinds = "a sequence or a mapping of names and models"
        fail("candidates", kinds, candidates, error=TypeError)
    if isinstance(candidates, Mapping):
        pairs = list(candidates.items())
    else:
        pairs = [(getattr(each, "name", each), each) for each in candidates]
    if not pairs:
        fail("candidates", "at least one backbone", candidates)
    labels = [label for label, _ in pairs]
    twice = sorted({str(label) for label in labels if labels.count(label) > 1})
    if twice:
        hint = "Give a mapping of different labels to them."
        fail("candidates", "called differently", twice, hint)
    return [_candidate(str(label), each, defaults) for label, each in pairs]


def offline_candidates(image_size: Any = None) -> list[str]:
    """Backbones whose weights are on this machine: bundled, or in Keras's folder."""
    found = [f"{e.name}:alpha={e.alpha:g},weights=tiny" for e in tiny_weights()]
    for spec in REGISTRY.values():
        side = image_size or spec.native_size
        size = side if isinstance(side, (tuple, list)) else (side, side)
        for alpha in spec.alphas or (1.0,):
            if cached_imagenet_file(spec, alpha=alpha, image_size=tuple(size)):
                width = f"alpha={alpha:g}," if spec.alphas else ""
                found.append(f"{spec.name}:{width}weights=imagenet")
    return found


def _candidate(label: str, each: Any, defaults: dict[str, Any]) -> Candidate:
    if isinstance(each, str):
        name, options = _read_text(each)
        return Candidate(label, name, {**defaults, **options})
    if not isinstance(each, keras.Model):
        kinds = "names such as 'MobileNet:alpha=0.25,weights=tiny', or keras.Models"
        fail("candidates", kinds, type(each).__name__, error=TypeError)
    # Whatever is wrong with a network at hand is told before any work is done.
    return Candidate(label, open_backbone(each))


def _read_text(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of `"MobileNet:alpha=0.25,weights=tiny"`."""
    name, _, rest = text.partition(":")
    find_spec(name)
    options = {}
    for part in rest.split(",") if rest else ():
        key, _, value = part.partition("=")
        if key not in _OPTIONS:
            hint = nearest(key, _OPTIONS)
            fail("candidates", f"a name with {', '.join(_OPTIONS)}", text, hint)
        try:
            options[key] = _OPTIONS[key](value)
        except ValueError:
            fail("candidates", f"given with a number for {key}", text)
    if options.get("weights") == "none":
        options["weights"] = None
    return name, options
