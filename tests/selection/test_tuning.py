"""`tune` runs many settings briefly, the best longer, and says how to train on."""

import shlex

import numpy as np
import pytest
from networks import CLASSES, coloured, small_network

import kerastl
from kerastl.cli.program import build_parser
from kerastl.models.adapting import adapt_backbone
from kerastl.selection import Trial, Tuning, tune, tuning


def data(per_class=6):
    parts = [
        kerastl.ImageSet(*coloured(per_class, 16, seed), CLASSES, "colours")
        for seed in (0, 1)
    ]
    return kerastl.Splits(*parts, None)


@pytest.fixture
def runs(monkeypatch):
    """Trials as they run, scored by their dropout instead of by training."""
    seen = []

    def run(self, trial, epochs):
        seen.append((trial.dropout, epochs))
        found = {"epochs": epochs, "monitor": "val_accuracy", "score": trial.dropout}
        return Trial(**trial.options, **found, seconds=trial.seconds + 1)

    monkeypatch.setattr(tuning._Search, "run", run)
    return seen


def network():
    return adapt_backbone(small_network(), preprocessing="tf")


def search(**options):
    given = {"recipes": ["linear_probe"], "rates": [1.0], **options}
    return tune(data(), backbone=network(), **given)


def test_the_better_third_goes_on_for_three_times_as_long(runs):
    dropouts = np.arange(9) / 10
    found = search(dropouts=dropouts.tolist(), trials=9, epochs=2)
    assert [epochs for _, epochs in runs] == [2] * 9 + [6] * 3
    assert sorted(dropout for dropout, _ in runs[9:]) == [0.6, 0.7, 0.8]
    assert [trial.dropout for trial in found.trials] == sorted(dropouts)[::-1]
    assert [trial.seconds for trial in found.trials] == [2] * 3 + [1] * 6


def test_a_lower_loss_is_better():
    losses = [Trial("full", 1.0, 0.0, 2, "val_loss", score) for score in (0.3, 0.1)]
    assert min(losses, key=lambda trial: trial.order).score == 0.1


def test_the_line_is_one_that_train_takes(runs):
    found = tune("digits", alpha=0.25, image_size=32, recipes=["lp_ft"], trials=2)
    words = shlex.split(found.command("my pets"))
    parsed = vars(build_parser("train").parse_args(words[1:]))
    assert parsed["data"] == "my pets"
    assert found.best.items() <= parsed.items()
    assert parsed["alpha"] == 0.25


def test_it_finds_the_rate_that_learns():
    found = tune(
        data(20),
        backbone=network(),
        recipes=["linear_probe"],
        rates=[1e-4, 30.0],
        trials=2,
        dropouts=[0.0],
        epochs=6,
    )
    best, worst = found.trials
    assert best.learning_rate > worst.learning_rate
    assert best.score > worst.score
    assert found.to_dict()["best"]["recipe"] == "linear_probe"
    assert str(found).count("linear_probe") == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recipes", ["magic"]),
        ("rates", [0.0]),
        ("dropouts", [1.0]),
        ("trials", 1),
        ("epochs", 0),
        ("seed", 2**40),
    ],
)
def test_arguments_are_checked_before_the_data(monkeypatch, name, value):
    monkeypatch.delattr(tuning, "open_data")
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        tune("digits", **{name: value})


def test_one_setting_is_no_search(runs):
    with pytest.raises(ValueError, match="two settings or more"):
        search(dropouts=[0.2])


def test_without_images_to_choose_by_it_is_refused():
    parts = kerastl.Splits(data().train, None, None)
    with pytest.raises(ValueError, match="with a validation part"):
        tune(parts, backbone=network(), validation=0.0)


def test_the_command_prints_the_table_and_the_line(capsys, monkeypatch):
    from kerastl.cli.program import main

    trial = Trial("lp_ft", 0.0005, 0.2, 6, "val_accuracy", 0.9, 3.0)
    found = Tuning((trial,), {"backbone": "MobileNet"})
    monkeypatch.setattr(tuning, "tune", lambda *_, **__: found)
    assert main(["tune", "pets"]) == 0
    table, line = capsys.readouterr().out.strip().rsplit("\n", 1)
    assert "lp_ft" in table
    assert line.startswith("kerastl train pets --backbone MobileNet --recipe lp_ft")


def test_a_language_model_is_searched_from_the_decoder(runs):
    pytest.importorskip("keras_hub")
    texts = kerastl.TextSet([f"number {n} of a few plain texts" for n in range(12)])
    given = {"recipes": ["linear_probe"], "rates": [1.0], "trials": 2}
    found = tune(texts, task="language", **given)
    assert found.best["backbone"] == "MiniGPT"
    assert "--task language" in found.command("poems.txt")
    with pytest.raises(ValueError, match="task='language'"):
        tune(texts, **given)
