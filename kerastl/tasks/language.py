"""Language models: the next token of a text, its perplexity, and texts drawn."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np

from kerastl._checks import check_integer, check_number, fail
from kerastl._tables import Tabular
from kerastl.data.texts import TextSet
from kerastl.models.record import read_encoder, read_record
from kerastl.models.text_layers import find_text_spec, find_tokens
from kerastl.models.tokenizing import TextEncoder
from kerastl.tasks.compiling import jit_mode
from kerastl.tasks.task import Task, register_task
from kerastl.tasks.text_models import build_token_model
from kerastl.tasks.token_scores import (
    IGNORED,
    Perplexity,
    TokenCrossentropy,
    TokenLoss,
    check_token_targets,
)

#: Layer whose weights are the output layer's too, by family.
_TIED = {"GPT-2": "token_embedding"}
#: Texts whose logits are in memory together.
_AT_ONCE = 16


def next_tokens(inputs: Mapping[str, Any]) -> np.ndarray:
    """The targets of a language model: at each token the one after it.

    Args:
        inputs: `token_ids` and `padding_mask`, each `(n, t)`.

    Returns:
        int32 `(n, t)`; -1 at the last token of each text and at the padding.

    Example:
        >>> ids, mask = [[5, 6, 7, 0]], [[1, 1, 1, 0]]
        >>> next_tokens({"token_ids": ids, "padding_mask": mask}).tolist()
        [[6, 7, -1, -1]]
    """
    ids = np.asarray(inputs["token_ids"], "int32")
    real = np.asarray(inputs["padding_mask"]).astype(bool)
    targets = np.full(ids.shape, IGNORED, "int32")
    both = real[:, :-1] & real[:, 1:]
    targets[:, :-1][both] = ids[:, 1:][both]
    return targets


@dataclass(frozen=True)
class LanguageReport(Tabular):
    """How well a language model foresees texts.

    Attributes:
        texts: Number of texts.
        tokens: Number of tokens that were foreseen: real ones alone.
        nll: Mean negative log-likelihood of one, in nats.
        seconds: What it took, or None.
    """

    texts: int
    tokens: int
    nll: float
    seconds: float | None = None

    @property
    def perplexity(self) -> float:
        """Between how many tokens the model wavers; the vocabulary's size at worst."""
        return math.exp(min(self.nll, 700.0))

    @property
    def bits_per_token(self) -> float:
        """The same in bits; of models with other vocabularies another measure."""
        return self.nll / math.log(2)

    def bits_per_byte(self, total: int) -> float:
        """Bits for each byte of the texts, which compares across vocabularies.

        Args:
            total: Bytes of the foreseen texts in UTF-8.
        """
        check_integer("total", total, 1)
        return self.bits_per_token * self.tokens / total

    def to_dict(self) -> dict[str, Any]:
        """The report in plain Python types, ready for JSON."""
        more = {"perplexity": self.perplexity, "bits_per_token": self.bits_per_token}
        return {"task": LanguageModelTask.name, **vars(self), **more}

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: see `to_frame`."""
        return [self.to_dict()]

    def __str__(self) -> str:
        """A line."""
        took = "" if self.seconds is None else f", {self.seconds:.2f} s"
        return (
            f"{self.texts} texts, {self.tokens} tokens: perplexity "
            f"{self.perplexity:.4g}, {self.bits_per_token:.3f} bits a token{took}"
        )


@dataclass(frozen=True, eq=False)
class NextTokens:
    """What a language model says of each next token.

    Attributes:
        log_probabilities: Float array `(n, t, vocabulary)`.
    """

    log_probabilities: np.ndarray

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.log_probabilities)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary a text: the most probable `next_token` at each token."""
        for row in self.log_probabilities.argmax(axis=-1).tolist():
            yield {"next_token": row}


