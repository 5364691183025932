"""A ranking of backbones as text for a terminal."""

from typing import TYPE_CHECKING, Any

from kerastl.evaluation.names import short_name

if TYPE_CHECKING:
    from kerastl.selection.ranking import BackboneRanking, RankedBackbone

_NAME_WIDTH = 48


def ranking_text(ranking: "BackboneRanking") -> str:
    """The table, the agreement of the scores, and what is missing."""
    probe, *others = ranking.scores
    heads = ["", "backbone", "linear probe", "ms/image", "parameters", "MB", *others]
    lines = [heads, *(_cells(row, others) for row in ranking.rows)]
    if others and len(ranking.rows) > 1:
        taus = [f"{ranking.agreement[probe][name]:.2f}" for name in others]
        lines.append(["", "agreement with the probe", *[""] * 4, *taus])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        " ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width + 1)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.append(
        f"* within one standard error of the best; {ranking.images} images, "
        f"{ranking.classes} classes; ranks in brackets"
    )
    text += [
        f"not measured: {name}: {why}" for name, why in ranking.unavailable.items()
    ]
    return "\n".join(text)


def _cells(row: "RankedBackbone", others: list[str]) -> list[str]:
    """One line of the table."""
    accuracy: Any = row.scores["linear_probe"]
    return [
        "*" if row.as_good else "",
        short_name(row.name, _NAME_WIDTH),
        f"{accuracy:.1%} +- {row.standard_error:.1%}",
        f"{1000 * row.seconds:.2f}",
        f"{row.parameters:,}",
        f"{(row.weight_bytes + row.activation_bytes) / 1e6:.1f}",
        *(f"{row.scores[name]:.3g} ({row.ranks[name]})" for name in others),
    ]
