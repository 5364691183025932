"""What the lessons speak with: guesses, checks, claims and figures with their words.

It depends on no other package, and a learner's answer never raises here. Each call adds
a line of JSON to the file `KERASTL_RECORD`, if one is set: the course's tests listen.
"""

import base64
import hashlib
import html
import importlib
import inspect
import io
import json
import logging
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import EllipsisType, SimpleNamespace
from typing import Any

#: The one palette of the lessons, told apart with any sight (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: A mark for each colour: no meaning by colour alone.
MARKS = "osD^vP"
_SCALES = ("tiny", "full")
#: The lessons' data and networks, and the modules that make or read them.
_DATA = {
    "build_sibling": "kerastl.models.siblings",
    "photographs": "kerastl._lesson_data",
    "questions": "kerastl._lesson_data",
    "sentences": "kerastl._lesson_data",
    "siblings": "kerastl.models.siblings",
}
# Question -> its options, and the guess.
_guesses: dict[str, tuple[tuple[str, ...], Any]] = {}


def __getattr__(name: str) -> Any:
    """The lessons' data and networks: what speaks imports none of it by itself."""
    if name not in _DATA:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_DATA[name]), name)


def lesson(
    number: str, settings: Mapping[str, tuple[Any, Any]], *, scale: str = "auto"
) -> SimpleNamespace:
    """The settings of a lesson at one scale, printed as a table.

    `"auto"` downloads nothing unasked: it is `"tiny"`, or what `KERASTL_SCALE` says.
    From now on TensorFlow's warning that it traces anew is not shown.

    Args:
        number: Two digits, such as `"03"`.
        settings: Name -> (value at `"tiny"`, value at `"full"`).
        scale: `"tiny"` (all bundled), `"full"` (downloads) or `"auto"`.

    Returns:
        Attributes: the settings, `number`, `scale` and `seed` (0, or `KERASTL_SEED`).

    Raises:
        ValueError: If the scale is none of these.

    Example:
        >>> rows = {"dataset": ("shapes", "flowers"), "minutes": (1, 9)}
        >>> L = lesson("03", rows, scale="tiny")
        Lesson 03, scale "tiny" (the other one is "full")
          dataset  shapes
          minutes  1
          seed     0
    """
    if scale == "auto":
        scale = os.environ.get("KERASTL_SCALE", "tiny")
    if scale not in _SCALES:
        message = "`scale` (or KERASTL_SCALE) must be 'auto', 'tiny' or 'full'."
        raise ValueError(f"{message} Received: scale={scale!r}.")
    here = _SCALES.index(scale)
    values = {name: pair[here] for name, pair in settings.items()}
    values["seed"] = int(os.environ.get("KERASTL_SEED", "0"))
    _say(f'Lesson {number}, scale "{scale}" (the other one is "{_SCALES[1 - here]}")')
    for name, value in values.items():
        _say(f"  {name:<{max(map(len, values))}}  {value}")
    _note("lesson", number, scale=scale, seed=values["seed"])
    logging.getLogger("tensorflow").addFilter(lambda r: "retracing" not in str(r.msg))
    return SimpleNamespace(number=number, scale=scale, **values)


def predict(
    key: str,
    question: str,
    choices: Sequence[str] = (),
    *,
    guess: float | EllipsisType | None = ...,
) -> None:
    """Ask for a guess before the run, and keep it for `reveal`.

    Replace the three dots and run the cell again: no guess is marked.

    Args:
        key: The question's name, such as `"03.a"`.
        question: What is asked.
        choices: The options, numbered from 1; without any, the guess is a number.
        guess: Number of an option, or any number; dots or None: no guess yet.

    Example:
        >>> predict("03.a", "Which one moves?", ["the head", "the backbone"], guess=1)
        03.a  Which one moves?
          1. the head
          2. the backbone
        Your guess: 1. the head
    """
    options = tuple(map(str, choices))
    _say(f"{key}  {question}")
    for index, option in enumerate(options, 1):
        _say(f"  {index}. {option}")
    number = isinstance(guess, (int, float))
    usable = number and (not options or guess in range(1, len(options) + 1))
    _guesses[key] = options, guess if usable else ...
    _note("guess", key, stored=usable)
    kind = f"a number from 1 to {len(options)}" if options else "a number"
    empty = f"No guess yet: put {kind} in place of ... and run this cell again."
    _say(f"Your guess: {_option(options, guess)}" if usable else empty)