@dataclass(frozen=True, eq=False)
class ForeseenTexts:
    """How well a language model foresees each of some texts.

    Attributes:
        texts: As they were given.
        totals: Negative log-likelihood of each text's tokens after the first, in nats.
        counts: How many of them there are in the row.
    """

    texts: tuple[str, ...]
    totals: tuple[float, ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.texts)

    @property
    def perplexities(self) -> np.ndarray:
        """Of each text `(n,)`; not a number where it has one token."""
        means = np.array(self.totals) / np.maximum(self.counts, 1)
        return np.where(np.array(self.counts) > 0, np.exp(means), np.nan)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary a text: `text`, `tokens` and `perplexity`."""
        for text, count, value in zip(
            self.texts, self.counts, self.perplexities.tolist(), strict=True
        ):
            yield {"text": text, "tokens": count, "perplexity": value}


@register_task
@dataclass(frozen=True)
class LanguageModelTask(Task):
    """The next token of a text.

    It trains on a `TextSet`, whose labels it does not look at, or on arrays: targets
    are `(n, t)`, as `next_tokens` makes them. -1 counts nowhere, so that loss and
    perplexity do not depend on the padding.

    Attributes:
        vocabulary_size: Number of tokens; 0: as the network has.
    """

    vocabulary_size: int = 0

    name: ClassVar[str] = "language"
    monitor: ClassVar[str] = "val_token_loss"
    output_name: ClassVar[str] = "token_logits"
    model_name: ClassVar[str] = "language_model"
    of_tokens: ClassVar[bool] = True
    headline: ClassVar[Mapping[str, str]] = {"perplexity": "number"}

    @property
    def units(self) -> int:
        """One output a token."""
        return self.vocabulary_size

    def on_network(self, network: keras.Model, resize: str) -> "LanguageModelTask":
        """Of the network's own vocabulary."""
        return LanguageModelTask(find_tokens(network).vocabulary_size)

    def attach_tokens(
        self, network: keras.Model, sequence: keras.KerasTensor, head: Any
    ) -> tuple[keras.KerasTensor, list[str]]:
        """The embedding turned round: there is no new head, all of it trains."""
        spec = find_text_spec(network)
        if spec is None or spec.name not in _TIED:
            shown = network.name if spec is None else spec.name
            hint = f"{shown} does not foresee the next token here."
            fail("backbone", f"one of {', '.join(_TIED)}", network.name, hint)
        return network.get_layer(_TIED[spec.name])(sequence, reverse=True), []

    def loss(self, label_smoothing: float = 0.0) -> keras.losses.Loss:
        """Cross-entropy over the real targets."""
        if label_smoothing:
            fail("label_smoothing", "0 for a language model", label_smoothing)
        return TokenCrossentropy()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Cross-entropy and perplexity over all real targets."""
        return [TokenLoss(name="token_loss"), Perplexity(name="perplexity")]

    def check(self, targets: np.ndarray) -> None:
        """Raise unless each is a token, or -1."""
        check_token_targets(targets, self.units)

    def decode(self, outputs: Any) -> np.ndarray:
        """Logarithms of the probabilities in float64."""
        logits = np.asarray(outputs, "float64")
        logits = logits - logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    def predictions(
        self, decoded: np.ndarray, paths: tuple[str, ...] | None = None
    ) -> NextTokens:
        """The logarithms of the probabilities."""
        return NextTokens(decoded)

    def targets(self, data: Any, name: str = "image_set") -> np.ndarray:
        """The texts themselves `(n,)`: each token is what the ones before ask for."""
        if not isinstance(data, TextSet) or not len(data):
            fail(name, "texts", data)
        return np.array(data.texts, object)

    def encoded(
        self, texts: TextSet, encoder: TextEncoder
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """At each token the one after it."""
        rows = encoder(texts.texts)
        return rows, next_tokens(rows)

    def of_texts(
        self, texts: TextSet, encoder: TextEncoder, outputs: Callable[[Any], np.ndarray]
    ) -> ForeseenTexts:
        """How well each text is foreseen, a few at a time: logits are large."""
        rows = encoder(texts.texts)
        targets = next_tokens(rows)
        totals, counts = [], []
        for start in range(0, len(targets), _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            decoded = self.decode(outputs({n: a[here] for n, a in rows.items()}))
            for row, logarithms in zip(targets[here], decoded, strict=True):
                total, count = _sum(row[None], logarithms[None])
                totals.append(total)
                counts.append(count)
        return ForeseenTexts(texts.texts, tuple(totals), tuple(counts))

    @classmethod
    def from_set(cls, data: Any) -> "LanguageModelTask":
        """The task of any texts, whatever their labels."""
        if not isinstance(data, TextSet):
            fail("task", "another one, as the data are no texts", cls.name)
        return cls()

    def report(
        self,
        targets: np.ndarray,
        predictions: NextTokens | ForeseenTexts,
        seconds: float | None = None,
    ) -> LanguageReport:
        """Perplexity over the real targets."""
        if isinstance(predictions, ForeseenTexts):
            total, count = sum(predictions.totals), sum(predictions.counts)
            if not count:
                fail("texts", "at least one of two tokens", "none")
            return LanguageReport(len(predictions), count, total / count, seconds)
        total, count = _sum(targets, predictions.log_probabilities)
        return LanguageReport(len(targets), count, total / count, seconds)

    def summary(self, scores: Mapping[str, Any]) -> str:
        """The perplexity."""
        return f"perplexity {scores['perplexity']:.4g} over {scores['tokens']} tokens"


def _sum(targets: np.ndarray, logarithms: np.ndarray) -> tuple[float, int]:
    """Negative log-likelihood of the real targets, and their number."""
    targets = check_token_targets(targets, logarithms.shape[-1])
    real = targets != IGNORED
    chosen = np.take_along_axis(logarithms, np.maximum(targets, 0)[..., None], -1)
    return -float(chosen[..., 0][real].sum()), int(real.sum())


def build_language_model(
    backbone: str | Path | keras.Model,
    *,
    precision: str | None = None,
    learning_rate: float = 5e-5,
) -> keras.Model:
    """A compiled language model on GPT-2, all of which trains.

    Its output layer is its embedding, as in its pre-training: there is no new head.
    Choose with `unfreeze`, or the phases of a run, what trains.

    Args:
        backbone: GPT-2: of keras-hub, built here, or the name of its preset.
        precision: Keras's dtype policy.
        learning_rate: For a plain `model.fit`.

    Returns:
        A functional `keras.Model` from ids and mask `(n, t)` to float32 logits
        `(n, t, vocabulary)` of each next token; train it on `next_tokens`.

    Raises:
        ValueError: If it is a network of another family.

    Example:
        >>> from keras_hub import models  # doctest: +SKIP
        >>> size = dict(num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> gpt = models.GPT2Backbone(vocabulary_size=30, **size)  # doctest: +SKIP
        >>> build_language_model(gpt).output_shape  # doctest: +SKIP
        (None, None, 30)

    Reference:
        Radford et al. (2019), Language models are unsupervised multitask learners,
        section 2.
    """
    options = {"precision": precision, "learning_rate": learning_rate}
    return build_token_model(backbone, LanguageModelTask(), head=None, **options)


def score_tokens(
    model: keras.Model, inputs: Mapping[str, Any], *, batch_size: int = 8
) -> LanguageReport:
    """Perplexity of a language model on texts, batch by batch.

    Args:
        model: From `build_language_model`.
        inputs: `token_ids` and `padding_mask`, each `(n, t)`.
        batch_size: Texts at a time.

    Returns:
        Report over the real tokens after the first of each text.

    Raises:
        ValueError: If it is no language model, or no text has two tokens.

    Example:
        >>> score_tokens(model, encoder(texts)).perplexity  # doctest: +SKIP
    """
    task = _language_task(model)
    targets = check_token_targets(next_tokens(inputs), task.units)
    total, count = 0.0, 0
    for start in range(0, len(targets), batch_size):
        here = slice(start, start + batch_size)
        if not (targets[here] != IGNORED).any():
            continue
        batch = {name: np.asarray(rows)[here] for name, rows in inputs.items()}
        decoded = task.decode(model.predict_on_batch(batch))
        nll, number = _sum(targets[here], decoded)
        total, count = total + nll, count + number
    return LanguageReport(len(targets), count, total / count)


def _language_task(model: keras.Model) -> LanguageModelTask:
    task = read_record(model).task
    if task["name"] != LanguageModelTask.name:
        fail("model", "of build_language_model", f"a model for {task['name']}")
    return LanguageModelTask.from_config(task)


def generate(
    model: keras.Model,
    prompts: Sequence[Sequence[int]] | Sequence[str],
    *,
    length: int = 20,
    temperature: float = 1.0,
    top_k: int | None = None,
    stop: int | None = None,
    seed: int = 0,
) -> list[list[int]] | list[str]:
    """Texts that go on from prompts, token by token.

    Each step passes the whole text, so that a long one takes its length squared.

    Args:
        model: From `build_language_model`.
        prompts: Ids of each, at least one; or texts, where the model has an encoder.
        length: Tokens to add at most.
        temperature: What the logits are divided by; 0 takes the most probable token.
        top_k: Of how many most probable tokens one is drawn; None: all.
        stop: Token that ends a text; it is kept.
        seed: What is drawn follows from it, and from the place of the prompt.

    Returns:
        The ids of each prompt and of what was added; or the texts, of texts, which end
        where the encoder's end comes up.

    Raises:
        ValueError: If a prompt is empty, or the texts would be longer than the network.

    Example:
        >>> generate(model, [[2, 17, 5]], length=10)  # doctest: +SKIP

    Reference:
        Fan et al. (2018), Hierarchical neural story generation, arXiv:1805.04833,
        section 5.4 (top-k).
    """
    task = _language_task(model)
    check_integer("length", length, 1)
    check_number("temperature", temperature, 0.0)
    if top_k is not None:
        check_integer("top_k", top_k, 1)
    encoder = None
    if any(isinstance(prompt, str) for prompt in prompts):
        if isinstance(prompts, str):
            fail("prompts", "a list of texts", prompts)
        encoder = read_encoder(model)
        prompts = [[encoder.start_id, *row] for row in encoder.tokenize(prompts)]
        stop = encoder.end_id if stop is None else stop
    texts = [list(map(int, prompt)) for prompt in prompts]
    if not texts or not all(texts):
        fail("prompts", "at least one token each", [len(text) for text in texts])
    wide = max(map(len, texts)) + length
    longest = find_tokens(model).max_length
    if longest is not None and wide > longest:
        expected = f"so that no text has more than {longest} tokens"
        fail("length", expected, f"{wide} with its prompt")
    if model.jit_compile is not False:
        model.jit_compile = jit_mode()
    draws = [np.random.default_rng([seed, place]) for place in range(len(texts))]
    room = np.array([len(text) + length for text in texts])
    for _ in range(length):
        open_ = [i for i, text in enumerate(texts) if len(text) < room[i]]
        open_ = [i for i in open_ if stop is None or texts[i][-1] != stop]
        if not open_:
            break
        logits = _next_logits(model, texts, wide)
        for i in open_:
            texts[i].append(_drawn(logits[i], temperature, top_k, draws[i]))
    check_token_targets(np.array([[t for text in texts for t in text]]), task.units)
    return texts if encoder is None else [encoder.decode(text) for text in texts]


def _next_logits(model: keras.Model, texts: list[list[int]], wide: int) -> np.ndarray:
    """Logits `(n, vocabulary)` behind each text's last token."""
    ids = np.zeros((len(texts), wide), "int32")
    mask = np.zeros((len(texts), wide), "int32")
    for row, real, text in zip(ids, mask, texts, strict=True):
        row[: len(text)], real[: len(text)] = text, 1
    made = model.predict_on_batch({"token_ids": ids, "padding_mask": mask})
    return np.asarray(made)[np.arange(len(texts)), [len(text) - 1 for text in texts]]


def _drawn(logits: np.ndarray, temperature: float, top_k: int | None, rng: Any) -> int:
    """One token: the most probable, or one drawn from the most probable ones."""
    logits = np.asarray(logits, "float64")
    if not temperature:
        return int(logits.argmax())
    kept = np.argsort(-logits, kind="stable")[:top_k]
    # The largest of logits and Gumbel noise is a draw from their softmax.
    noise = rng.gumbel(size=len(kept))
    return int(kept[np.argmax(logits[kept] / temperature + noise)])
