"""Maps over images: enlarged, laid over, drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kerastl._checks import check_integer, fail
from kerastl.evaluation.figures import describe, new_figure, plain_text, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What speaks for a class, and what against it: told apart with any colour vision.
_FOR, _AGAINST = (213, 94, 0), (0, 114, 178)


def enlarge(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps `(n, h, w)` at another size, linearly between the centres of their cells.

    Beyond the outer centres a map goes on as it is there. Corners laid upon corners
    instead would move everything by half a cell.

    Example:
        >>> enlarge(np.array([[[0.0, 4.0]]]), (1, 4))[0, 0].tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    rows, columns = (
        _between(cells, pixels)
        for cells, pixels in zip(maps.shape[1:3], size, strict=True)
    )
    return np.einsum("ph,nhw,qw->npq", rows, maps, columns, optimize=True)


def _between(cells: int, pixels: int) -> np.ndarray:
    """Weights `(pixels, cells)`: what each cell gives to each pixel."""
    centres = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
    return np.stack(
        [np.interp(centres, np.arange(cells), row) for row in np.eye(cells)], axis=1
    )


def lay_over(image: np.ndarray, values: np.ndarray, share: float = 0.6) -> np.ndarray:
    """An image in grey, with what speaks for the class orange, against it blue.

    Args:
        image: Pixels 0-255, `(h, w)` or `(h, w, channels)`; of other than 1, 3 or 4
            channels their mean is shown.
        values: The map `(h, w)`; its largest magnitude gets the full colour.
        share: Of that colour at the largest magnitude, 0 to 1.

    Returns:
        uint8 `(h, w, 3)`.
    """
    pixels = np.asarray(image, np.float64)
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[2] in (3, 4) else pixels
        pixels = pixels.mean(axis=-1)
    largest = np.abs(values).max()
    strength = share * np.abs(values)[..., None] / (largest if largest > 0 else 1.0)
    colours = np.where((values > 0)[..., None], _FOR, _AGAINST)
    mixed = (1 - strength) * pixels[..., None] + strength * colours
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def plot_explanations(
    images: Any,
    *,
    maps: ArrayLike | None = None,
    titles: Sequence[str] = (),
    count: int = 12,
    figure: "Figure | None" = None,
) -> "Figure":
    """Images beside their maps: orange speaks for the class, blue against it.

    Each map is drawn to its own largest magnitude, so a map of nothing looks like
    something: the number above it is that magnitude.

    Args:
        images: An `Explanation`; or pixels 0-255 `(n, h, w)` or `(n, h, w, channels)`.
        maps: Floats `(n, h, w)` of the images' size; None takes the explanation's.
        titles: One above each image; none takes the explanation's class names.
        count: Images to draw at most, the first ones.
        figure: An empty Matplotlib figure or subfigure to draw on; None makes one.

    Returns:
        The Matplotlib figure.

    Raises:
        ValueError: If there is no image, or images and maps differ in number or size.

    Example:
        >>> figure = plot_explanations(np.zeros((1, 8, 8, 3)), maps=np.ones((1, 8, 8)))
        >>> [axes.get_title() for axes in figure.axes]
        ['', 'largest 1']
    """
    check_integer("count", count, 1)
    if maps is None:
        if not hasattr(images, "maps"):
            fail("maps", "given beside pixels", None)
        named = [images.target_names[index] for index in images.targets]
        titles = titles or [f"for {name}" for name in named]
        images, maps = images.pixels, images.maps
    pixels, values = np.asarray(images), np.asarray(maps, np.float64)
    if not len(pixels) or values.shape != pixels.shape[:3]:
        fail("maps", f"of shape {pixels.shape[:3]}, as the images", values.shape)
    shown = min(count, len(pixels))
    pairs = min(3, shown)
    rows = -(-shown // pairs)
    figure = figure or new_figure(4.0 * pairs, 2.1 * rows)
    grid = figure.subplots(rows, 2 * pairs, squeeze=False).ravel()
    for axes in grid[2 * shown :]:
        axes.remove()
    for place in range(shown):
        image, drawn = pixels[place].astype(np.uint8), values[place]
        channels = image.shape[2] if image.ndim == 3 else 1
        if channels not in (3, 4):
            image = image.reshape(*image.shape[:2], channels).mean(axis=-1)
        title = titles[place] if len(titles) > place else ""
        largest = f"largest {np.abs(drawn).max():.2g}"
        panels = (image, lay_over(pixels[place], drawn))
        for axes, panel, text in zip(
            grid[2 * place : 2 * place + 2], panels, (title, largest), strict=True
        ):
            axes.imshow(panel, cmap="gray", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(plain_text(text), fontsize=8)
    describe(grid[0], f"{plural(shown, 'image')} beside maps of what speaks for what.")
    return figure.figure
