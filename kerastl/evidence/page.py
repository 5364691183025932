"""The report as one page of HTML, and as a model card."""

import base64
import io
import json
import platform
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerastl._files import whole_file
from kerastl._json import finite
from kerastl._tables import cell, picture, plain, table
from kerastl.evaluation.figures import alt_text
from kerastl.evaluation.map_plots import lay_over
from kerastl.evaluation.operating import operating_point
from kerastl.evaluation.plots import plot_history
from kerastl.evaluation.score_plots import plot_reliability
from kerastl.evidence.facts import Facts
from kerastl.models.weights import weights_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Pictures in one page at most, and in one cell of the confusion matrix.
_PICTURES, _IN_A_CELL = 60, 6
#: Classes whose confusion matrix is written out.
_WRITTEN_OUT = 20
_MISTAKES = 12
#: Settings that a command needs to repeat a run.
_REPEATED = ("backbone", "alpha", "weights", "image_size", "resize", "recipe", "epochs")
_REPEATED += ("learning_rate", "batch_size", "augment", "dropout", "validation", "test")
_REPEATED += ("seed",)

_STYLE = """
:root{color-scheme:light dark;--ink:#1a1a1a;--dim:#5a5a5a;--page:#fff;--line:#d5d5d5;
--soft:#f3f4f6;--blue:#005a96;--wrong:#b04a00}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e8e8e8;--dim:#a8a8a8;
--page:#16181b;--line:#3b3f45;--soft:#212429;--blue:#74b9ec;--wrong:#f0a060}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1rem;background:var(--page);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:.3rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;
border-top:1px solid var(--line);padding-top:1rem}
h3{font-size:1rem;margin:1rem 0 .3rem}
nav a{margin-right:.8rem}a{color:var(--blue)}
p.big{font-size:1.3rem;margin:.5rem 0}.dim{color:var(--dim)}
table{border-collapse:collapse;font-size:.9rem}caption{text-align:left;color:var(--dim)}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;
vertical-align:top;overflow-wrap:normal}
td{max-width:24rem;overflow-wrap:break-word}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.sortable th{cursor:pointer}.sortable th[aria-sort]::after{content:" \\25BC"}
.sortable th[aria-sort=ascending]::after{content:" \\25B2"}
.wide{overflow-x:auto;max-width:100%}
td.right{background:var(--soft);font-weight:600}td.wrong a{color:var(--wrong)}
.grid{display:flex;flex-wrap:wrap;gap:.8rem}
figure{margin:0;max-width:17rem}figcaption{font-size:.8rem;max-width:17rem}
figure img{border-radius:3px;margin-right:2px}
img{max-width:100%;height:auto}img.figure{background:#fff;border-radius:4px}
pre{background:var(--soft);padding:.7rem;overflow-x:auto;font-size:.85rem}
details{margin:.3rem 0}summary{cursor:pointer}
@media print{nav{display:none}details{display:block}body{max-width:none}
figure,tr{break-inside:avoid}}
"""
# The page says everything without it: it sorts tables and opens what a link points at.
_SCRIPT = """
for(const t of document.querySelectorAll("table.sortable")){
t.querySelectorAll("th").forEach((h,i)=>{h.tabIndex=0;const sort=()=>{
const up=h.getAttribute("aria-sort")!=="ascending";
t.querySelectorAll("th").forEach(o=>o.removeAttribute("aria-sort"));
h.setAttribute("aria-sort",up?"ascending":"descending");
const key=r=>{const c=r.cells[i];return c.dataset.value!==undefined?+c.dataset.value:
c.textContent};const b=t.tBodies[0];
[...b.rows].sort((x,y)=>{const p=key(x),q=key(y);
if((typeof p==="number")!==(typeof q==="number"))return typeof p==="number"?-1:1;
const d=typeof p==="number"?p-q:p.localeCompare(q);
return up?d:-d}).forEach(r=>b.append(r))};
h.addEventListener("click",sort);h.addEventListener("keydown",e=>{
if(e.key==="Enter"||e.key===" "){e.preventDefault();sort()}})})}
const open=()=>{const d=location.hash&&document.getElementById(location.hash.slice(1));
if(d&&d.tagName==="DETAILS")d.open=true};
addEventListener("hashchange",open);open();
addEventListener("beforeprint",()=>document.querySelectorAll("details").forEach(
d=>d.open=true));
"""
# Nothing is loaded from anywhere, whatever a file is called.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)


