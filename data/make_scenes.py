"""Write the bundled folder of drawn scenes, with masks and boxes, and its card.

Run it from the repository's root: python data/make_scenes.py
"""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from kerastl.data.masks import IGNORE
from kerastl.data.shapes import make_shapes
from kerastl.evaluation.mask_plots import class_colours

PARTS = {"train": 80, "validation": 20, "test": 20}
IMAGE_SIZE = 128
SEED = 2025
QUALITY = 85
FOLDER = Path(__file__).parent / "scenes"

CARD = """\
# scenes

{total} drawn pictures of {size} x {size} pixels (JPEG, quality {quality}) with one to
four shapes each, the class of each pixel (`masks`) and a box around each shape
(`boxes.json`, as COCO has them): a small folder to segment or to detect on.

    kerastl train data/scenes --task segmentation
    kerastl train data/scenes --task detection

| part | images | {names} |
|---|---|{lines}|
{rows}
Colour, texture, background, place, size, angle, light, blur, noise and clutter are
drawn independently of the shape; no two shapes lie over each other.

- Source: `kerastl.make_shapes({total}, objects=4, image_size={size}, seed={seed})`; no
  photograph and nobody else's picture is in it.
- Licence: Apache-2.0, as the library.
- Made again by: `python data/make_scenes.py`.
"""


def write_part(folder: Path, images: object, masks: np.ndarray, labels: object) -> None:
    """The pictures, masks and boxes of one part."""
    names = ["background", *labels.class_names]
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(names)], palette[IGNORE] = class_colours(len(names)), 255
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    said = {"images": [], "annotations": [], "categories": []}
    for number, name in enumerate(labels.class_names, 1):
        said["categories"].append({"id": number, "name": name})
    for number, (pixels, mask) in enumerate(zip(images, masks, strict=True), 1):
        name = f"{number:03d}"
        Image.fromarray(pixels).save(folder / f"images/{name}.jpg", quality=QUALITY)
        drawn = Image.fromarray(mask)
        drawn.putpalette(palette.ravel().tolist())
        drawn.save(folder / f"masks/{name}.png", optimize=True)
        place = {"id": number, "file_name": f"images/{name}.jpg"}
        said["images"].append(place | {"width": IMAGE_SIZE, "height": IMAGE_SIZE})
        rows = zip(labels.boxes[number - 1], labels.classes[number - 1], strict=True)
        for (left, top, right, bottom), kind in rows:
            box = [float(each) for each in (left, top, right - left, bottom - top)]
            row = {"id": len(said["annotations"]) + 1, "image_id": number}
            said["annotations"].append(
                row | {"category_id": int(kind) + 1, "bbox": box}
            )
    (folder / "boxes.json").write_text(json.dumps(said) + "\n")


def main() -> None:
    """Replace the folder and its card."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    total, begin, rows = sum(PARTS.values()), 0, ""
    drawn, factors = make_shapes(total, objects=4, image_size=IMAGE_SIZE, seed=SEED)
    for part, count in PARTS.items():
        places = np.arange(begin, begin + count)
        some, begin = drawn.subset(places), begin + count
        write_part(FOLDER / part, some.images, factors.masks[places], some.labels)
        kinds = np.bincount(np.concatenate(some.labels.classes), minlength=6)
        rows += f"| {part} | {count} | {' | '.join(map(str, kinds))} |\n"
    names = factors.boxes.class_names
    listed = {"names": ["background", *names]}
    (FOLDER / "classes.json").write_text(json.dumps(listed) + "\n")
    card = CARD.format(
        total=total,
        size=IMAGE_SIZE,
        quality=QUALITY,
        names=" | ".join(names),
        lines="|".join("---" for _ in names),
        rows=rows,
        seed=SEED,
    )
    (FOLDER / "README.md").write_text(card)


if __name__ == "__main__":
    main()
