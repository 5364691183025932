"""`kerastl adapt`: another file, a report, and no label looked at."""

import numpy as np
import pytest
from PIL import Image

import kerastl

pytestmark = pytest.mark.filterwarnings("ignore:Statistics of")


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "target" / "anything"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype("uint8")
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number}.png")
    return tmp_path / "target"


def test_the_adapted_model_is_another_file(command, trained, target, tmp_path):
    before = trained.model.read_bytes()
    output = tmp_path / "adapted.keras"
    done = command("adapt", trained.model, target, "-o", output, "--json")
    assert done.status == 0, done.err
    assert trained.model.read_bytes() == before
    record = done.json()
    assert record["method"] == "statistics"
    assert record["images"] == 6
    assert record["output"] == str(output)
    old, new = (kerastl.load_model(path) for path in (trained.model, output))
    paths = {
        a.path
        for a, b in zip(old.weights, new.weights, strict=True)
        if not np.array_equal(np.array(a), np.array(b))
    }
    assert paths == set(record["moved"])
    assert {path.rpartition("/")[2] for path in paths} <= {
        "moving_mean",
        "moving_variance",
    }
    answers = [kerastl.predict(model, str(target)).indices for model in (old, new)]
    assert record["changed"] == (answers[0] != answers[1]).sum()


def test_with_a_source_it_says_what_changed(command, trained, target, tmp_path):
    output = tmp_path / "adapted.keras"
    done = command(
        "adapt", trained.model, target, "--source", trained.data, "-o", output
    )
    assert done.status == 0, done.err
    assert "accuracy on the source" in done.out
    assert "AUC" in done.out


@pytest.mark.parametrize("output", ["adapted.txt", "absent/adapted.keras"])
def test_an_output_that_cannot_be_is_refused_before_the_work(
    command, trained, target, tmp_path, output
):
    done = command("adapt", trained.model, target, "-o", tmp_path / output)
    assert (done.status, done.out) == (2, "")


def test_a_folder_without_images_fails(command, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    output = tmp_path / "adapted.keras"
    done = command("adapt", trained.model, tmp_path / "empty", "-o", output)
    assert done.status in (1, 2)
    assert "folders with images inside" in done.err
    assert not output.exists()