def page(facts: Facts) -> str:
    """The report as one page, without a network and without other files."""
    title = f"{facts.bound.record.backbone}, {facts.run.get('data') or facts.part}"
    parts = [(name, text) for name, text in _sections(facts) if text]
    links = " ".join(f'<a href="#{_slug(name)}">{plain(name)}</a>' for name, _ in parts)
    body = "\n".join(
        f'<section id="{_slug(name)}"><h2>{plain(name)}</h2>\n{text}</section>'
        for name, text in parts
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{plain(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        f"<h1>{plain(title)}</h1>\n<nav>{links}</nav>\n{body}\n"
        f"{data_block('report', _data(facts))}\n"
        f"<script>{_SCRIPT}</script>\n</body></html>\n"
    )


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


def _data(facts: Facts) -> dict[str, Any]:
    """What a program reads back."""
    plainly = getattr(facts.report, "to_dict", dict)()
    found = {"part": facts.part, "scores": plainly, "mistakes": list(facts.mistakes)}
    found["names"] = [facts.name_of(place) for place in facts.mistakes[:_PICTURES]]
    for name in ("slices", "issues", "audited"):
        value = getattr(facts, name)
        # Without a suspect a list of such is empty, and not missing.
        found[name] = None if value is None else value.to_dict()
    return found


def _sections(facts: Facts) -> Iterator[tuple[str, str]]:
    """Title and HTML of each; empty where there is nothing to say."""
    budget = Budget()
    yield "Summary", _summary(facts)
    yield "Data", _data_card(facts)
    yield "Training", _training(facts)
    yield "Curves", _curves(facts)
    if facts.classes:
        yield "Classes", _classes(facts)
        yield "Mistakes", _mistakes(facts, budget)
        yield "Confusion", _confusion(facts, budget)
        yield "Doubtful labels", _issues(facts, budget)
        yield "Calibration", _calibration(facts)
        yield "Groups", _groups(facts)
    else:
        yield "Pictures", _pictures(facts)
    yield "Environment", _environment(facts)


class Budget:
    """How many pictures may still be put into the page."""

    def __init__(self) -> None:
        """Begin with all."""
        self.left = _PICTURES

    def take(self, wanted: int) -> int:
        """As many of those that are wanted as are left."""
        given = min(wanted, self.left)
        self.left -= given
        return given


def _summary(facts: Facts) -> str:
    scores = facts.report.to_dict()
    said = facts.bound.task.summary(scores)
    noun, count = facts.examples.noun, len(facts.examples)
    lines = [
        f'<p class="big">{plain(said)}</p>',
        f"<p>{count} {noun}s of the {plain(facts.part)} part, "
        f"task {plain(facts.bound.task.name)}.</p>",
    ]
    if facts.classes:
        best = f"{100 * facts.report.baseline:.1f} %"
        lines.append(
            f"<p>Always giving the most frequent answer would be right in {best}.</p>"
        )
        rows = [
            {"measure": name.replace("_", " "), "value": value}
            for name, value in facts.report.metrics.items()
        ]
        lines.append(table(rows))
    else:
        lines.append(f"<pre>{plain(facts.report)}</pre>")
    lines.append(
        f'<p class="dim">These numbers hold for {noun}s like the scored ones. Of '
        "another source (camera, place, year, population) they say nothing: score some "
        "of it first. A model like this must not decide alone over people.</p>"
    )
    return "\n".join(lines)


def _data_card(facts: Facts) -> str:
    parts = {n: p for n, p in (facts.run.get("splits") or {}).items() if p}
    if not parts:
        counts = facts.examples.counts()
        parts = {facts.part: {"images": len(facts.examples), "classes": counts}}
    names = {name for part in parts.values() for name in part.get("classes") or {}}
    order = [n for n in facts.bound.record.class_names if n in names] or sorted(names)
    noun = facts.examples.noun
    rows = [
        {"class": name}
        | {
            part: (held.get("classes") or {}).get(name, 0)
            for part, held in parts.items()
        }
        for name in order
    ]
    total = {"class": f"all {noun}s"}
    rows.append(total | {part: held["images"] for part, held in parts.items()})
    text = table(rows, caption=f"{noun}s of each class and part", sortable=False)
    if facts.audited is not None:
        text += f"<h3>Audit of the scored {noun}s</h3><pre>{plain(facts.audited)}</pre>"
    return text


def _training(facts: Facts) -> str:
    phases = facts.run.get("phases") or []
    rows = [
        {
            "phase": phase["name"],
            "epochs": phase["stop"] - phase["start"],
            "trainable": _count(phase["trainable"]),
            "moved": _count(phase["moved"]),
            "seconds": round(phase["seconds"], 1),
            "cache": phase.get("cache") or "none",
            "ended_early": phase.get("stopped") or "no",
        }
        for phase in phases
    ]
    text = table(rows, caption="phases: weights that may train, and that moved")
    best = facts.run.get("best")
    if best:
        text += f"<p>The weights are those of {plain(_best(best))}.</p>"
    return text


def _best(best: dict[str, Any]) -> str:
    measured = f"{best.get('monitor')} {cell(best.get('value'))}"
    epoch = int(best.get("epoch", -1)) + 1
    if not epoch:
        return f"the start of training: {measured}"
    # Counted from one, as curves and logs do.
    return f"phase {best.get('phase')!r}, epoch {epoch}: {measured}"


def _count(weights: Any) -> int:
    """How many weights a phase names, or counts."""
    return weights if isinstance(weights, int) else len(weights)


def _curves(facts: Facts) -> str:
    """Curves of the history, where there is one of more than one epoch."""
    columns: dict[str, list[float]] = {}
    for row in facts.history:
        for name, value in row.items():
            if name in ("phase", "epoch"):
                continue
            try:
                columns.setdefault(name, []).append(float(value))
            except (TypeError, ValueError):
                columns.setdefault(name, []).append(float("nan"))
    kept = {n: v for n, v in columns.items() if n.removeprefix("val_") in _DRAWN}
    return drawing(plot_history(kept)) if kept and len(facts.history) > 1 else ""


_DRAWN = ("loss", "accuracy", "mae", "mean_iou", "ap50")


def _classes(facts: Facts) -> str:
    rows = [dict(vars(row)) for row in facts.report.per_class]
    rows = [{"class": row.pop("name"), **row} for row in rows]
    return table(rows, sortable=True) + '<p class="dim">A click on a title sorts.</p>'


def _shown(facts: Facts, place: int) -> str:
    """Picture of one example, or its text."""
    if facts.pixels is None:
        return f"<pre>{plain(facts.name_of(place))[:400]}</pre>"
    return picture(facts.pixels(np.array([place]))[0], facts.name_of(place))


def _answer(facts: Facts, place: int) -> str:
    """Truth and answer of one example, in words."""
    names, truth = facts.bound.record.class_names, np.asarray(facts.targets)[place]
    said = facts.predictions.labels[place]
    given = said if isinstance(said, str) else ", ".join(said) or "none"
    several = np.ndim(truth) > 0
    right = (
        [names[i] for i in np.flatnonzero(truth)] if several else [names[int(truth)]]
    )
    sure = float(facts.predictions.confidences[place])
    true = ", ".join(right) or "none"
    return f"{plain(true)} → <b>{plain(given)}</b> ({sure:.2f})"


def _mistakes(facts: Facts, budget: Budget) -> str:
    count, total = len(facts.mistakes), len(facts.examples)
    if not count:
        return f"<p>None: all {total} are right.</p>"
    chosen = facts.mistakes[: budget.take(min(count, _MISTAKES))]
    figures = []
    for number, place in enumerate(chosen):
        shown = _shown(facts, place)
        if facts.maps is not None and number < len(facts.maps):
            laid = lay_over(facts.maps.pixels[number], facts.maps.maps[number])
            shown += picture(laid, "where the network looked")
        name = plain(facts.name_of(place)) if facts.pixels is not None else ""
        figures.append(_figure(shown, f"{_answer(facts, place)}<br>{name}"))
    told = f"{count} of {total} are wrong; the surest first: true → <b>given</b>."
    if facts.maps is not None:
        told += (
            f" Beside them what speaks for the given class (orange) and against it "
            f"(blue), by {plain(facts.maps.method)}."
        )
    return f"<p>{told}</p>{_grid(figures)}"


def _figure(shown: str, caption: str) -> str:
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _grid(figures: list[str]) -> str:
    return f'<div class="grid">{"".join(figures)}</div>'


def _confusion(facts: Facts, budget: Budget) -> str:
    """The matrix, each wrong cell a link to its images, and these below it."""
    counts, names = facts.report.confusion, facts.bound.record.class_names
    if counts is None:
        return ""
    truth, given = np.asarray(facts.targets), np.asarray(facts.predictions.indices)
    pairs = [(i, j) for i, j in np.argwhere(counts > 0).tolist() if i != j]
    pairs.sort(key=lambda pair: -counts[pair])
    blocks = []
    for i, j in pairs[:_PICTURES]:
        places = np.flatnonzero((truth == i) & (given == j))
        kept = places[: budget.take(min(len(places), _IN_A_CELL))]
        figures = [
            _figure(_shown(facts, p), plain(facts.name_of(p)) if facts.pixels else "")
            for p in kept.tolist()
        ]
        more = len(places) - len(kept)
        rest = f"<p>and {more} more</p>" if more else ""
        words = f"{plain(names[i])} taken for {plain(names[j])}: {len(places)}"
        blocks.append(
            f'<details id="cell-{i}-{j}"><summary>{words}</summary>'
            f"{_grid(figures)}{rest}</details>"
        )
    return _matrix(counts, names) + "".join(blocks)


def _matrix(counts: np.ndarray, names: tuple[str, ...]) -> str:
    if len(names) > _WRITTEN_OUT:
        return f"<p>{len(names)} classes: the pairs that are confused.</p>"
    head = "".join(f'<th scope="col">{plain(name)}</th>' for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, count in enumerate(counts[i].tolist()):
            if i == j:
                cells.append(f'<td class="number right">{count}</td>')
            elif count:
                link = f'<a href="#cell-{i}-{j}">{count}</a>'
                cells.append(f'<td class="number wrong">{link}</td>')
            else:
                cells.append('<td class="number">0</td>')
        rows.append(f'<tr><th scope="row">{plain(name)}</th>{"".join(cells)}</tr>')
    caption = "rows are true classes, columns given ones; a number leads to its images"
    return (
        f'<div class="wide"><table><caption>{caption}</caption><thead><tr><td></td>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _issues(facts: Facts, budget: Budget) -> str:
    if facts.issues is None:
        return ""
    issues, figures = facts.issues.issues, []
    for issue in issues[: budget.take(min(len(issues), _MISTAKES))]:
        words = f"{plain(issue.given)}, perhaps <b>{plain(issue.suggested)}</b>"
        caption = (
            f"{words} ({issue.margin:+.2f})<br>{plain(facts.name_of(issue.place))}"
        )
        figures.append(_figure(_shown(facts, issue.place), caption))
    told = (
        f"Of {facts.issues.images} labels {len(issues)} look wrong, by what the other "
        "images say of each. Look before changing one: rare images are listed too."
    )
    return f"<p>{told}</p>{_grid(figures)}"


def _calibration(facts: Facts) -> str:
    probabilities = facts.predictions.probabilities
    temperature = facts.bound.record.temperature
    said = "not calibrated"
    if temperature != 1:
        said = f"calibrated, temperature {temperature:.3f}"
    text = f"<p>The model is {said}.</p>"
    text += drawing(plot_reliability(facts.targets, probabilities))
    if facts.single and probabilities.shape[1] == 2:
        text += _thresholds(facts)
    return text


def _thresholds(facts: Facts) -> str:
    """What some thresholds do, the model's own among them."""
    kept = facts.bound.record.operating
    own = kept["threshold"] if kept else 0.5
    name = plain(facts.bound.record.class_names[1])
    scores = facts.predictions.probabilities[:, 1]
    rows = []
    for threshold in sorted({0.1, 0.25, 0.5, 0.75, 0.9, own}):
        point = operating_point(facts.targets, scores, threshold=threshold)
        row = {"threshold": threshold, "the model's": threshold == own}
        rates = ("sensitivity", "specificity", "precision", "negative_precision")
        rows.append(row | {rate: getattr(point, rate) for rate in rates})
    chosen = "No threshold was chosen: one half decides."
    if kept:
        [(aim, wanted)] = kept["aim"].items()
        chosen = f"The threshold was chosen for {plain(aim)} {plain(wanted)}, on "
        chosen += f"{len(kept['images'])} other examples."
    return f"<h3>Thresholds for {name}</h3><p>{chosen}</p>{table(rows)}"


def _groups(facts: Facts) -> str:
    if facts.slices is None or not facts.slices.slices:
        return ""
    rows = [
        {
            "by": each.by,
            "group": each.value,
            "images": each.images,
            "accuracy": each.accuracy,
            "low": each.interval[0],
            "high": each.interval[1],
            "corrected_p": each.p_value,
        }
        for each in facts.slices.slices
    ]
    found = facts.slices.found
    said = "No group is worse than the others by more than chance."
    if found:
        listed = ", ".join(f"{each.by} {each.value}" for each in found)
        said = f"Worse than the others by more than chance: {plain(listed)}."
    return f"<p>{said}</p>{table(rows, sortable=True)}"


def _pictures(facts: Facts) -> str:
    """What the task draws of its examples."""
    figures: dict[str, Figure] | None = facts.figures
    if figures is None:
        if facts.pixels is None and facts.bound.task.dense:
            return ""
        figures = facts.bound.task.pictures(
            facts.targets, facts.predictions, _whole(facts)
        )
    return "".join(drawing(figure) for figure in figures.values())


def _whole(facts: Facts) -> Any:
    """Images as the task's pictures want them: of dense tasks at their own size."""
    if facts.bound.task.dense:
        return lambda indices: [facts.examples.image(i) for i in indices.tolist()]
    return facts.pixels


def _environment(facts: Facts) -> str:
    rows = [{"what": n, "value": v} for n, v in _versions(facts).items()]
    command = repeat_command(facts)
    text = table(rows)
    return text + (f"<h3>To repeat</h3><pre>{plain(command)}</pre>" if command else "")


def _versions(facts: Facts) -> dict[str, Any]:
    settings = facts.run.get("settings") or {}
    names = ("kerastl", "keras", "tensorflow", "jax", "numpy", "python")
    known = {name: settings[name] for name in names if name in settings}
    if not known:
        known = {"keras": keras.__version__, "python": platform.python_version()}
    record = facts.bound.record
    return {
        **known,
        "backend": settings.get("backend", keras.backend.backend()),
        "backbone": record.backbone,
        "pre-trained weights": record.weights,
        "image size": " x ".join(map(str, record.image_size)) or "texts",
        "hash of the weights": weights_digest(facts.bound.model.weights)[:16],
        "seconds": (facts.run.get("seconds") or {}).get("total"),
    }


def repeat_command(facts: Facts) -> str:
    """The command line that trains the model again; empty where nobody knows it."""
    settings = facts.run.get("settings")
    if not settings:
        return ""
    words = ["kerastl", "train", str(facts.run.get("data") or "DATA")]
    for name in _REPEATED:
        value = settings.get(name)
        if value is None or isinstance(value, dict):
            continue
        several = value if isinstance(value, list) else [value]
        if name == "image_size" and len(set(several)) == 1:
            several = several[:1]
        words += [f"--{name.replace('_', '-')}", *map(str, several)]
    return shlex.join(words)


def card(facts: Facts) -> str:
    """The same as a model card in Markdown, with the head that model hubs read."""
    record, scores = facts.bound.record, facts.report.to_dict()
    data = str(facts.run.get("data") or facts.part)
    numbers = {
        name: scores[name] for name in facts.bound.task.headline if name in scores
    }
    head = ["---", "library_name: keras", "tags:", "- kerastl", "- transfer-learning"]
    head += ["metrics:", *(f"- {name}" for name in numbers), "---", ""]
    lines = [
        f"# {_inline(record.backbone)} on {_inline(data)}",
        "",
        "## Model details",
        "",
        f"- Backbone: {_inline(record.backbone)}, weights: {_inline(record.weights)}",
        f"- Task: {facts.bound.task.name}",
        f"- Input: {' x '.join(map(str, record.image_size)) or 'texts'}",
        f"- Classes: {', '.join(map(_inline, record.class_names)) or 'none'}",
        f"- Hash of the weights: `{weights_digest(facts.bound.model.weights)[:16]}`",
        "- Licence: not stated; that of the backbone's weights and of the data holds",
        "",
        "## Intended use",
        "",
        "To be filled in: for whom, for what, and for what not.",
        "",
        "## Evaluation",
        "",
        f"{facts.bound.task.summary(scores)}, on {len(facts.examples)} "
        f"{facts.examples.noun}s of the {facts.part} part.",
        "",
        "```",
        str(facts.report),
        "```",
        "",
    ]
    if facts.slices is not None and facts.slices.slices:
        lines += ["## By group", "", "```", str(facts.slices), "```", ""]
    lines += ["## Training", ""]
    lines += [
        f"- {_inline(row['name'])}: {row['stop'] - row['start']} epochs, "
        f"{_count(row['moved'])} weights moved"
        for row in facts.run.get("phases") or []
    ]
    command = repeat_command(facts)
    lines += ["", "```", command, "```", ""] if command else ["Not known.", ""]
    lines += [
        "## Caveats",
        "",
        "The numbers hold for examples like the scored ones.",
        "",
    ]
    return "\n".join([*head, *lines])


def _inline(value: Any) -> str:
    """Text inside a line of Markdown: no markup, no HTML, no second line."""
    line = " ".join(str(value).split())
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>#|" else c for c in line)


def drawing(figure: "Figure") -> str:
    """A figure inside the page, with its description."""
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=110)
    data = base64.b64encode(held.getvalue()).decode("ascii")
    text = plain(alt_text(figure))
    return f'<img class="figure" src="data:image/png;base64,{data}" alt="{text}">'


def data_block(name: str, value: Any) -> str:
    """Data that a script or a test reads back from the page.

    No text in it can end the block: `<` is written as an escape of JSON.
    """
    # JSON has neither nan nor infinity.
    written = json.dumps(finite(value), ensure_ascii=False, default=str)
    safe = written.replace("<", "\\u003c").replace(">", "\\u003e")
    return f'<script type="application/json" id="{plain(name)}">{safe}</script>'


def write(facts: Facts, path: str | Path, *, as_card: bool = False) -> None:
    """Write the page, or the card, whole or not at all."""
    with whole_file(Path(path)) as draft:
        draft.write_text(card(facts) if as_card else page(facts), encoding="utf-8")
