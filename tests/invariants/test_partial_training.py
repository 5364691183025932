"""Invariant 2 where only a kind of weights trains: exactly these move."""

import keras
import numpy as np
import pytest
from carriers import build, moved, paths, values

import kerastl
from kerastl import Phase
from kerastl.models.freezing import PARAMETER_GROUPS
from kerastl.models.lora import add_lora

HEAD = {"head_dense/kernel", "head_dense/bias"}
ENDINGS = {
    "norm": ("gamma", "beta"),
    "bias": ("bias", "beta"),
    "lora": ("lora_kernel_a", "lora_kernel_b"),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("residual", "norm"),
        ("residual", "bias"),
        ("residual", "lora"),
        ("mobilenet", "norm"),
        ("mobilenet", "lora"),
        ("convnext", "lora"),
    ],
)
def test_exactly_the_kind_and_the_head_move(data, name, kind):
    model = build(name)
    if kind == "lora":
        add_lora(model, rank=1)
    expected = {p for p in paths(model.weights) if p.endswith(ENDINGS[kind])} | HEAD
    before = values(model)
    phases = [
        # A head of zeros sends no gradient down.
        Phase("head", trainable="head", epochs=1, learning_rate=0.05, optimizer="sgd"),
        Phase(kind, trainable=kind, epochs=3, learning_rate=0.05, optimizer="sgd"),
    ]
    history = kerastl.run_phases(
        model, data, phases=phases, seed=0, batch_size=6, cache="off"
    )
    assert paths(model.trainable_variables) == expected
    assert set(history.phases[0].moved) == HEAD
    assert set(history.phases[1].moved) == expected
    assert moved(model, before) == expected


@pytest.mark.parametrize("kind", PARAMETER_GROUPS)
def test_computing_the_frozen_part_once_changes_nothing(data, kind):
    found = []
    for cache in ("off", "memory"):
        model = build("residual")
        if kind == "lora":
            add_lora(model, rank=1, blocks=1)
        phases = [
            Phase("head", trainable="head", epochs=2, learning_rate=0.05),
            Phase(kind, trainable=kind, epochs=2, learning_rate=0.05),
        ]
        history = kerastl.run_phases(
            model, data, phases=phases, seed=0, batch_size=6, cache=cache
        )
        assert history.phases[0].cached == (cache == "memory")
        found.append(values(model))
    for plain, cached in zip(*found, strict=True):
        np.testing.assert_allclose(cached, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", PARAMETER_GROUPS)
def test_evaluation_is_the_same_before_and_after_the_switch(data, kind):
    model = build("residual")
    before = model.evaluate(*data, verbose=0)
    if kind == "lora":
        add_lora(model, rank=2)
    kerastl.unfreeze(model, kind)
    model.compile(keras.optimizers.SGD(0.1), model.loss, metrics=["accuracy"])
    np.testing.assert_allclose(model.evaluate(*data, verbose=0), before, rtol=1e-6)
