import base64
import gc
import pickle
import sys
import weakref

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from kerastl.evaluation.figures import alt_text, panels, save_figure
from kerastl.evaluation.grids import plot_mistakes, show_images
from kerastl.evaluation.plots import plot_history
from kerastl.evaluation.score_plots import plot_confusion, plot_reliability

PLOTS = {
    "history": lambda: plot_history({"loss": [1.0, 0.5]}),
    "images": lambda: show_images(np.zeros((3, 8, 8, 3), "uint8"), labels=[0, 1, 0]),
    "mistakes": lambda: plot_mistakes(np.zeros((1, 8, 8)), [0], [[0.1, 0.9]]),
    "confusion": lambda: plot_confusion([[3, 1], [0, 4]]),
    "reliability": lambda: plot_reliability([0, 1], [[0.9, 0.1], [0.6, 0.4]]),
}


@pytest.fixture(params=PLOTS)
def figure(request):
    return PLOTS[request.param]()


def test_every_plot_returns_a_figure_described_in_words(figure):
    assert isinstance(figure, Figure)
    assert alt_text(figure).endswith(".")


def test_no_plot_is_registered_with_pyplot(figure):
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


@pytest.mark.parametrize("name", PLOTS)
def test_a_dropped_figure_is_freed(name):
    figure = PLOTS[name]()
    seen = weakref.ref(figure)
    del figure
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("name", PLOTS)
def test_plots_leave_the_settings_alone(name):
    before = dict(matplotlib.rcParams)
    PLOTS[name]()
    assert dict(matplotlib.rcParams) == before


def test_a_notebook_gets_one_picture_with_its_description(figure):
    data, metadata = figure._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert metadata["image/png"]["alt"] == alt_text(figure)


def test_figures_survive_pickling(figure):
    assert alt_text(pickle.loads(pickle.dumps(figure))) == alt_text(figure)


def test_a_saved_picture_carries_its_description(figure, tmp_path):
    save_figure(figure, tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").text["Description"] == alt_text(figure)


def test_names_beyond_latin_survive_in_the_description(tmp_path):
    figure = plot_confusion([[3, 1], [0, 4]], ("ďábel", "łoś"))
    save_figure(figure, tmp_path / "plot.png")
    text = Image.open(tmp_path / "plot.png").text["Description"]
    assert "ďábel as łoś (1)" in text


@pytest.mark.parametrize("ending", ["svg", "pdf", "PNG"])
def test_other_formats_are_written(ending, tmp_path):
    save_figure(PLOTS["confusion"](), tmp_path / f"plot.{ending}")
    assert (tmp_path / f"plot.{ending}").stat().st_size > 1000


def test_a_plain_figure_is_saved_without_a_description(tmp_path):
    assert alt_text(Figure()) == ""
    save_figure(Figure(), tmp_path / "plot.png")
    assert "Description" not in Image.open(tmp_path / "plot.png").text


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    target = tmp_path / "plot.png"
    target.write_bytes(b"old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_figure(PLOTS["confusion"](), target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


def test_a_saved_picture_leaves_no_other_file(tmp_path):
    save_figure(PLOTS["confusion"](), tmp_path / "plot.png")
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("plot.gif", ValueError, "'png', 'svg', 'pdf'"),
        ("plot", ValueError, "'png', 'svg', 'pdf'"),
        ("missing/plot.png", FileNotFoundError, "Create its folder"),
    ],
)
def test_a_path_that_cannot_be_written_is_named(tmp_path, name, error, words):
    with pytest.raises(error, match=words):
        save_figure(PLOTS["confusion"](), tmp_path / name)


def test_panels_of_a_subfigure_belong_to_the_whole_figure():
    whole = Figure()
    axes = whole.subfigures(1, 2)[0].subplots()
    assert panels(axes, 1, (4, 3))[0] is whole


def test_descriptions_of_all_panels_are_joined():
    axes = Figure().subplots(1, 2)
    plot_confusion([[1, 0], [0, 1]], axes=axes[0])
    figure = plot_reliability([0], [[0.9, 0.1]], axes=axes[1])
    assert alt_text(figure).startswith("Confusion matrix of 2 images")
    assert "Reliability diagram of 1 decisions" in alt_text(figure)


def test_the_wrong_number_of_axes_is_named():
    with pytest.raises(ValueError, match="2 axes, one per panel"):
        plot_history({"loss": [1.0], "accuracy": [0.5]}, axes=Figure().subplots())


def test_what_is_no_axes_is_named():
    with pytest.raises(TypeError, match="Matplotlib axes"):
        plot_confusion([[1]], axes=[3])
