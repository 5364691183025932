"""Where in a network, where on the machine and how precisely to keep activations."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerastl._checks import check_choice, warn
from kerastl._compat import (
    GraphNode,
    device_names,
    graph_nodes,
    seed_generators,
    sublayers,
)
from kerastl.models.blocks import (
    as_functional,
    inner_cut_points,
    node_multiplications,
)
from kerastl.models.layers import is_holding_statistics, is_noise

CACHE_MODES = ("auto", "off", "memory", "disk")

# Of a laptop with two cores. Only their ratios decide, and by large factors.
_MULTIPLICATIONS_PER_SECOND = 2e10
#: Share of a step's work from which on keeping is worth a word.
_LEAST = 0.01
_BYTES_PER_SECOND = {"memory": 2e9, "disk": 5e8}


@dataclass(frozen=True)
class Cut:
    """A place in a frozen network where its activations may be kept.

    Attributes:
        name: Name of the layer.
        size: Numbers in its output, for one image.
        below: Multiplications up to and with it, for one image.
        dtype: NumPy's name of the type in which it computes.
        layers: The layers whose outputs pass it, where these are several.
    """

    name: str
    size: int
    below: int
    dtype: str = "float32"
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class CachePlan:
    """What is kept of the frozen part of a network during a phase.

    Attributes:
        mode: `"memory"`, `"disk"`, or `"off"`: nothing is kept.
        cut: Name of the layer whose output is kept; empty when off.
        dtype: NumPy's name of the type in which it is kept.
        nbytes: Bytes in all.
        reason: Why, in one sentence.
        saved: Share of a training step's multiplications that is computed once, 0 to
            1; None where nobody said what a step costs.
    """

    mode: str
    cut: str = ""
    dtype: str = ""
    nbytes: int = 0
    reason: str = ""
    saved: float | None = None

    def __str__(self) -> str:
        """One line for people."""
        if self.mode == "off":
            return f"not cached: {self.reason}"
        return (
            f"output of {self.cut!r} cached "
            f"{'in memory' if self.mode == 'memory' else 'on disk'}, "
            f"{self.nbytes / 1e6:.1f} MB of {self.dtype}"
            f"{'' if self.saved is None else f', {self.saved:.1%} of the work saved'}"
            f"{f' ({self.reason})' if self.reason else ''}"
        )


def plan_cache(
    cuts: Sequence[Cut],
    *,
    rows: int,
    epochs: float,
    input_size: int,
    cache: str = "auto",
    memory: int,
    disk: int,
    work: int | None = None,
) -> CachePlan:
    """Choose the cut, the place and the precision.

    Full precision comes first: in memory, else on disk. Half precision is only for
    what fits in neither place otherwise. Among the cuts that fit, the one that makes
    an epoch shortest is taken: a late one saves work, a narrow one saves reading.

    Args:
        cuts: Possible cuts from input to output; the last has all that is frozen
            below it.
        rows: Images, those of the validation and all views included.
        epochs: How often each is passed; several views come by turns.
        input_size: Numbers in one image.
        cache: `"auto"`, `"off"`, or where to keep the activations.
        memory: Bytes that may be taken of the memory.
        disk: Bytes that may be taken of the disk; 0 if it cannot be used.
        work: Multiplications of a training step, for one image; None: not known.

    Returns:
        The plan; `"off"` if keeping would not make the phase shorter.

    Raises:
        ValueError: If `cache` is none of those.

    Example:
        >>> cuts = [Cut("block", size=50_000, below=10**8)]
        >>> given = dict(rows=1000, epochs=5, input_size=30_000, disk=0)
        >>> print(plan_cache(cuts, memory=10**9, **given))
        output of 'block' cached in memory, 200.0 MB of float32
        >>> plan_cache(cuts, memory=10**6, **given).mode
        'off'
    """
    check_choice("cache", cache, CACHE_MODES)
    if cache == "off":
        return CachePlan("off", reason="switched off")
    if not cuts:
        return CachePlan("off", reason="nothing is frozen below what trains")
    if epochs < 2 and cache != "disk":
        return CachePlan("off", reason="each image is passed once")
    room = {"memory": memory, "disk": disk}
    frozen = cuts[-1].below
    direct = _seconds(frozen, 4 * input_size, "memory")
    slow = False
    for half, mode in ((h, m) for h in (False, True) for m in room):
        if cache not in ("auto", mode) or (half and slow):
            continue
        fitting = [cut for cut in cuts if _bytes(cut, half) * rows <= room[mode]]
        if not fitting:
            continue
        ranked = {c: _epoch(c, frozen, half, mode) for c in fitting}
        # Of equals the latest, with the least left to compute.
        chosen = min(reversed(fitting), key=ranked.__getitem__)
        once = _seconds(chosen.below, _bytes(chosen, half), mode)
        if cache == "auto" and once + epochs * ranked[chosen] >= epochs * direct:
            slow = True
            continue
        if cache == "auto" and work and chosen.below < _LEAST * work:
            share = f"{chosen.below / work:.1%} of the work"
            return CachePlan("off", reason=f"it would save {share}")
        return _plan(chosen, mode, half, rows, work)
    if slow:
        return CachePlan("off", reason="computing is quicker than reading it back")
    smallest = rows * min(_bytes(cut, half=True) for cut in cuts)
    free = [f"{_size(room[m])} of {m}" for m in room if cache in ("auto", m)]
    reason = f"even half precision takes {_size(smallest)}, and there may be taken "
    return CachePlan("off", reason=reason + " and ".join(free))


def _size(number: int) -> str:
    """Bytes, so that a few of them do not read as none."""
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"


def _plan(
    cut: Cut, mode: str, half: bool, rows: int, work: int | None = None
) -> CachePlan:
    dtype = "float16" if half else cut.dtype
    reason = "half precision: all of it fits nowhere" if dtype != cut.dtype else ""
    saved = cut.below / work if work else None
    return CachePlan(mode, cut.name, dtype, rows * _bytes(cut, half), reason, saved)


def _bytes(cut: Cut, half: bool) -> int:
    """Bytes of one image's activations."""
    return cut.size * (2 if half or cut.dtype == "float16" else 4)


