"""What adding adapters did to a network, as lines of text."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoraRow:
    """One layer of the chosen blocks that holds a matrix.

    Attributes:
        layer: Its name.
        kind: Its class.
        parameters: Number of scalars in it, its adapter left out.
        added: Number of scalars in its adapter; 0: it has none.
        reason: Why it has none; empty if it has one.
    """

    layer: str
    kind: str
    parameters: int
    added: int
    reason: str = ""


@dataclass(frozen=True)
class LoraReport:
    """Which layers got an adapter, and at what cost; prints as a few lines.

    Attributes:
        rank: Rank of the adapters.
        alpha: Scale of the adapters, times the rank.
        backbone_parameters: Number of scalars in the backbone, without adapters.
        rows: One per layer of the chosen blocks that holds a matrix, in order.
    """

    rank: int
    alpha: float
    backbone_parameters: int
    rows: tuple[LoraRow, ...]

    @property
    def adapted(self) -> tuple[str, ...]:
        """Names of the layers with an adapter."""
        return tuple(row.layer for row in self.rows if row.added)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of the layers that cannot have one."""
        return tuple(row.layer for row in self.rows if not row.added)

    @property
    def added(self) -> int:
        """Number of scalars in all adapters."""
        return sum(row.added for row in self.rows)

    @property
    def share(self) -> float:
        """Scalars in the adapters over those in the backbone."""
        return self.added / self.backbone_parameters

    @property
    def skipped_share(self) -> float:
        """Part of the backbone's scalars that is in layers without an adapter."""
        without = sum(row.parameters for row in self.rows if not row.added)
        return without / self.backbone_parameters

    def __str__(self) -> str:
        """The report as text."""
        lines = [
            f"{len(self.adapted)} layers have an adapter of rank {self.rank}, "
            f"scale {self.alpha / self.rank:g}: {self.added:,} parameters, "
            f"{self.share:.1%} of the backbone's {self.backbone_parameters:,}"
        ]
        if self.skipped:
            lines.append(
                f"{len(self.skipped)} layers have none, with {self.skipped_share:.1%} "
                "of the parameters:"
            )
        reasons: dict[str, list[str]] = {}
        for row in self.rows:
            if row.reason:
                reasons.setdefault(f"{row.kind}, {row.reason}", []).append(row.layer)
        lines += [
            f"  {reason}: {', '.join(names)}" for reason, names in reasons.items()
        ]
        return "\n".join(lines)
