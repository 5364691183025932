"""`kerastl cache`: what is kept on disk, as a table or JSON, and clearing it."""

import os
import time

import numpy as np
import pytest

from kerastl.cli.printing import size_text
from kerastl.features.store import DiskCache


@pytest.fixture
def cache(tmp_path):
    """Two entries, the first unused for ten days."""
    cache = DiskCache(tmp_path / "cache", limit=5_000_000)
    rows = np.zeros((10, 250), "float32")
    note = {"network": "MobileNet", "images": 3670, "cut": "pool"}
    cache.store("1" * 64, rows.shape, "float32", [rows], note=note)
    cache.store("2" * 64, rows.shape, "float32", [rows])
    days_ago = time.time() - 10 * 86_400
    os.utime(cache.folder / f"{'1' * 64}.rows", (days_ago, days_ago))
    return cache


def keys(cache):
    return [entry.key[0] for entry in cache.entries()]


def test_the_list_tells_size_times_network_and_images(command, cache):
    done = command("cache", "list", "--folder", cache.folder)
    assert done.status == 0
    header, _, old, total = done.lines
    names = ["key", "size", "made", "last used", "network", "cut", "images"]
    assert all(name in header for name in names)
    entry = cache.entries()[1]
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used))
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created))
    row = ["1" * 12, "10.4", "kB", *made.split(), *used.split()]
    assert old.split() == [*row, "MobileNet", "pool", "3,670"]
    assert total.startswith("20.8 kB of at most 20.0 GB in ")
    assert total.endswith(str(cache.folder))


def test_listing_is_what_it_does_by_itself(command, cache, monkeypatch):
    monkeypatch.setenv("KERASTL_CACHE", str(cache.folder))
    assert command("cache").out == command("cache", "list").out
    assert len(command("cache").lines) == 4


def test_an_empty_cache_says_so(command, tmp_path):
    done = command("cache", "--folder", tmp_path / "none")
    assert done.lines[0] == "(none)"
    assert done.lines[1].startswith("0 B of at most")
    assert not (tmp_path / "none").exists()


def test_json_holds_whole_keys_and_bytes(command, cache):
    found = command("cache", "--json", "--folder", cache.folder).json()
    new, old = cache.entries()
    assert found["bytes"] == new.bytes + old.bytes
    assert found["folder"] == str(cache.folder)
    assert found["limit"] == DiskCache(cache.folder).limit
    assert [entry["key"] for entry in found["entries"]] == [new.key, old.key]
    told = found["entries"][1]
    assert (told["network"], told["images"]) == ("MobileNet", 3670)
    assert (told["bytes"], told["damaged"]) == (old.bytes, False)
    for name, seconds in [("created", old.created), ("last_used", old.last_used)]:
        assert told[name].endswith("+00:00")
        utc = np.datetime64(told[name].removesuffix("+00:00"), "s").astype(int)
        assert utc == int(seconds)


def test_damaged_entries_are_marked(command, cache):
    (cache.folder / f"{'2' * 64}.rows").write_bytes(b"KERASTL")
    assert "(damaged)" in command("cache", "--folder", cache.folder).out


def test_clear_removes_all(command, cache):
    done = command("cache", "clear", "--folder", cache.folder)
    assert done.lines == [f"freed 20.8 kB in {cache.folder}"]
    assert keys(cache) == []


def test_clear_may_spare_what_was_used_of_late(command, cache):
    freed = cache.entries()[1].bytes
    options = ["--older-than", "9.5", "--json", "--folder", cache.folder]
    done = command("cache", "clear", *options)
    assert done.json() == {"folder": str(cache.folder), "freed": freed}
    assert keys(cache) == ["2"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--older-than", "3"],
        ["clear", "--older-than", "-1"],
        ["clear", "--older-than", "nan"],
        ["clear", "--older-than", "week"],
        ["empty"],
    ],
)
def test_bad_arguments_are_status_2_and_remove_nothing(command, cache, arguments):
    done = command("cache", *arguments, "--folder", cache.folder)
    assert (done.status, done.out) == (2, "")
    assert len(keys(cache)) == 2


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (20_000_000_000, "20.0 GB"),
        (3e15, "3000.0 TB"),
    ],
)
def test_sizes_are_readable(size, text):
    assert size_text(size) == text