def _seconds(multiplications: int, read: int, mode: str) -> float:
    speed = _BYTES_PER_SECOND[mode]
    return multiplications / _MULTIPLICATIONS_PER_SECOND + read / speed


def _epoch(cut: Cut, frozen: int, half: bool, mode: str) -> float:
    """Seconds an image costs in each epoch: reading it, and the rest of the way."""
    return _seconds(frozen - cut.below, _bytes(cut, half), mode)


def available_memory() -> int:
    """Bytes of memory that programs may still take, the container's limit included."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        # What is free is not told everywhere; half of all is a fair guess.
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    limit, used = (
        _number(Path("/sys/fs/cgroup") / name)
        for name in ("memory.max", "memory.current")
    )
    if limit is not None and used is not None:
        found.append(max(limit - used, 0))
    return min(found, default=4_000_000_000)


def training_memory(model: keras.Model, batch_size: int) -> int:
    """Bytes that a training step takes at least: activations, gradients, moments.

    Activations from the lowest weight that trains upwards are kept for the way back;
    Adam keeps two numbers beside each weight and its gradient.

    Args:
        model: Functional model whose trainable flags are set.
        batch_size: Images in a step.
    """
    above: set[int] = set()
    total = 0
    for node in graph_nodes(as_functional("model", model)):
        trains = bool(getattr(node.layer, "trainable_variables", ()))
        if trains or above.intersection(node.inputs):
            above |= {id(tensor) for tensor in node.outputs}
            for tensor in node.outputs:
                numbers = math.prod(side or 1 for side in tensor.shape[1:])
                total += batch_size * numbers * (2 if "16" in tensor.dtype else 4)
    return total + 3 * 4 * sum(math.prod(v.shape) for v in model.trainable_variables)


def warn_of_memory(model: keras.Model, batch_size: int) -> None:
    """Warn before a training that needs more memory than there is, as far as is known.

    Asked where the processor computes: what a GPU has free Keras does not tell.
    """
    if any(not name.lower().startswith("cpu") for name in device_names()):
        return
    needed, free = training_memory(model, batch_size), available_memory()
    if needed > free:
        warn(
            f"Training {model.name} on {batch_size} images at a time needs at least "
            f"{_size(needed)} of memory, and {_size(free)} are free: take a smaller "
            "batch_size or open fewer blocks.",
            RuntimeWarning,
        )


def _number(path: Path) -> int | None:
    """The number in a file; None if there is none, or no limit ("max")."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def possible_cuts(model: keras.Model, length: int | None = None) -> tuple[Cut, ...]:
    """The places below everything that trains that carry all that follows.

    Args:
        model: Functional model whose trainable flags are set.
        length: Of a sequence, where the model takes those of any.

    Returns:
        From input to output; only those with weights below them. Up to the last,
        an image gives the same activations each time. Each is one tensor; the last
        may be several, where something runs past every single one: a U-Net's skips,
        or an input that the rest needs.
    """
    model = as_functional("model", model)
    nodes = graph_nodes(model)
    legal = set(inner_cut_points(model))
    found, below, weights = [], 0, False
    #: Of each tensor that never changes, its layer's name and itself.
    stable: dict[int, tuple[str, keras.KerasTensor]] = {}
    single, needed = True, set()
    for node in nodes:
        layer = node.layer
        still = all(tensor in stable for tensor in node.inputs)
        if not still or (isinstance(layer, keras.Layer) and changes(layer)):
            # From here on no single tensor carries everything that never changes.
            single = False
            needed |= stable.keys() & set(node.inputs)
            continue
        weights = weights or bool(getattr(layer, "weights", ()))
        below += node_multiplications(layer, node.outputs, length)
        stable |= {id(tensor): (layer.name, tensor) for tensor in node.outputs}
        shape = _sized(node.outputs[0].shape[1:], length)
        if single and weights and layer.name in legal and None not in shape:
            dtype = "float16" if node.outputs[0].dtype == "float16" else "float32"
            found.append(Cut(layer.name, math.prod(shape), below, dtype))
    between = [stable[tensor] for tensor in stable if tensor in needed]
    deeper = below > (found[-1].below if found else 0)
    if weights and deeper and len(between) > 1 and not single:
        found += _joint_cut(nodes, between, below, length)
    return tuple(found)


