"""A decision in plain sentences, with the numbers behind it."""

from kerastl.selection.decision import (
    DIFFERENT_GAP,
    DIFFERENT_MARGIN,
    INPUT_SHIFT,
    SCRATCH_IMAGES,
    SMALL_IMAGES,
    Decision,
    Measurements,
)

_ACTIONS = {
    "small and similar": "Train the head alone: so few images would bend more of the "
    "network to themselves than they could teach it.",
    "large and similar": "Train the head, then the upper half of the backbone: what "
    "the lower half has learnt fits already.",
    "large and similar, shifted input": "Train the head, then everything: the top "
    "fits, but a shift of the pixels is mended in the first blocks.",
    "small and different": "Train a head alone, on the features that fit best: there "
    "are too few images to teach the network new ones.",
    "large and different": "Train the head, then everything: the features must "
    "change, and there are images to change them by.",
    "large and different, useless weights": "Train from random weights: those at hand "
    "are of no use here, and there are images enough to do without.",
    "random weights": "Train everything from the start: the network has learnt nothing "
    "that could be kept.",
}


def decision_reasons(measured: Measurements, decision: Decision) -> tuple[str, ...]:
    """Sentences on size, similarity and shift, then what follows."""
    found = [_size(measured)]
    if measured.pretrained:
        found += [_similarity(measured), _shift(measured)]
    if measured.random_accuracy is not None:
        found.append(_random(measured))
    found.append(_ACTIONS[decision.row])
    if decision.cut is not None:
        found.append(f"Cut the backbone after {decision.cut}.")
    return tuple(found)


def _size(measured: Measurements) -> str:
    word = "few" if measured.is_small else "enough to train more than a head on"
    return (
        f"{measured.images:,} training images of {measured.classes} classes, "
        f"{measured.per_class:.0f} a class: {word} (few means below "
        f"{measured.small_limit} a class and below {SMALL_IMAGES:,} in all)."
    )


def _similarity(measured: Measurements) -> str:
    top = f"{measured.accuracies[-1]:.1%} +- {measured.standard_errors[-1]:.1%}"
    text = f"A linear probe reaches {top} at the top of the backbone"
    if not measured.beats_chance:
        return (
            f"{text}, no better than naming the commonest class "
            f"({measured.chance:.1%}): the images are unlike those of the pre-training."
        )
    place = measured.earlier
    earlier = f"{measured.accuracies[place]:.1%} +- "
    earlier += f"{measured.standard_errors[place]:.1%} after {measured.cuts[place]}"
    text += f" and {earlier}, the best cut before it"
    rule = f"more than {DIFFERENT_MARGIN:g} standard errors and {DIFFERENT_GAP:.0%}"
    if measured.is_different:
        return (
            f"{text}, {measured.margin:.1f} standard errors ahead: the last layers are "
            "specific to other images."
        )
    return (
        f"{text}, not ahead by {rule}: the images are like those of the pre-training."
    )


def _shift(measured: Measurements) -> str:
    word = "beyond" if measured.input_is_shifted else "within"
    return (
        f"Light, contrast and tint are {measured.input_shift:.1f} deviations from "
        f"ImageNet's, {word} the {INPUT_SHIFT:g} of ordinary photos; noise, blur and "
        "what is shown are not measured."
    )


def _random(measured: Measurements) -> str:
    word = "no better than" if measured.weights_are_useless else "better than"
    return (
        f"The best probe, {max(measured.accuracies):.1%}, is {word} that of random "
        f"weights, {measured.random_accuracy:.1%}; that counts from "
        f"{SCRATCH_IMAGES:,} images on."
    )
