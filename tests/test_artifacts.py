"""The output folder: claimed before the work, and no run's but its own."""

import contextlib
import os
import shutil
import tempfile
from types import SimpleNamespace

import keras
import pytest
from networks import small_classifier

import kerastl
from kerastl import _files
from kerastl._files import OutputFolder
from kerastl.artifacts import output_folder, rescue, write_model
from kerastl.tasks.building import load_model, save_model

NAMES = ("model.keras", "report.json", "curves.png")


def everything_in(folder):
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize("output", ["new", "new/and/deep", "empty"])
def test_a_folder_that_nothing_was_written_to_is_as_before(tmp_path, output):
    (tmp_path / "empty").mkdir()
    before = everything_in(tmp_path)
    with OutputFolder(tmp_path / output, NAMES) as folder:
        assert folder.path.is_dir()
    assert everything_in(tmp_path) == before


def test_files_of_an_earlier_run_stay(tmp_path):
    (tmp_path / "model.keras").write_text("old")
    with OutputFolder(tmp_path, NAMES, overwrite=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_a_folder_below_a_file_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.delattr("kerastl.workflow.open_data")
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"`output` must be a folder that can be wr"):
        kerastl.transfer("digits", output=tmp_path / "notes.txt" / "run")
    assert (tmp_path / "notes.txt").read_text() == "precious"


def test_a_folder_that_takes_no_file_is_refused_and_not_left(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(_files, "_claimed", refuse)
    folder = OutputFolder(tmp_path / "deep" / "run", NAMES)
    with pytest.raises(ValueError, match=r"'.*run'\. Read-only file system\.$"), folder:
        pass
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize("value", ["", "   ", "\t"])
def test_a_blank_name_is_no_folder(value, monkeypatch):
    monkeypatch.delattr("kerastl.workflow.open_data")
    with pytest.raises(ValueError, match="`output` must be a path"):
        kerastl.transfer("digits", output=value)


def test_the_home_folder_is_known_by_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert OutputFolder("~/run", NAMES).path == tmp_path / "run"


@pytest.mark.skipif(os.name == "nt", reason="nothing is held there")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_run_into_the_folder_is_refused_at_once(tmp_path, overwrite):
    second = OutputFolder(tmp_path / "run", NAMES, overwrite)
    with OutputFolder(tmp_path / "run", NAMES, overwrite):
        with pytest.raises(ValueError, match="no other run writes into"), second:
            pass
        assert (tmp_path / "run").is_dir()
    with second:
        pass


def killed_save(folder):
    """What a process leaves that was killed while it saved."""
    descriptor, _ = tempfile.mkstemp(".keras", ".model-", folder)
    os.close(descriptor)


def killed_picture(folder):
    descriptor, _ = tempfile.mkstemp(".png", ".curves-", folder)
    os.close(descriptor)


def killed_training(folder):
    (folder / ".kerastl-run").touch()


@pytest.mark.parametrize("left", [killed_save, killed_picture, killed_training])
def test_what_a_killed_run_left_counts_as_nothing_and_goes(tmp_path, left):
    left(tmp_path)
    with OutputFolder(tmp_path, NAMES):
        pass
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize("name", [".model-notes.keras", ".notes-12345678.txt", "x"])
def test_what_only_looks_like_it_stays(tmp_path, name):
    (tmp_path / name).write_text("precious")
    folder = OutputFolder(tmp_path, NAMES)
    with pytest.raises(ValueError, match="a new or empty folder"), folder:
        pass
    assert (tmp_path / name).read_text() == "precious"


@pytest.fixture(scope="module")
def model():
    """A model that has learnt something."""
    made = small_classifier()
    head = made.get_layer("head_dense")
    head.set_weights([array + 1 for array in head.get_weights()])
    return made


@pytest.fixture
def spare(tmp_path, monkeypatch):
    """Where a model goes that its own folder does not take."""
    place = tmp_path / "spare"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def same_weights(path, model):
    pairs = zip(load_model(path).get_weights(), model.get_weights(), strict=True)
    return all((one == other).all() for one, other in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_a_failing_run_touches_no_file_of_another(tmp_path, spare, model, name):
    with output_folder(tmp_path / "run") as folder:
        (tmp_path / "run" / name).write_text("finished")
        said = rescue(folder, model)
        with pytest.raises(ValueError, match=f"without a {name} of others"):
            folder.writable(name)
    assert (tmp_path / "run" / name).read_text() == "finished"
    kept = spare if name == "model.keras" else tmp_path / "run"
    (path,) = kept.rglob("model.keras")
    assert str(path) in said
    assert same_weights(path, model)


@contextlib.contextmanager
def full(path):
    """A disk that is full where this folder lies."""
    real = keras.Model.save

    def save(self, file, *arguments, **options):
        if path in file.parents:
            # In HDF5's words.
            raise OSError(
                "[Errno 28] Can't write data (file write failed: errno = 28, "
                "error message = 'No space left on device')"
            )
        return real(self, file, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "save", save)
        yield


def test_a_model_that_its_full_disk_does_not_take_is_kept_elsewhere(
    tmp_path, spare, model
):
    with output_folder(tmp_path / "run") as folder, full(tmp_path / "run"):
        said = rescue(folder, model)
    (path,) = spare.rglob("model.keras")
    assert said == f"The best weights so far are in {path}."
    assert same_weights(path, model)
    assert not (tmp_path / "run").exists()


def test_where_no_place_takes_the_model_that_is_said(
    tmp_path, spare, model, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with output_folder(tmp_path / "run") as folder, full(tmp_path):
        assert "nowhere" in rescue(folder, model)
    assert everything_in(tmp_path) == [str(spare)]


def test_a_full_disk_is_named_with_the_file_and_the_old_one_stays(tmp_path, model):
    path = tmp_path / "pets.keras"
    path.write_text("old")
    with (
        full(tmp_path),
        pytest.raises(OSError, match=r"^Cannot write '.*pets\.keras': No space left"),
    ):
        save_model(model, path)
    assert path.read_text() == "old"
    assert everything_in(tmp_path) == [str(path)]


def test_space_is_asked_for_before_the_training(tmp_path, monkeypatch):
    monkeypatch.delattr("kerastl.workflow.fine_tune")
    usage = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"on a disk with \d MB free.* 1 MB are"):
        kerastl.transfer("digits", alpha=0.25, image_size=32, output=tmp_path / "run")
    assert everything_in(tmp_path) == []


def test_nothing_learnt_is_nothing_kept_and_nothing_said(tmp_path):
    (tmp_path / "model.keras").write_text("old")
    with output_folder(tmp_path, overwrite=True) as folder:
        assert rescue(folder, small_classifier()) is None
    assert (tmp_path / "model.keras").read_text() == "old"


def test_what_is_said_of_an_old_model_goes_with_it(tmp_path, model):
    for name in ("model.keras", "report.json", "confusion.png", "notes.txt"):
        (tmp_path / name).write_text("old")
    with output_folder(tmp_path, overwrite=True) as folder:
        write_model(folder, model)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.keras",
        "notes.txt",
    ]


@pytest.mark.parametrize("inside", [".", "run", "red/run"])
def test_results_among_the_images_would_be_images_of_the_next_run(image_folder, inside):
    before = everything_in(image_folder)
    output = image_folder / inside
    with pytest.raises(ValueError, match="`output` must be outside of the data"):
        kerastl.transfer(image_folder, output=output, overwrite=True)
    assert everything_in(image_folder) == before