def _sized(shape: tuple[int | None, ...], length: int | None) -> tuple[Any, ...]:
    """A shape whose first axis, if it is open, is of that length."""
    open_ = length is not None and shape and shape[0] is None
    return (length, *shape[1:]) if open_ else shape


def _joint_cut(
    nodes: Sequence[GraphNode],
    between: Sequence[tuple[str, keras.KerasTensor]],
    below: int,
    length: int | None,
) -> list[Cut]:
    """One cut through several tensors, where each has a name and a shape of its own."""
    calls = Counter(node.layer.name for node in nodes)
    shapes = [_sized(tensor.shape[1:], length) for _, tensor in between]
    if any(calls[name] > 1 for name, _ in between) or any(None in s for s in shapes):
        return []
    # The model's own inputs go along by themselves.
    inputs = {node.layer.name for node in nodes if node.is_input}
    names = tuple(name for name, _ in between)
    layers = tuple(name for name in names if name not in inputs)
    size = sum(math.prod(shape) for shape in shapes)
    return [Cut(" + ".join(names), size, below, layers=layers)] if layers else []


def changes(layer: keras.Layer) -> bool:
    """Whether the layer's output may differ from one epoch to the next."""
    return bool(layer.trainable_variables) or any(map(_varies, sublayers(layer)))


def _varies(layer: keras.Layer) -> bool:
    if is_noise(layer):
        return layer.trainable
    return bool(seed_generators(layer)) or _uses_batch_statistics(layer)


def _uses_batch_statistics(layer: keras.Layer) -> bool:
    """Whether it is a BatchNormalization whose statistics train."""
    # Without gamma and beta it has nothing else by which to see that it trains.
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and not is_holding_statistics(layer)
        and layer.trainable
    )


def is_understood(model: keras.Model) -> bool:
    """Whether every layer is Keras's or ours, so that `changes` knows what it does.

    Wrappers are not: `SpectralNormalization` updates its state whenever it trains.
    """
    return not any(
        isinstance(layer, keras.layers.Wrapper)
        or type(layer).__module__.partition(".")[0] not in ("keras", "kerastl")
        for layer in sublayers(model)
    )
