"""Write the bundled folder of drawn shapes and its card.

Run it from the repository's root: python data/make_shapes.py
"""

import hashlib
import shutil
from pathlib import Path

from PIL import Image, __version__

from kerastl.data.shapes import make_shapes

PER_CLASS = 67
IMAGE_SIZE = 96
SEED = 2024
QUALITY = 85
FOLDER = Path(__file__).parent / "shapes"

CARD = """\
# shapes

{total} drawn pictures of {size} x {size} pixels (JPEG, quality {quality}), one shape
each: a small folder of class folders, ready to train on.

| class | images |
|---|---|
{rows}
The shape is the class. Colour, texture, background, place, size, angle, light, blur,
noise and clutter are drawn independently of it, so none of them gives it away.

- Source: `kerastl.make_shapes({total}, image_size={size}, seed={seed})`; no photograph
  and nobody else's picture is in it.
- Licence: Apache-2.0, as the library.
- Made again by: `python data/make_shapes.py` (another Pillow than {pillow} may
  compress to other bytes; the pictures stay the same).
- sha256 of the whole set:
  `{digest}`

The digest is that of the output of

    cd data/shapes && sha256sum */*.jpg | LC_ALL=C sort -k 2 | sha256sum
"""


def write_images(folder: Path) -> dict[str, int]:
    """Write the pictures into one folder for each class; return the counts."""
    drawn, _ = make_shapes(
        PER_CLASS * 6, image_size=IMAGE_SIZE, seed=SEED, style="photo"
    )
    counts = dict.fromkeys(drawn.class_names, 0)
    for pixels, label in zip(drawn.images, drawn.labels, strict=True):
        name = drawn.class_names[label]
        counts[name] += 1
        file = folder / name / f"{name}_{counts[name]:03d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file, quality=QUALITY)
    return counts


def set_digest(folder: Path) -> str:
    """Digest over the lines of `sha256sum`, in the order of the paths."""
    lines = ""
    for path in sorted(folder.glob("*/*.jpg"), key=lambda path: path.as_posix()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines += f"{digest}  {path.relative_to(folder).as_posix()}\n"
    return hashlib.sha256(lines.encode()).hexdigest()


def main() -> None:
    """Replace the folder and its card."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    counts = write_images(FOLDER)
    card = CARD.format(
        total=sum(counts.values()),
        size=IMAGE_SIZE,
        quality=QUALITY,
        rows="".join(f"| {name} | {count} |\n" for name, count in counts.items()),
        seed=SEED,
        pillow=__version__,
        digest=set_digest(FOLDER),
    )
    (FOLDER / "README.md").write_text(card)


if __name__ == "__main__":
    main()
