"""Letters in the typefaces that come with matplotlib: a third kind of images, offline.

Ten capital letters, each image in a face, size, angle, place and ink of its own on
paper of its own, with noise. Far from photographs, and nothing to do with the drawn
shapes or the scanned digits.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kerastl.data.sets import ImageSet

LETTERS = "AEGKMNRSTY"


def typefaces() -> list[Path]:
    """Files of matplotlib's text typefaces, without those of mathematical signs."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    names = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmr10", "cmb10", "cmss10")
    names += ("cmtt10",)
    return sorted(
        path
        for path in folder.glob("*.ttf")
        if path.stem.startswith(names) and "Display" not in path.stem
    )


def make_glyphs(
    count: int, *, image_size: int = 48, seed: int = 0, letters: str = LETTERS
) -> ImageSet:
    """Images of single letters, `count / 10` of each.

    Args:
        count: Number of images.
        image_size: Side in pixels.
        seed: Everything follows from it.
        letters: The classes, ten characters.
    """
    random = np.random.default_rng(seed)
    faces = typefaces()
    labels = np.arange(count) % len(letters)
    images = np.empty((count, image_size, image_size, 3), "uint8")
    for number, label in enumerate(labels):
        paper, ink = random.uniform(120, 255, 3), random.uniform(0, 110, 3)
        if random.random() < 0.5:
            paper, ink = ink, paper
        canvas = Image.new("L", (2 * image_size, 2 * image_size))
        face = faces[random.integers(len(faces))]
        font = ImageFont.truetype(str(face), image_size * random.uniform(0.5, 0.9))
        place = image_size + random.uniform(-0.15, 0.15, 2) * image_size
        pen = ImageDraw.Draw(canvas)
        pen.text(tuple(place), letters[label], fill=255, font=font, anchor="mm")
        canvas = canvas.rotate(random.uniform(-20, 20), Image.Resampling.BILINEAR)
        edge = image_size // 2
        inside = canvas.crop((edge, edge, edge + image_size, edge + image_size))
        share = np.asarray(inside, float)[..., None] / 255
        pixels = share * ink + (1 - share) * paper
        pixels += random.normal(0, 12, pixels.shape)
        images[number] = pixels.clip(0, 255).astype("uint8")
    return ImageSet(images, labels, tuple(letters), "glyphs")
