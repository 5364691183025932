"""Reports as text for a terminal."""

from typing import TYPE_CHECKING

from kerastl.evaluation.names import short_name

if TYPE_CHECKING:
    from kerastl.evaluation.reports import ClassScores, EvaluationReport

_ROWS_SHOWN = 20
_PAIRS_SHOWN = 5
_NAME_WIDTH = 30


def report_text(report: "EvaluationReport") -> str:
    """The report in lines of at most 80 characters."""
    blocks = [_summary(report), _class_table(report.per_class)]
    if report.most_confused:
        blocks.append(_confused(report))
    return "\n\n".join(blocks)


def percent(share: float) -> str:
    """`0.8642` as `"86.4 %"`."""
    return f"{100 * share:.1f} %"


def _summary(report: "EvaluationReport") -> str:
    """The numbers about all images."""
    low, high = report.accuracy_interval
    images = "1 image" if report.images == 1 else f"{report.images} images"
    lines = [f"{images}, {len(report.class_names)} classes, {report.task}"]
    if report.seconds is not None:
        each = 1000 * report.seconds / report.images
        lines[0] += f", {report.seconds:.2f} s ({each:.1f} ms an image)"
    title = "accuracy (all labels right)" if report.confusion is None else "accuracy"
    limits = f"(95 % interval {percent(low)} to {percent(high)})"
    lines.append(f"{title:<28}{percent(report.accuracy):>8}  {limits}")
    lines.append(f"{'most frequent answer':<28}{percent(report.baseline):>8}")
    for name, value in report.metrics.items():
        shown = "-" if value is None else f"{value:.3f}"
        lines.append(f"{name.replace('_', ' '):<28}{shown:>8}")
    return "\n".join(lines)


def _class_table(rows: "tuple[ClassScores, ...]") -> str:
    """One line a class; of many classes only the worst."""
    note, shown = "", rows
    if len(rows) > _ROWS_SHOWN:
        scored = [
            (row.f1, place) for place, row in enumerate(rows) if row.f1 is not None
        ]
        shown = tuple(rows[place] for _, place in sorted(scored)[:_ROWS_SHOWN])
        note = f"\nThe {len(shown)} classes of lowest f1, of {len(rows)}."
    names = [short_name(row.name, _NAME_WIDTH) for row in shown]
    width = max([len("class"), *map(len, names)])
    lines = [f"{'class':<{width}}  precision  recall      f1  images  predicted"]
    for name, row in zip(names, shown, strict=True):
        precision, recall, f1 = (
            "-" if value is None else f"{value:.3f}"
            for value in (row.precision, row.recall, row.f1)
        )
        lines.append(
            f"{name:<{width}}  {precision:>9}  {recall:>6}  {f1:>6}"
            f"  {row.images:>6}  {row.predicted:>9}"
        )
    return "\n".join(lines) + note


def _confused(report: "EvaluationReport") -> str:
    """The commonest mistakes."""
    lines = ["most confused (true -> predicted)"]
    for pair in report.most_confused[:_PAIRS_SHOWN]:
        names = [short_name(name, 22) for name in (pair.true, pair.predicted)]
        total = f"{pair.images} of {round(pair.images / pair.share)}"
        share = f"{total} ({percent(pair.share)})"
        lines.append(f"  {names[0]} -> {names[1]}: {share}")
    return "\n".join(lines)
