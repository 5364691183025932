"""Cut `kerastl/photographs` from the photographs in a copy of scikit-image.

    python data/make_photographs.py FOLDER

FOLDER is `skimage/data`, unpacked from the wheel of scikit-image 0.26.0. The card
beside the pieces says whose photographs they are.
"""

import sys
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).parents[1] / "kerastl" / "photographs"
#: Photograph -> its file, and the square that holds its subject: left, top, side.
SOURCES = {
    "brick": ("brick.png", (0, 0, 512)),
    "cat": ("chelsea.png", (70, 0, 300)),
    "coffee": ("coffee.png", (90, 0, 400)),
    "galaxies": ("hubble_deep_field.jpg", (100, 0, 800)),
    "grass": ("grass.png", (0, 0, 512)),
    "gravel": ("gravel.png", (0, 0, 512)),
    "rocket": ("rocket.jpg", (150, 0, 427)),
}
SIZE, QUALITY = 96, 85


def pieces(image: Image.Image, square: tuple[int, int, int]) -> list[Image.Image]:
    """The four quarters of the square, which share no pixel."""
    left, top, side = square
    half = side // 2
    corners = [(left + x, top + y) for y in (0, half) for x in (0, half)]
    boxes = [(x, y, x + half, y + half) for x, y in corners]
    return [image.crop(box).resize((SIZE, SIZE), Image.LANCZOS) for box in boxes]


def main(folder: str) -> None:
    """Write the pieces, each named after its photograph."""
    TARGET.mkdir(exist_ok=True)
    for name, (file, square) in SOURCES.items():
        image = Image.open(Path(folder, file)).convert("RGB")
        for number, piece in enumerate(pieces(image, square)):
            piece.save(TARGET / f"{name}_{number}.jpg", quality=QUALITY)


if __name__ == "__main__":
    main(*sys.argv[1:])
