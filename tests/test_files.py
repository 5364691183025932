"""Files written whole or not at all."""

import os
import time

import pytest
from networks import pixels, small_classifier

import kerastl
from kerastl._files import new_file, whole_file
from kerastl.models.lora import add_lora, save_adapters


def test_a_finished_draft_takes_the_place_of_the_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with whole_file(path) as draft:
        assert draft.suffix == ".txt"
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_draft_leaves_what_was_there(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), whole_file(path) as draft:
        draft.write_text("half")
        raise OSError("full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_may_be_read_as_any_other(tmp_path):
    mask = os.umask(0o022)
    try:
        with whole_file(tmp_path / "a") as draft:
            draft.write_text("")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_draft_is_on_the_disk_before_it_takes_the_place(tmp_path, monkeypatch):
    path, synced = tmp_path / "notes.txt", []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(path.exists()))
    with whole_file(path) as draft:
        draft.write_text("new")
    assert synced == [False]


@pytest.mark.parametrize(("age", "left"), [(2 * 86_400, 0), (60, 1)])
def test_a_draft_that_nobody_writes_any_more_goes(tmp_path, age, left):
    path, draft = tmp_path / "notes.txt", tmp_path / ".notes-abcd1234.txt"
    draft.touch()
    os.utime(draft, (time.time() - age, time.time() - age))
    with whole_file(path):
        pass
    assert draft.exists() == left
    assert path.exists()


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("a.txt", ValueError, r"`output` must be a file name ending in \.npz"),
        ("folder.npz", ValueError, "`output` must be a file.*It is a folder"),
        ("nowhere/a.npz", FileNotFoundError, "Make the folder .*nowhere' first"),
        ("there.npz", ValueError, "a new file.*Pass overwrite=True"),
        (" ", ValueError, "It is blank"),
    ],
)
def test_a_file_that_may_not_be_written_is_refused(name, error, sentence, tmp_path):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "there.npz").touch()
    path = tmp_path / name if name.strip() else name
    with pytest.raises(error, match=sentence):
        new_file(path, ".npz", overwrite=False, name="output")
    if name == "there.npz":
        assert new_file(path, ".npz") == path


def test_no_writer_takes_a_folder_for_a_file(tmp_path):
    model = small_classifier()
    add_lora(model, rank=1)
    for name in ("m.keras", "a.npz"):
        (tmp_path / name).mkdir()
    made = kerastl.features.extract(model, kerastl.ImageSet(pixels(), None, ()))
    with pytest.raises(ValueError, match="It is a folder"):
        kerastl.save_model(model, tmp_path / "m.keras")
    for write in (
        lambda path: kerastl.features.write(made, path, overwrite=True),
        lambda path: save_adapters(model, path),
    ):
        with pytest.raises(ValueError, match="It is a folder"):
            write(tmp_path / "a.npz")