def reveal(key: str, answer: float, *, form: str = "{:g}") -> None:
    """Show the learner's guess beside what came out.

    Args:
        key: The question's name.
        answer: Number of the right option, or the number that was measured.
        form: Format of a measured number, such as `"{:.0%}"`.

    Example:
        >>> predict("03.b", "How many of the 85 weights move?", guess=85)
        03.b  How many of the 85 weights move?
        Your guess: 85
        >>> reveal("03.b", 2)
        03.b  You guessed 85; it is 2.
    """
    options, guess = _guesses.get(key, ((), ...))
    result = _option(options, answer, form)
    _note("reveal", key, answer=float(answer), guessed=guess is not ...)
    if guess is ...:
        _say(f"{key}  It is {result}. (Without a guess: try one before the next run.)")
    elif options and guess == answer:
        _say(f"{key}  You guessed it: {result}.")
    else:
        _say(f"{key}  You guessed {_option(options, guess, form)}; it is {result}.")


def check(
    key: str, answer: Any, properties: Sequence[tuple[Callable[[Any], Any], str]]
) -> None:
    """Test an answer's properties, and say the first hint that helps.

    It never raises: a property that stops with an error does not hold, and
    `NotImplementedError`, None and three dots mean "not done yet".

    Args:
        key: The exercise's name, such as `"03.2"`.
        answer: What the learner made: a value, a model, a function.
        properties: (property, hint) pairs, the coarsest first. A property is called
            with the answer and says whether it holds.

    Example:
        >>> even = [(lambda n: n > 0, "Above zero."), (lambda n: n % 2 == 0, "Even.")]
        >>> check("03.1", 4, even)
        03.1  Passed: 2 of 2 properties hold.
        >>> check("03.1", 3, even)
        03.1  Not yet: 1 of 2 hold. Hint: Even.
        >>> check("03.1", ..., even)
        03.1  Not done yet: write your answer above, then run both cells.
    """
    total = len(properties)
    if inspect.isfunction(answer):
        answer = _Watched(answer)
    for index, (holds, hint) in enumerate(properties):
        outcome, stopped = _try(holds, answer)
        if outcome == "todo":
            _say(f"{key}  Not done yet: write your answer above, then run both cells.")
        elif outcome == "hint":
            _say(f"{key}  Not yet: {index} of {total} hold. Hint: {hint}{stopped}")
        if outcome != "passed":
            _note("check", key, outcome=outcome, hint=hint)
            return
    _say(f"{key}  Passed: {total} of {total} properties hold.")
    _note("check", key, outcome="passed", hint="")


