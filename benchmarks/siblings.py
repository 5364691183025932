"""How the five small siblings of lesson 09 were made: all learnt from one teacher.

    python benchmarks/siblings.py WORK --steps 900

Each learns to foretell, through a dense layer that is then thrown away, the pooled
features of the bundled MobileNet 0.50 on crops of tf_flowers' photographs (CC BY): the
same crops in the same order for all five. No label is used, and no drawing and no digit
is among the images, so that those stay new. It needs the photographs in `KERAS_HOME`.
"""

import argparse
import hashlib
import json
import math
import time
from pathlib import Path

import keras
import numpy as np

import kerastl
from kerastl.models.siblings import SIBLINGS, SIDE, build_sibling

BATCH, PEAK, VIEWS = 64, 4e-3, 2
#: Pixels of the teacher's crops.
TEACHER_SIDE = 96


def crops(work: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops `(n, 48, 48, 3)`, the teacher's features `(n, 512)`, who is held out."""
    path = work / "crops.npz"
    if path.exists():
        with np.load(path) as file:
            return file["small"], file["features"], file["held"]
    from PIL import Image

    photos, draw = sorted(flowers()), np.random.default_rng(0)
    small, large, held = [], [], []
    for number, photo in enumerate(photos):
        with Image.open(photo) as opened:
            opened.draft("RGB", (192, 192))
            image = opened.convert("RGB")
        for _ in range(VIEWS):
            side = int(min(image.size) * draw.uniform(0.5, 1.0))
            left, top = (int(draw.integers(0, s - side + 1)) for s in image.size)
            box = (left, top, left + side, top + side)
            view = image.resize((TEACHER_SIDE, TEACHER_SIDE), Image.BILINEAR, box)
            if draw.random() < 0.5:
                view = view.transpose(Image.FLIP_LEFT_RIGHT)
            large.append(np.asarray(view))
            small.append(np.asarray(view.resize((SIDE, SIDE), Image.BOX)))
            held.append(number % 10 == 0)
    teacher = kerastl.build_backbone("MobileNet", alpha=0.5, weights="tiny")
    pooled = keras.layers.GlobalAveragePooling2D()(teacher.output)
    rows = keras.Model(teacher.input, pooled).predict(
        np.stack(large), batch_size=64, verbose=2
    )
    found = np.stack(small), rows, np.array(held)
    np.savez(path, small=found[0], features=found[1], held=found[2])
    return found


def flowers() -> list[str]:
    """Paths of all photographs."""
    parts = kerastl.load_dataset("flowers", validation=0.0)
    return [str(path) for path in parts.train.images]


def train(family: str, work: Path, steps: int) -> None:
    """Train one sibling, and write its weights and its score."""
    small, features, held = crops(work)
    centre, spread = features[~held].mean(axis=0), features[~held].std(axis=0) + 1e-3
    targets = ((features - centre) / spread).astype("float32")
    keras.utils.set_random_seed(0)
    network = build_sibling(family, weights=None)
    row = keras.layers.GlobalAveragePooling2D()(network.output)
    model = keras.Model(network.input, keras.layers.Dense(targets.shape[1])(row))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=PEAK, warmup_steps=steps // 20
    )
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.02), "cosine_similarity")
    draw, order = np.random.default_rng(1), np.flatnonzero(~held)
    rounds = math.ceil(steps * BATCH / len(order))
    order = np.concatenate([draw.permutation(order) for _ in range(rounds)])
    flips = draw.random(len(order)) < 0.5
    began, log = time.process_time(), []
    for step in range(steps):
        here = slice(step * BATCH, (step + 1) * BATCH)
        views = small[order[here]].astype("float32")
        views[flips[here]] = views[flips[here], :, ::-1]
        loss = model.train_on_batch(views, targets[order[here]])
        log.append(-float(np.ravel(loss)[0]))
        if step % 50 == 49:
            print(family, step + 1, f"{np.mean(log[-50:]):.3f}", flush=True)
    score = -float(np.ravel(model.evaluate(small[held], targets[held], verbose=0))[0])
    weights = [
        np.asarray(each, np.float16 if np.ndim(each) > 1 else np.float32)
        for each in network.get_weights()
    ]
    np.savez_compressed(work / f"sibling_{family.lower()}.npz", *weights)
    said = {"parameters": network.count_params(), "steps": steps, "batch_size": BATCH}
    said |= {"held_out_cosine": round(score, 4), "held_out_crops": int(held.sum())}
    said["processor_seconds"] = round(time.process_time() - began)
    (work / f"{family}.json").write_text(json.dumps(said))
    print(family, said, flush=True)


def export(work: Path, folder: Path) -> None:
    """Copy the weights to the library, with their record."""
    record = {}
    for family in SIBLINGS:
        content = (work / f"sibling_{family.lower()}.npz").read_bytes()
        (folder / f"sibling_{family.lower()}.npz").write_bytes(content)
        record[family] = json.loads((work / f"{family}.json").read_text())
        record[family]["sha256"] = hashlib.sha256(content).hexdigest()
    text = json.dumps(record, indent=1) + "\n"
    (folder / "siblings.json").write_text(text)


def main() -> None:
    """Train those that are not there yet, then export all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=900)
    tiny = Path(__file__).parents[1] / "kerastl" / "models" / "tiny"
    parser.add_argument("--folder", type=Path, default=tiny)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for family in SIBLINGS:
        if not (given.work / f"{family}.json").exists():
            train(family, given.work, given.steps)
    export(given.work, given.folder)


if __name__ == "__main__":
    main()
