"""The commands, each a function, and the table of what else they take.

An argument of the function becomes an argument of the command. `**options` are those
of the library's functions that the table names; only what was given is passed on.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import kerastl
from kerastl._checks import fail
from kerastl._files import new_file, user_path
from kerastl._json import json_line, rounded
from kerastl._progress import ProgressLine
from kerastl.cli.judging import (
    TABLE,
    calibrate,
    compare,
    evaluate,
    images_to_score,
    report,
    threshold,
)
from kerastl.cli.printing import Reply, percent, say, size_text

if TYPE_CHECKING:
    from kerastl.features.files import Features
    from kerastl.features.store import CacheEntry, DiskCache

_PICTURES = (".png", ".svg", ".pdf")


def train(
    data: str,
    *,
    output: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Reply:
    """Train a model on your images or texts, score it and save it.

    Args:
        data: A folder of class folders, one with train/ and test/ inside, a .csv file
            of images or texts, or the name of a dataset: digits, shapes, flowers, ...
        output: Where to write; a fresh dated folder if absent.
        overwrite: Replace what the output folder holds.
        **options: Of `transfer`.
    """
    resumed = options.get("resume")
    if resumed is not None:
        folder = user_path("resume", resumed)
    elif output is None:
        output = folder = _fresh_folder(data)
    else:
        output = folder = user_path("output", output)
    from kerastl.artifacts import EndedError
    from kerastl.models.weights import is_model_file

    try:
        given = {"output": output, "overwrite": overwrite, **options}
        report = kerastl.transfer(data, **given).report
    except EndedError as ended:
        say(str(ended))
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    images = report["settings"].get("sequence_length") is None
    bundled = "weights" not in options and not is_model_file(options.get("backbone"))
    if images and bundled:
        say(
            "this started from the bundled weights; --weights imagenet starts from "
            "ImageNet's, downloaded once"
        )
    scores, lines = {}, []
    for part in ("validation", "test"):
        for name, kind in report.get("headline", {"accuracy": "share"}).items():
            score = (report[part] or {}).get(name)
            scores[f"{part}_{name}"] = score
            shown = percent(score)
            if kind != "share" and score is not None:
                shown = f"{score:.4g}"
            lines.append(f"{part + ' ' + name:<21}{shown}")
    seconds = report["seconds"]["total"]
    record = {
        **scores,
        "seconds": seconds,
        "output": str(folder),
        "settings": report["settings"],
    }
    lines += [
        f"time                 {seconds:.0f} s",
        f"written to           {folder}",
        f"next                 kerastl predict {folder / 'model.keras'} "
        f"{'IMAGE' if images else 'TEXT'} ...",
    ]
    return Reply(record, "\n".join(lines))


def _fresh_folder(data: str) -> Path:
    """A folder named after the data and the time, that does not exist."""
    name = Path(data).resolve().name if Path(data).exists() else data
    stem = f"kerastl-{name}-{datetime.now():%Y%m%d-%H%M%S}"
    here, images = Path.cwd(), Path(data).resolve()
    # Pictures of a run among the images would be images of the next.
    place = images.parent if images in (here, *here.parents) else Path()
    folder, number = place / stem, 2
    while folder.exists():
        folder, number = place / f"{stem}-{number}", number + 1
    return folder


def predict(
    model: str,
    paths: Sequence[str],
    *,
    jsonl: bool = False,
    output: str | None = None,
    pictures: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Reply:
    """Predict classes, numbers, regions or objects, as CSV or JSON lines.

    Args:
        model: A model.keras of `train`.
        paths: An image, or a folder of images; a text in quotation marks, or a file of
            texts.
        jsonl: One JSON object a line instead of CSV.
        output: Folder for what is found: masks as PNG files, boxes as COCO json.
        pictures: Write each image with what was found drawn over it, too.
        overwrite: Write into a folder that holds something.
        **options: Of `predict`.
    """
    if pictures and output is None:
        fail("--output", "given, for the pictures", None)
    place = None if output is None else user_path("output", output)
    if place and place.is_dir() and any(place.iterdir()) and not overwrite:
        hint = "Pass --overwrite to write into it."
        fail("--output", "a new or an empty folder", output, hint)
    from kerastl.data.sets import counted

    classifier = kerastl.load_model(model)
    with ProgressLine("predicting") as progress:
        found = kerastl.predict(classifier, paths, progress=progress, **options)
    for wanted, method in ((output, "write"), (pictures, "draw")):
        if wanted and not hasattr(found, method):
            hint = "The table on the screen holds all that there is."
            fail("--output", "left out for this model", output, hint)
        if wanted:
            written = getattr(found, method)(place)
            say(f"wrote {counted(len(written), 'file')} to {output}")
    # Of objects one row each, under their own columns; as JSON one line an image.
    by_object = not jsonl and hasattr(found, "columns")
    rows = [rounded(row) for row in (found.to_rows() if by_object else found)]
    if jsonl:
        return Reply(None, "\n".join(json_line(row) for row in rows))
    text = io.StringIO()
    names = found.columns if by_object else list(rows[0])
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(csv_row, rows))
    return Reply(None, text.getvalue().rstrip("\n"))


def serve(model: str, **options: Any) -> Reply:
    """Answer photos or texts over HTTP, on a page and for programs, until ended.

    Args:
        model: A model.keras of `train`.
        **options: Of `serve`.
    """
    from kerastl.serving.server import check_installed
    from kerastl.serving.server import serve as answer

    # Before the model is loaded, which takes seconds.
    check_installed()

    def ready(address: str) -> None:
        say(f"{model} answers at {address} (Ctrl-C or SIGTERM ends it)")

    answer(kerastl.load_model(model), ready=ready, **options)
    return Reply({"model": model, "ended": True}, "ended: all that ran was answered")


def csv_row(row: dict[str, Any]) -> dict[str, Any]:
    """`row` with several labels, or none, as one field.

    A spreadsheet would take text that begins with one of `=+-@` for a formula.
    """
    cells = {}
    for name, value in row.items():
        text = ";".join(value) if isinstance(value, tuple) else value
        formula = isinstance(text, str) and text.startswith(tuple("=+-@\t\r"))
        cells[name] = f"'{text}" if formula else text
    return cells


def adapt(
    model: str,
    target: str,
    *,
    source: str | None = None,
    output: str,
    **options: Any,
) -> Reply:
    """Adapt a classifier to images of another kind, without labels or training.

    Args:
        model: A model.keras of `train`.
        target: A folder of the new images; folders inside are no labels here.
        source: Labelled images of the old kind, a folder or a dataset's name, to find
            out what has changed; where it has a test part, that part is taken.
        output: Where to write the adapted model, a .keras file.
        **options: Of `adapt`.
    """
    from kerastl.adaptation.adapting import adapt as adapt_to

    path = new_file(output, ".keras", name="output")
    classifier = kerastl.load_model(model)
    known = None if source is None else images_to_score(source)
    with ProgressLine("adapting") as progress:
        options["source"] = known
        report = adapt_to(classifier, target, progress=progress, **options)
    kerastl.save_model(classifier, path)
    record = {**report.to_dict(), "output": str(path)}
    return Reply(record, f"{report}\nwritten to {path}")


def export(
    model: str, *, output: str, calibration: str | None = None, **options: Any
) -> Reply:
    """Write a model for programs without kerastl, if it answers there as it does here.

    The folder holds the model and model.json: what a client does with an image first,
    what the answers mean, and three images with their answers.

    Args:
        model: A model.keras of `train`.
        output: A folder.
        calibration: A folder of images to calibrate int8 by: at least 20, like those to
            come. Half of them compare; where it holds a folder for each class, accuracy
            is measured too.
        **options: Of `export_model`.
    """
    classifier = kerastl.load_model(model)
    if calibration is not None:
        options["calibration"] = _calibration_images(classifier, calibration)
    return Reply(kerastl.export_model(classifier, output, **options))


def _calibration_images(model: Any, folder: str) -> Any:
    """A folder's images, with labels where it has the model's classes."""
    from kerastl.models.record import read_record

    place, names = user_path("calibration", folder), read_record(model).class_names
    labelled = bool(names) and all((place / name).is_dir() for name in names)
    return images_to_score(folder) if labelled else folder


def features(
    data: str,
    *,
    output: str,
    overwrite: bool = False,
    backbone: str = "MobileNet",
    shard: str | None = None,
    **options: Any,
) -> Reply:
    """Write the features of images or texts to a file, as arrays in one .npz.

    The file holds `features` (n, d) float32, `labels` (n,) (0/1 rows where an image may
    have several; -1 where there are none, or masks or boxes), `class_names`, `paths`
    (empty texts for a data set of arrays), `split` (train, validation or test) and
    `feature_names`.

    Args:
        data: A folder of class folders, a plain folder of images, a .csv file of
            images or texts, or the name of a dataset.
        output: An .npz file; with `shard` a folder.
        overwrite: Replace the file if it exists.
        backbone: See `kerastl backbones`; for texts MiniText, or another of texts.
        shard: Only this share of the images, such as 3/10, the third of ten: for work
            that several processes or machines share. A share that is there already is
            not computed again. `kerastl merge` puts all of them together. Of a folder
            of class folders each share reads all files first, to leave out copies.
        **options: Of `feature_network`.
    """
    from kerastl.features.files import extract, features_file, write

    if shard is None:
        features_file(output, overwrite)
    data = _read_table(data, options, TABLE)
    if shard is not None:
        from kerastl.features.shards import extract_shard

        options["overwrite"] = overwrite
        done = extract_shard(backbone, data, output, shard, **options)
        file, images = str(done.file), done.images
        record = {"images": images, "output": file, "computed": done.computed}
        how = "written to" if done.computed else "there already:"
        return Reply(record, f"Share {shard}: {images} images, {how} {file}")
    made = extract(backbone, data, **options)
    write(made, output, overwrite=overwrite)
    return _written(made, output)


def merge(folder: str, *, output: str, overwrite: bool = False) -> Reply:
    """Put the shares that `kerastl features --shard` wrote together in one .npz file.

    It holds, bit for bit, what one run without shares would have written. A share that
    is missing, damaged or of another job is named, and nothing is written.

    Args:
        folder: That of the shares.
        output: An .npz file.
        overwrite: Replace the file if it exists.
    """
    from kerastl.features.files import features_file, write
    from kerastl.features.shards import merge_shards

    features_file(output, overwrite)
    made = merge_shards(folder)
    write(made, output, overwrite=overwrite)
    return _written(made, output)


def _written(made: "Features", output: str) -> Reply:
    """What a file of features holds."""
    counts, (images, width) = made.counts(), made.features.shape
    record = {"images": images, "features": width, "splits": counts}
    record |= {"class_names": list(made.class_names)}
    record |= {"image_size": list(made.image_size), "output": str(output)}
    parts = ", ".join(f"{count} {name}" for name, count in counts.items())
    text = f"{images} images ({parts}), {width} features each, written to {output}"
    return Reply(record, text)


def rank(data: str, *, plot: str | None = None, **options: Any) -> Reply:
    """Compare backbones on your images, without training.

    Args:
        data: A folder of class folders, a .csv file of images, or a dataset's name.
        plot: A picture of accuracy against time: .png, .svg or .pdf.
        **options: Of `rank_backbones`.
    """
    _check_picture("plot", plot)
    from kerastl.selection.ranking import rank_backbones

    data = _read_table(data, options)
    with ProgressLine("computing features") as progress:
        ranking = rank_backbones(data, progress=progress, **options)
    _save_picture(ranking, plot)
    record = {
        "best": ranking.best,
        "images": ranking.images,
        "classes": ranking.classes,
        "backbones": ranking.to_rows(),
        "agreement": ranking.agreement,
        "unavailable": ranking.unavailable,
    }
    return Reply(record, str(ranking))


def tune(data: str, *, backbone: str = "MobileNet", **options: Any) -> Reply:
    """Search the settings of a run: many briefly, the best of them longer.

    Args:
        data: A folder of class folders, a table of texts, or a dataset's name.
        backbone: See `kerastl backbones`.
        **options: Of `tune`.
    """
    from kerastl.selection.tuning import tune as search

    def tell(done: int, total: int) -> None:
        say(f"{done} of {total} runs done")

    found = search(data, backbone=backbone, progress=tell, **options)
    line = found.command(data)
    return Reply({**found.to_dict(), "command": line}, f"{found}\n{line}")


def lr(
    data: str,
    *,
    backbone: str = "MobileNet",
    output: str | None = None,
    **options: Any,
) -> Reply:
    """Find a learning rate for your images, by one short sweep of rates.

    Args:
        data: A folder of class folders, a .csv file of images, or a dataset's name.
        backbone: See `kerastl backbones`.
        output: A picture of the loss against the rate: .png, .svg or .pdf.
        **options: Of `find_learning_rate`.
    """
    _check_picture("output", output)
    from kerastl.workflow import rate_curve

    data = _read_table(data, options, TABLE, validation=0.15)
    curve = rate_curve(data, backbone, **options)
    _save_picture(curve, output)
    return Reply(curve)


def _read_table(
    data: str,
    options: dict[str, Any],
    names: Sequence[str] = ("text", "labels", "separator", "split", "folder"),
    validation: float = 0.0,
) -> Any:
    """The data, read here if `options` name columns of a table, which are taken out."""
    columns = {name: options.pop(name) for name in names if name in options}
    if not columns:
        return data
    reading = {"validation": validation, "seed": options.get("seed", 0)}
    reading["on_bad"] = options.get("on_bad", "error")
    with ProgressLine("reading images") as progress:
        return kerastl.open_data(data, progress=progress, **columns, **reading)


def _check_picture(name: str, picture: str | None) -> None:
    """Raise unless a picture may be written there: before the work, not after."""
    if picture is None:
        return
    path = user_path(name, picture)
    if path.suffix.lower() not in _PICTURES:
        fail(name, f"a file name ending in {', '.join(_PICTURES)}", str(path))
    if not path.parent.is_dir():
        hint = f"Make the folder {str(path.parent)!r} first."
        fail(name, "in a folder that exists", str(path), hint)


def _save_picture(result: Any, picture: str | None) -> None:
    if picture is not None:
        from kerastl.evaluation.figures import save_figure

        save_figure(result.plot(), Path(picture).expanduser())


def advise(data: str, *, backbone: str = "MobileNet", **options: Any) -> Reply:
    """Say how much of a backbone to train on your images, and why.

    Args:
        data: A folder of class folders, a .csv file of images, or a dataset's name.
        backbone: See `kerastl backbones`.
        **options: Of `advise`.
    """
    data = _read_table(data, options)
    with ProgressLine("computing features") as progress:
        advice = kerastl.advise(data, backbone, progress=progress, **options)
    return Reply(advice)


def audit(
    data: str,
    *,
    model: str | None = None,
    label_issues: bool = False,
    backbone: str = "MobileNet",
    **options: Any,
) -> Reply:
    """Look for unreadable, duplicate, leaking and mislabelled files or texts.

    Args:
        data: A folder of class folders, or of train/ and test/; a file of texts.
        model: For texts a model.keras: what it cuts off and does not know is reported.
        label_issues: Look for labels of training images that seem wrong, too.
        backbone: What computes the features that judge them: see `kerastl backbones`.
        **options: Of `audit`, and of `find_label_issues`.
    """
    judging = {
        n: options.pop(n) for n in ("alpha", "weights", "image_size") if n in options
    }
    if model is not None:
        from kerastl.models.record import read_encoder

        options["encoder"] = read_encoder(kerastl.load_model(model))
    with ProgressLine("reading images") as progress:
        report = kerastl.audit(data, progress=progress, **options)
    if not getattr(report, "num_images", 1):
        fail("data", "a folder with images", data, " ".join(report.notes))
    if not label_issues:
        return Reply(report)
    from kerastl.features.label_issues import find_label_issues

    found = find_label_issues(data, backbone=backbone, **judging)
    record = {**report.to_dict(), "label_issues": found.to_dict()}
    return Reply(record, f"{report}\n{found}")


def backbones() -> Reply:
    """List the backbones that can be transferred."""
    from kerastl.models.backbones import backbone_table

    rows = backbone_table()
    return Reply({"backbones": rows}, "", rows)


def doctor() -> Reply:
    """Tell what this machine has for training, and which problems are known."""
    return Reply(kerastl.check_environment())


def cache(
    action: Literal["list", "clear"] = "list",
    *,
    folder: str | None = None,
    older_than: float | None = None,
) -> Reply:
    """List or clear the features that are kept on disk between runs.

    Args:
        action: list (when left out) or clear.
        folder: Where the cache is; otherwise in the environment variable
            KERASTL_CACHE, or kerastl/features in Keras's own folder.
        older_than: Clear only what was not used for so many days.
    """
    from kerastl.features.store import DiskCache

    store = DiskCache(folder)
    _check_cache(store, folder, action)
    if action == "clear":
        if older_than is not None and not older_than >= 0:
            fail("older_than", "a number of days of at least 0", older_than)
        freed = store.clear(older_than_days=older_than)
        record = {"folder": str(store.folder), "freed": freed}
        return Reply(record, f"freed {size_text(freed)} in {store.folder}")
    if older_than is not None:
        fail("older_than", "given together with clear", older_than)
    entries = store.entries()
    total = sum(entry.bytes for entry in entries)
    record = {
        "folder": str(store.folder),
        "limit": store.limit,
        "bytes": total,
        "entries": [_entry_record(entry) for entry in entries],
    }
    used = f"{size_text(total)} of at most {size_text(store.limit)} in {store.folder}"
    return Reply(record, used, [_entry_row(entry) for entry in entries])


def _check_cache(store: "DiskCache", folder: str | None, action: str) -> None:
    """Raise unless a folder that somebody named is a cache, or may become one."""
    if folder is None:
        return
    place = user_path("folder", folder)
    missing = action == "list" and not place.exists()
    empty = missing or (place.is_dir() and not any(place.iterdir()))
    if not (empty or store.entries()):
        hint = "Leave it out for the folder that runs use."
        fail("folder", "a cache of kerastl", folder, hint)


def _entry_record(entry: "CacheEntry") -> dict[str, Any]:
    """An entry for JSON, with its times in UTC."""
    return {
        **entry.note,
        "key": entry.key,
        "bytes": entry.bytes,
        "created": datetime.fromtimestamp(entry.created, UTC).isoformat(),
        "last_used": datetime.fromtimestamp(entry.last_used, UTC).isoformat(),
        "damaged": entry.damaged,
    }


def _entry_row(entry: "CacheEntry") -> dict[str, Any]:
    """An entry as a row of the table, with local times."""
    return {
        "key": entry.key[:12],
        "size": size_text(entry.bytes),
        "made": f"{datetime.fromtimestamp(entry.created):%Y-%m-%d %H:%M}",
        "last_used": f"{datetime.fromtimestamp(entry.last_used):%Y-%m-%d %H:%M}",
        "network": "(damaged)" if entry.damaged else entry.note.get("network"),
        "cut": entry.note.get("cut"),
        "images": entry.note.get("images"),
    }


#: Command -> the function that runs it, and the functions below kerastl whose
#: options it takes too; names after one are the only ones taken of it.
COMMANDS: dict[str, tuple[Callable[..., Reply], tuple[str, ...]]] = {
    "train": (train, ("workflow:transfer",)),
    "predict": (predict, ("prediction:predict",)),
    "serve": (
        serve,
        ("serving.server:serve host port batch_size max_bytes max_pixels",),
    ),
    "evaluate": (
        evaluate,
        ("prediction:evaluate", f"data.inputs:open_data {' '.join(TABLE)}"),
    ),
    "report": (report, (f"data.inputs:open_data {' '.join(TABLE)}",)),
    "calibrate": (calibrate, ("prediction:calibrate",)),
    "adapt": (adapt, ("adaptation.adapting:adapt",)),
    "threshold": (
        threshold,
        (
            "prediction:choose_threshold sensitivity specificity precision costs "
            "batch_size",
        ),
    ),
    "compare": (
        compare,
        (
            "comparison.paired:compare confidence resamples batch_size seed",
            "data.inputs:open_data images text labels separator split folder",
        ),
    ),
    "export": (export, ("export.exporting:export_model",)),
    "features": (
        features,
        (
            "features.network:open_backbone alpha weights image_size",
            "features.network:feature_network at pooling",
            "features.network:extract_features resize",
            "features.files:extract on_bad",
            f"data.inputs:open_data {' '.join(TABLE)}",
        ),
    ),
    "merge": (merge, ()),
    "rank": (
        rank,
        (
            "selection.ranking:rank_backbones",
            "data.inputs:open_data text labels separator split folder",
        ),
    ),
    "tune": (tune, ("selection.tuning:tune",)),
    "lr": (
        lr,
        (
            "training.rate_finder:find_learning_rate",
            f"data.inputs:open_data {' '.join(TABLE)}",
            "workflow:transfer task alpha weights image_size resize",
        ),
    ),
    "advise": (
        advise,
        (
            "selection.advice:advise alpha image_size weights resize cuts images "
            "batch_size seed",
            "data.inputs:open_data labels separator split folder",
        ),
    ),
    "audit": (
        audit,
        (
            "data.audit:audit smallest_class text labels split",
            "features.label_issues:find_label_issues alpha weights image_size",
        ),
    ),
    "backbones": (backbones, ()),
    "cache": (cache, ()),
    "doctor": (doctor, ()),
}