class _Watched:
    """A learner's function, and whether an error is its own or comes after it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.returned, self.error = function, ..., None

    def __call__(self, *arguments: Any) -> Any:
        try:
            self.returned = self.function(*arguments)
        except Exception as error:
            self.error = error
            raise
        return self.returned


class _Points(float):
    """A difference of two shares: 0.043 is shown as 4.3 points."""

    def __format__(self, form: str) -> str:
        return f"{100 * self:{form}.1f} points"


def claim(
    key: str,
    sentence: str,
    value: float,
    *,
    low: float = -math.inf,
    high: float = math.inf,
) -> None:
    """State a measured result; outside its band, the course's tests fail, not the run.

    Args:
        key: Name of the claim, such as `"05.gain"`.
        sentence: What was found, with the value's place: `"{value:.1%} more"`; a
            difference of shares is said in points: `"ahead by {points}"`, and with
            its sign by `{points:+}`.
        value: What was measured.
        low: Least value expected.
        high: Greatest value expected.

    Raises:
        ValueError: If the sentence has no place for the value.

    Example:
        >>> claim("04.svm", "It is right for {value:.1%}.", 0.8125, low=0.5)
        It is right for 81.2%. (Claim 04.svm: at least 50.0%.)
        >>> claim("05.gain", "Tuning gained {points}.", 0.043, low=0.01, high=0.1)
        Tuning gained 4.3 points. (Claim 05.gain: at least 1.0 points, ...
    """
    place = re.search(r"\{(value|points):?([^}]*)\}", sentence)
    if not place:
        message = "`sentence` must be text with {value} or {points} in it."
        raise ValueError(f"{message} Received: sentence={sentence!r}.")
    form = place[2]
    shown = _Points if place[1] == "points" else (lambda limit: limit)
    measured = float(value)
    holds = low <= measured <= high
    band = [("exactly", low)] if low == high else [("at least", low), ("at most", high)]
    limits = [
        f"{word} {shown(limit):{form}}" for word, limit in band if abs(limit) < math.inf
    ]
    missed = "" if holds else " does not hold on this run"
    said = sentence.format(value=value, points=_Points(measured))
    band_text = f": {', '.join(limits)}" if limits else ""
    _say(f"{said} (Claim {key}{missed}{band_text}.)")
    _note("claim", key, value=measured, low=low, high=high, holds=holds)


def compare(
    key: str,
    sentence: str,
    first: Any,
    second: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    of: str = "images",
) -> None:
    """Claim a difference of two accuracies, with its paired interval.

    Both judge the same images, so the images on which they agree say nothing. The
    interval holds the luck of the images and that of the seeds; where it holds zero,
    the runs do not settle which one is better.

    Args:
        key: Name of the claim, such as `"05.gain"`.
        sentence: As of `claim`, with `{points}` or `{points:+}`.
        first: Which images were right, `(seeds, images)` of 0 and 1.
        second: The same of the other one; the claim is on first minus second.
        low: Least difference expected.
        high: Greatest difference expected.
        of: What was judged, for the sentence, such as `"questions"`.

    Raises:
        ValueError: If the two have different shapes or fewer than two images.

    Example:
        >>> first, second = [[1, 1, 1, 0, 1, 1]], [[0, 1, 1, 0, 1, 1]]
        >>> compare("05.gain", "Tuning gained {points:+}.", first, second)
        Tuning gained +16.7 points. (Claim 05.gain.)
          95% interval -26.2 to +59.5 points, 1 seed on 6 images: it holds zero, so ...
    """
    difference, least, most, shape = _paired(first, second)
    claim(key, sentence, difference, low=low, high=high)
    seeds = f"{shape[0]} seed{'s' if shape[0] > 1 else ''}"
    holds = least <= 0 <= most
    end = ": it holds zero, so this is not settled." if holds else ", without zero."
    _say(
        f"  95% interval {100 * least:+.1f} to {100 * most:+.1f} points, {seeds} on "
        f"{shape[1]} {of}{end}"
    )
    _note("interval", key, low=least, high=most)


def _paired(first: Any, second: Any) -> tuple[float, float, float, tuple[int, int]]:
    """Mean difference, its limits, and (seeds, images).

    Seeds and images are crossed: the variances of the two sets of means add up, and
    Satterthwaite's rule gives the degrees of freedom of their sum.
    """
    import numpy as np
    from scipy.stats import t

    one, two = (np.atleast_2d(np.asarray(each, float)) for each in (first, second))
    if one.shape != two.shape or one.shape[1] < 2:
        message = "`first` and `second` must be (seeds, images), two images or more."
        raise ValueError(f"{message} Received: shapes {one.shape} and {two.shape}.")
    apart = one - two
    parts = [
        (means.var(ddof=1) / len(means), len(means) - 1)
        for means in (apart.mean(0), apart.mean(1))
        if len(means) > 1
    ]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return apart.mean(), apart.mean(), apart.mean(), apart.shape
    freedom = variance**2 / sum(part**2 / count for part, count in parts)
    half = t.ppf(0.975, freedom) * variance**0.5
    return apart.mean(), apart.mean() - half, apart.mean() + half, apart.shape


def dots(
    runs: Mapping[str, Any],
    *,
    axes: Any = None,
    baseline: float | None = None,
    mark: str = "one seed",
    label: str = "accuracy",
    looks: Mapping[str, int] | None = None,
) -> Any:
    """Draw a row of marks for each method: one mark a run, and a line at the mean.

    Args:
        runs: Method -> its accuracies.
        axes: Matplotlib axes to draw on; None makes a new figure.
        baseline: Accuracy of a rule that looks at nothing, or None.
        mark: What one mark stands for, for the legend.
        label: What the horizontal axis shows.
        looks: Method -> its place in `COLOURS` and `MARKS`, so that it looks the same
            in two figures; None: the place in `runs`.

    Returns:
        The figure; `show` knows its words.

    Example:
        >>> figure = dots({"head": [0.5, 0.6], "all": [0.7, 0.8]}, baseline=0.2)
        >>> figure.axes[0].kerastl_alt_text
        'Accuracy: head 0.55 (0.50 to 0.60); all 0.75 (0.70 to 0.80); baseline 0.20.'
    """
    from matplotlib.figure import Figure

    if axes is None:
        size = (6.4, 1.2 + 0.34 * len(runs))
        axes = Figure(figsize=size, layout="constrained").subplots()
    words = []
    for place, (name, each) in enumerate(runs.items()):
        values, look = [float(value) for value in each], place
        if looks is not None:
            look = looks[name]
        mean = sum(values) / len(values)
        colour, sign = COLOURS[look % len(COLOURS)], MARKS[look % len(MARKS)]
        style = {"color": colour, "markersize": 7, "linestyle": ""}
        axes.plot(values, [place] * len(values), sign, **style)
        axes.plot([mean, mean], [place - 0.32, place + 0.32], color="black")
        spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
        words.append(f"{name} {mean:.2f}{spread}")
    axes.plot([], [], "o", color="gray", label=mark)
    axes.plot([], [], "|", color="black", markersize=12, label="mean")
    if baseline is not None:
        axes.axvline(baseline, color="gray", linestyle="--", label="baseline")
        words.append(f"baseline {baseline:.2f}")
    axes.set_yticks(range(len(runs)), list(runs))
    axes.set(xlim=(0, 1), ylim=(len(runs) - 0.4, -0.6), xlabel=label)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axes.kerastl_alt_text = _alt(label, words)
    return axes.figure


def forest(
    pairs: Mapping[str, tuple[Any, Any]],
    *,
    zone: float = 0.01,
    label: str = "difference in points",
) -> Any:
    """Draw a difference of accuracies with its paired interval for each name.

    A row whose interval holds zero is hollow: the runs do not settle it.

    Args:
        pairs: Name -> (first, second), as of `compare`; first minus second is drawn.
        zone: Differences up to this count for little, and are shaded; in [0, 1].
        label: What the horizontal axis shows.

    Returns:
        The figure; `show` knows its words.

    Raises:
        ValueError: If a pair is none that `compare` takes.

    Example:
        >>> figure = forest({"tuned": ([[1, 1, 1, 0]], [[0, 0, 1, 0]])})
        >>> figure.axes[0].kerastl_alt_text
        'Difference in points: tuned +50.0 (-41.9 to +141.9, not settled).'
    """
    from matplotlib.figure import Figure

    size = (6.8, 1.3 + 0.34 * len(pairs))
    axes = Figure(figsize=size, layout="constrained").subplots()
    words, shaded = [], 100 * zone
    axes.axvspan(
        -shaded,
        shaded,
        color="0.9",
        label=f"within {shaded:g} point{'s' * (shaded != 1)}",
    )
    axes.axvline(0, color="gray", linewidth=1)
    kinds = {"settled": ("o", COLOURS[0]), "not settled": ("s", "white")}
    for place, (name, (first, second)) in enumerate(pairs.items()):
        middle, *ends = (100 * each for each in _paired(first, second)[:3])
        kind = "not settled" if ends[0] <= 0 <= ends[1] else "settled"
        mark, face = kinds[kind]
        axes.plot(ends, [place, place], color=COLOURS[0])
        style = {"markerfacecolor": face, "markeredgecolor": COLOURS[0]}
        axes.plot([middle], [place], mark, markersize=7, **style)
        listed = f"{ends[0]:+.1f} to {ends[1]:+.1f}"
        words.append(f"{name} {middle:+.1f} ({listed}, {kind})")
    for kind, (mark, face) in kinds.items():
        style = {"markerfacecolor": face, "markeredgecolor": COLOURS[0]}
        axes.plot([], [], mark, label=kind, **style)
    axes.set_yticks(range(len(pairs)), list(pairs))
    axes.set(ylim=(len(pairs) - 0.4, -0.6), xlabel=label)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axes.kerastl_alt_text = _alt(label, words)
    return axes.figure


def lines(
    runs: Mapping[str, Any],
    places: Sequence[float],
    *,
    label: str = "accuracy",
    along: str = "",
    baseline: float | None = None,
    log: bool = False,
) -> Any:
    """Draw a line for each method over places such as sizes: a small mark a run.

    Args:
        runs: Method -> a value for each place, or `(places, runs)` of them.
        places: Where on the horizontal axis; they stand in equal distances.
        label: What the vertical axis shows.
        along: What the horizontal axis shows.
        baseline: Accuracy of a rule that looks at nothing, or None.
        log: Whether the vertical axis is logarithmic; otherwise it is from 0 to 1.

    Returns:
        The figure; `show` knows its words.

    Example:
        >>> runs = {"head": [[0.5, 0.6], [0.7, 0.8]]}
        >>> figure = lines(runs, [5, 20], along="labels", baseline=0.2)
        >>> figure.axes[0].kerastl_alt_text
        'Accuracy by labels (5, 20): head 0.55, 0.75; baseline 0.20.'
    """
    import numpy as np
    from matplotlib.figure import Figure

    axes = Figure(figsize=(6.4, 3.2), layout="constrained").subplots()
    words, steps = [], range(len(places))
    for look, (name, each) in enumerate(runs.items()):
        values = np.asarray(each, float).reshape(len(places), -1)
        colour, mark = COLOURS[look % len(COLOURS)], MARKS[look % len(MARKS)]
        style = {
            "color": colour,
            "marker": mark,
            "linestyle": ("-", "--", ":")[look % 3],
        }
        axes.plot(steps, values.mean(axis=1), label=name, **style)
        if values.shape[1] > 1:
            axes.plot(steps, values, mark, color=colour, alpha=0.4, markersize=4)
        form = "{:.0f}" if values.max() >= 10 else "{:.2f}"
        listed = ", ".join(form.format(value) for value in values.mean(axis=1))
        words.append(f"{name} {listed}")
    if any(np.size(each) > len(places) for each in runs.values()):
        axes.plot([], [], "o", color="gray", alpha=0.4, markersize=4, label="one seed")
    if baseline is not None:
        axes.axhline(baseline, color="gray", linestyle="-.", label="baseline")
        words.append(f"baseline {baseline:.2f}")
    axes.set_xticks(steps, [f"{place:g}" for place in places])
    axes.set(xlabel=along, ylabel=label)
    if log:
        axes.set_yscale("log")
        for side in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            side("{x:g}")
    else:
        axes.set_ylim(0, 1)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    shown = ", ".join(f"{place:g}" for place in places)
    head = f"{label} by {along or 'place'} ({shown})"
    axes.kerastl_alt_text = _alt(head, words)
    return axes.figure


def _alt(head: str, words: Sequence[str]) -> str:
    """The words of a figure; not `capitalize`, which would write "Iou" for IoU."""
    return f"{head[:1].upper()}{head[1:]}: {'; '.join(words)}."


def shared_images(*image_sets: Any) -> int:
    """How many distinct images are in more than one set, by content.

    A resized copy is not noticed.

    Args:
        image_sets: Image sets; None counts for nothing.

    Returns:
        How many; 0: the sets are disjoint.

    Example:
        >>> first = SimpleNamespace(images=[b"cat", b"dog"])
        >>> shared_images(first, SimpleNamespace(images=[b"owl", b"dog"]))
        1
    """
    given = [each.images for each in image_sets if each is not None]
    contents = chain(*({_digest(image) for image in images} for images in given))
    return sum(count > 1 for count in Counter(contents).values())


def shared_texts(*text_sets: Any) -> int:
    """How many distinct texts are in more than one set.

    Texts that differ in capitals, spaces and signs alone are one.

    Args:
        text_sets: Sets of texts, each with `texts`; None counts for nothing.

    Returns:
        How many; 0: the sets are disjoint.

    Example:
        >>> first = SimpleNamespace(texts=["My card?", "My PIN?"])
        >>> shared_texts(first, SimpleNamespace(texts=["my  card", "Why?"]))
        1
    """
    given = [each.texts for each in text_sets if each is not None]
    plain = ({re.sub(r"\W", "", text).lower() for text in texts} for texts in given)
    return sum(count > 1 for count in Counter(chain(*plain)).values())


def show(
    figure: Any, *, caption: str = "", alt: str | None = None, dpi: int = 120
) -> None:
    """Show a figure with a caption, and a description that every front end keeps.

    The HTML that front ends prefer carries both. Outside a notebook nothing is shown.

    Args:
        figure: A Matplotlib figure.
        caption: What the figure says, in a sentence below it; "" for none.
        alt: What it shows, in words from its data. None: kerastl's own figures know.
        dpi: Pixels per inch.

    Raises:
        ValueError: If nothing says what the figure shows.
    """
    from PIL import Image

    known = (getattr(axes, "kerastl_alt_text", "") for axes in figure.axes)
    alt = alt or " ".join(filter(None, known))
    if not alt:
        message = "`alt` must be a description of what the figure shows."
        raise ValueError(f"{message} Received: alt={alt!r}.")
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, bbox_inches="tight")
    _with_palette(Image.open(drawn).convert("RGB")).save(small, "png", optimize=True)
    pixels = base64.b64encode(small.getvalue()).decode("ascii")
    _note("figure", "", alt=alt, caption=caption)
    if "matplotlib.pyplot" in sys.modules:
        # Otherwise the notebook would show it a second time, without its words.
        sys.modules["matplotlib.pyplot"].close(figure)
    shell = sys.modules.get("IPython")
    if shell is not None and shell.get_ipython() is not None:
        # Drawn finer than a screen shows it, and shown at the size it was drawn for.
        with Image.open(small) as drawing:
            width = round(drawing.width * 96 / dpi)
        style = f'width="{width}" style="max-width:100%"'
        source = f"data:image/png;base64,{pixels}"
        image = f'<img alt="{html.escape(alt)}" {style} src="{source}">'
        below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        text = f"{alt}\n{caption}" if caption else alt
        words = {"text/html": f"<figure>{image}{below}</figure>", "text/plain": text}
        meta = {"image/png": {"alt": alt}}
        shell.display.display({**words, "image/png": pixels}, metadata=meta, raw=True)


def _with_palette(picture: Any) -> Any:
    """A picture in 256 colours: a lesson full of them keeps a quarter of its size.

    What is grey stays grey: a palette that is chosen from the picture alone gives the
    text beside coloured images one of their colours.
    """
    import numpy as np
    from PIL import Image

    greys = range(0, 256, 5)
    chosen = picture.quantize(256 - len(greys))
    pixels, places = np.asarray(picture), np.array(chosen)
    grey = np.ptp(pixels, axis=-1) == 0
    places[grey] = 256 - len(greys) + np.rint(pixels[grey][:, 0] / 5)
    colours = chosen.getpalette()[: 3 * (256 - len(greys))]
    missing = 3 * (256 - len(greys)) - len(colours)
    made = Image.fromarray(places)
    made.putpalette(colours + [0] * missing + [x for x in greys for _ in range(3)])
    return made


def _try(holds: Callable[[Any], Any], answer: Any) -> tuple[str, str]:
    """Whether one property holds, and what stopped the learner's code."""
    if answer is None or answer is ...:
        return "todo", ""
    try:
        return ("passed" if bool(holds(answer)) else "hint"), ""
    except NotImplementedError:
        return "todo", ""
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        if isinstance(answer, _Watched) and answer.error is error:
            return "hint", f" (Your code stopped with {what})"
        if isinstance(answer, _Watched) and answer.returned is None:
            return "hint", " (Your function returned None: does it end with `return`?)"
        return "hint", f" (Your answer cannot be used here. {what})"


def _digest(image: Any) -> str:
    """The sum of a file's bytes, or of an array's."""
    if isinstance(image, (str, os.PathLike)):
        image = Path(image).read_bytes()
    data = image if isinstance(image, bytes) else image.tobytes()
    return hashlib.sha256(data).hexdigest()


def _option(options: tuple[str, ...], value: Any, form: str = "{:g}") -> str:
    """An option by its number, or a number as it is written."""
    return f"{value}. {options[int(value) - 1]}" if options else form.format(value)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _note(kind: str, key: str, **facts: Any) -> None:
    """Add a line to the file that the tests of the course read, if there is one."""
    if path := os.environ.get("KERASTL_RECORD"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "key": key, **facts}) + "\n")
