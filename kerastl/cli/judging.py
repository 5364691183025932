"""The commands that judge a model: scores, reports, thresholds, comparisons."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import kerastl
from kerastl._files import new_file
from kerastl._progress import ProgressLine
from kerastl.cli.printing import Reply, say

if TYPE_CHECKING:
    from kerastl.data.sets import ImageSet

#: Options that name the columns of a table.
TABLE = ("images", "text", "targets", "labels", "separator", "groups", "split")
TABLE += ("folder",)


def evaluate(
    model: str,
    data: str,
    **options: Any,
) -> Reply:
    """Score a model on labelled images or texts.

    Args:
        model: A model.keras of `train`.
        data: A folder of class folders, a .csv file of images or texts, or the name of
            a dataset; where it has a test part, that part is scored.
        **options: Of `open_data` and `evaluate`.
    """
    from kerastl.tasks.task import bind
    from kerastl.workflow import folder_labels

    classifier = kerastl.load_model(model)
    columns = {name: options.pop(name) for name in TABLE if name in options}
    if Path(data).is_dir():
        columns |= folder_labels(bind(classifier).task, data)
    bad = {"on_bad": options.get("on_bad", "error")}
    scored = images_to_score(data, **columns, **bad)
    with ProgressLine("scoring") as progress:
        report = kerastl.evaluate(classifier, scored, progress=progress, **options)
    return Reply(report)


def images_to_score(data: str, **columns: Any) -> "ImageSet":
    """The test part of `data`, else its validation part, else all of it."""
    return scored_part(data, **columns)[1]


def scored_part(data: str, **columns: Any) -> "tuple[str, ImageSet]":
    """The same, and what the part is called."""
    with ProgressLine("reading images") as progress:
        splits = kerastl.open_data(data, validation=0.0, progress=progress, **columns)
    if splits.test is not None:
        return "test", splits.test
    if splits.validation is not None:
        say(f"{data} has no test part; scoring its validation part")
        return "validation", splits.validation
    from kerastl.data.sets import counted

    every = counted(len(splits.train), splits.train.noun)
    say(
        f"{data} has no test part; scoring all of its {every}, "
        "those that the model may have been trained on included"
    )
    return "whole", splits.train


def report(
    model: str,
    data: str,
    *,
    output: str | None = None,
    card: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Reply:
    """Write all that is known of a model on one page: scores, mistakes, doubts.

    The page needs no network and no other file. It adds to what `train` writes an audit
    of the scored images, doubtful labels, and where the network looked.

    Args:
        model: The folder of a run, or a model.keras.
        data: As for `evaluate`.
        output: Where to write: report.html, or with --card card.md, if absent.
        card: Write a model card in Markdown instead.
        overwrite: Replace the file if it exists.
        **options: Of `open_data`.
    """
    from kerastl.evidence.facts import facts_of_model, read_run
    from kerastl.evidence.page import write

    ending = ".md" if card else ".html"
    path = new_file(
        output or f"{'card' if card else 'report'}{ending}",
        ending,
        name="output",
        overwrite=overwrite,
    )
    part, images = _part_of_run(read_run(model)[1], data, options)
    found = facts_of_model(model, images, part=part)
    write(found, path, as_card=card)
    record = {"output": str(path), "mistakes": len(found.mistakes)}
    record |= {"images": len(found.examples), "part": part}
    return Reply(record, f"{found.report}\nwritten to {path}")


def _part_of_run(
    run: dict[str, Any], data: str, columns: dict[str, Any]
) -> "tuple[str, ImageSet]":
    """The part that a run scored last, where these are its data; else as `evaluate`."""
    from kerastl.workflow import folder_labels

    settings, counts = run.get("settings") or {}, run.get("splits") or {}
    asked = [run[part]["task"] for part in ("test", "validation") if run.get(part)]
    columns = folder_labels((asked or ["auto"])[0], data) | columns
    names = ("validation", "test", "seed", "on_bad", "on_leak", *TABLE)
    reading = {n: settings[n] for n in names if settings.get(n) is not None} | columns
    if counts:
        with ProgressLine("reading images") as progress:
            splits = kerastl.open_data(data, progress=progress, **reading)
        sizes = {part: len(held or ()) for part, held in vars(splits).items()}
        if sizes == {n: (counts.get(n) or {}).get("images", 0) for n in sizes}:
            held_out = [part for part in ("test", "validation") if sizes[part]]
            if held_out:
                return held_out[0], getattr(splits, held_out[0])
        say(f"{data} is not what the run was given, or was changed since")
    return scored_part(data, **columns)


def calibrate(
    model: str,
    data: str,
    *,
    validation: float | None = None,
    test: float | None = None,
    seed: int | None = None,
    output: str | None = None,
    **options: Any,
) -> Reply:
    """Make the probabilities of a classifier honest, by a temperature kept in it.

    Args:
        model: A model.keras of `train`.
        data: What `train` was given: the validation part is cut from it in the same
            way, and calibrates.
        validation: As given to `train`.
        test: As given to `train`.
        seed: As given to `train`.
        output: Where to write; the model itself if absent.
        **options: Of `calibrate`.
    """
    from kerastl.workflow import images_chosen_by

    path = new_file(model if output is None else output, ".keras", name="output")
    classifier = kerastl.load_model(model)
    given = {"validation": validation, "test": test, "seed": seed}
    images = images_chosen_by(model, data, **given)
    with ProgressLine("calibrating") as progress:
        result = kerastl.calibrate(classifier, images, progress=progress, **options)
    kerastl.save_model(classifier, path)
    record = {**result.to_dict(), "output": str(path)}
    return Reply(record, f"{result}\nwritten to {path}")


def threshold(
    model: str,
    data: str,
    *,
    validation: float | None = None,
    test: float | None = None,
    seed: int | None = None,
    output: str | None = None,
    **options: Any,
) -> Reply:
    """Choose from which probability on the second of two classes is given, and keep it.

    Args:
        model: A model.keras of `train`.
        data: What `train` was given: the validation part is cut from it in the same
            way, and chooses; its test part, where there is one, reports.
        validation: As given to `train`.
        test: As given to `train`.
        seed: As given to `train`.
        output: Where to write; the model itself if absent.
        **options: Of `choose_threshold`.
    """
    from kerastl.prediction import choose_threshold
    from kerastl.workflow import chosen_and_tested

    path = new_file(model if output is None else output, ".keras", name="output")
    classifier = kerastl.load_model(model)
    given = {"validation": validation, "test": test, "seed": seed}
    chosen, tested = chosen_and_tested(model, data, **given)
    with ProgressLine("choosing the threshold") as progress:
        options |= {"test": tested, "progress": progress}
        result = choose_threshold(classifier, chosen, **options)
    kerastl.save_model(classifier, path)
    record = {**result.to_dict(), "output": str(path)}
    return Reply(record, f"{result}\nwritten to {path}")


def compare(model: str, other: str, data: str, **options: Any) -> Reply:
    """Compare two classifiers on the same images: which is better, and how surely.

    Args:
        model: A model.keras of `train`: a.
        other: Another, of the same classes: b.
        data: As for `evaluate`.
        **options: Of `open_data` and `compare`.
    """
    from kerastl.comparison.paired import compare as compare_models

    models = [kerastl.load_model(path) for path in (model, other)]
    columns = {name: options.pop(name) for name in TABLE if name in options}
    images = images_to_score(data, **columns)
    with ProgressLine("comparing") as progress:
        return Reply(compare_models(*models, images, progress=progress, **options))
