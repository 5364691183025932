"""The cache on disk: what is found is what was stored, or nothing."""

import errno
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kerastl.features import store as disk_cache
from kerastl.features import store as drafts
from kerastl.features import store as row_files
from kerastl.features import store as row_reading
from kerastl.features.store import DiskCache

PACKAGE = Path(__file__).parents[2] / "kerastl"
# Writers in processes of their own do without Keras, which takes seconds to load.
LIGHT = f"""
import sys, time, types
kerastl = types.ModuleType("kerastl")
kerastl.__path__ = [{str(PACKAGE)!r}]
sys.modules["kerastl"] = kerastl
import numpy as np
from kerastl.features.store import DiskCache
assert "keras" not in sys.modules
"""


def numbers(count=7, dtype="float32"):
    return np.random.default_rng(0).normal(size=(count, 2, 3)).astype(dtype)


def store(cache, key="a", rows=None, **options):
    rows = numbers() if rows is None else rows
    blocks = [rows[:2], rows[2:]]
    return cache.store(key, rows.shape, str(rows.dtype), blocks, **options)


def process(code, folder):
    command = [sys.executable, "-c", LIGHT + code, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache")


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64"])
def test_rows_come_back_bit_for_bit(cache, dtype):
    rows = numbers(dtype=dtype) if dtype[0] == "f" else np.arange(42).reshape(7, 2, 3)
    rows = rows.astype(dtype)
    for found in (store(cache, rows=rows), cache.find("a")):
        made = found.rows(np.arange(7))
        np.testing.assert_array_equal(made, rows)
        assert made.dtype == found.dtype == dtype
        assert (len(found), found.shape, found.nbytes) == (7, rows.shape, rows.nbytes)


def test_bfloat16_comes_back(cache):
    kind = pytest.importorskip("ml_dtypes").bfloat16
    rows = numbers().astype(kind)
    store(cache, rows=rows)
    np.testing.assert_array_equal(cache.find("a").rows([6, 0]), rows[[6, 0]])


def test_numpy_reads_the_file(cache):
    for dtype in ("float16", "bool", "int64"):
        rows = (numbers() > 0).astype(dtype)
        store(cache, rows=rows).close()
        for options in ({}, {"mmap_mode": "r"}):
            found = np.load(cache.folder / "a.rows", **options)
            np.testing.assert_array_equal(found, rows)
            assert found.dtype == rows.dtype


def test_a_cache_of_bfloat16_is_listed_where_nobody_has_loaded_it(cache):
    kind = pytest.importorskip("ml_dtypes").bfloat16
    store(cache, rows=numbers().astype(kind)).close()
    code = "print(DiskCache(sys.argv[1]).entries()[0].damaged)"
    with process(code, cache.folder) as lister:
        assert lister.stdout.read() == "False\n"


def test_nan_infinity_and_negative_zero_come_back(cache):
    rows = np.array([[np.nan], [-np.inf], [-0.0]], "float32")
    made = store(cache, rows=rows).rows([2, 1, 0])
    np.testing.assert_array_equal(made.view("uint32"), rows[::-1].view("uint32"))


@pytest.mark.parametrize(
    "indices",
    [[3], [6, 0, 5], [2, 2, 2], [1, 2, 3, 0, 1, 6, 6], [*range(7)], [6, 5, 4], []],
)
def test_rows_come_in_the_order_asked(cache, indices):
    made = store(cache).rows(np.array(indices, int))
    np.testing.assert_array_equal(made, numbers()[np.array(indices, int)])


def test_rows_come_in_the_order_asked_where_files_have_one_position(cache, monkeypatch):
    monkeypatch.delattr(os, "preadv", raising=False)
    store(cache)
    np.testing.assert_array_equal(cache.find("a").rows([5, 0, 1]), numbers()[[5, 0, 1]])


def test_what_is_read_is_a_copy(cache):
    found = store(cache)
    found.rows([0])[:] = 9
    np.testing.assert_array_equal(found.rows([0]), numbers()[:1])


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (5,)])
def test_odd_shapes_come_back(cache, shape):
    rows = np.ones(shape, "float32")
    cache.store("a", shape, "float32", [rows]).close()
    np.testing.assert_array_equal(cache.find("a").rows(np.arange(shape[0])), rows)


def test_blocks_need_not_be_contiguous(cache):
    rows = np.asfortranarray(numbers())[::2]
    store(cache, rows=rows)
    np.testing.assert_array_equal(cache.find("a").rows(np.arange(4)), rows)


@pytest.mark.parametrize("indices", [[7], [-1], [0, 100]])
def test_rows_out_of_range_are_refused(cache, indices):
    with pytest.raises(ValueError, match="`indices` must be from 0 to 6"):
        store(cache).rows(indices)


def test_a_closed_file_gives_no_rows(cache):
    found = store(cache)
    found.close()
    with pytest.raises(ValueError, match="closed file"):
        found.rows([0])


def test_threads_may_read_at_once(cache):
    found, rows = store(cache, rows=numbers(100)), numbers(100)
    wrong = []

    def read(seed):
        for _ in range(50):
            indices = np.random.default_rng(seed).integers(0, 100, 9)
            wrong.extend(np.flatnonzero(found.rows(indices) != rows[indices]))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_checking_a_file_takes_little_memory(cache):
    rows = np.zeros((20, 250_000), "float32")
    found = cache.store("a", rows.shape, "float32", [rows])
    tracemalloc.start()
    found.verify()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.nbytes / 2


# What is absent, damaged, or of another kind


def test_an_unknown_key_is_not_found(cache):
    assert cache.find("a") is None
    store(cache)
    assert cache.find("b") is None


@pytest.mark.parametrize("key", ["", "A", "a/b", "../a", "a" * 101, None])
def test_keys_that_are_no_file_names_are_refused(cache, key):
    with pytest.raises(ValueError, match="`key` must be"):
        cache.find(key)


def assert_gone(cache, path):
    with pytest.warns(RuntimeWarning, match=r"a\.rows is damaged \("):
        assert cache.find("a") is None
    assert not path.exists()


def written(cache):
    store(cache, note={"images": 7}).close()
    path = cache.folder / "a.rows"
    return path, path.read_bytes()


def test_one_flipped_bit_anywhere_is_noticed(cache):
    path, data = written(cache)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        assert_gone(cache, path)


def test_a_file_cut_anywhere_is_noticed(cache):
    path, data = written(cache)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert_gone(cache, path)


def test_a_file_with_more_bytes_is_noticed(cache):
    path, data = written(cache)
    path.write_bytes(data + b"\0")
    assert_gone(cache, path)


def test_rows_that_changed_places_are_noticed(cache):
    path, data = written(cache)
    rows = numbers()
    first, second = rows[0].tobytes(), rows[1].tobytes()
    assert data.count(first + second) == 1
    path.write_bytes(data.replace(first + second, second + first))
    assert_gone(cache, path)


def test_a_damaged_length_reserves_no_memory(cache, monkeypatch):
    path, data = written(cache)
    path.write_bytes(data[:-8] + b"\xff" * 4 + data[-4:])
    asked, empty = [], np.empty

    def counted(shape, *given):
        asked.append(np.prod(shape))
        return empty(shape, *given)

    monkeypatch.setattr(np, "empty", counted)
    assert_gone(cache, path)
    assert max(asked) <= len(data)


def test_a_file_of_another_version_is_not_used(cache, monkeypatch):
    with monkeypatch.context() as patch:
        for module in (row_files, row_reading):
            patch.setattr(module, "FORMAT", "0 little")
        path, _ = written(cache)
    assert_gone(cache, path)


def test_a_file_under_another_key_is_not_used(cache):
    store(cache, "b").close()
    path = cache.folder / "a.rows"
    (cache.folder / "b.rows").rename(path)
    assert_gone(cache, path)


def test_a_damaged_file_that_cannot_be_removed_is_not_used(cache, monkeypatch):
    path, data = written(cache)
    path.write_bytes(data[:-1])

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert cache.find("a") is None


def test_a_file_that_cannot_be_opened_is_left_alone(cache):
    (cache.folder / "a.rows").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="cannot be read"):
        assert cache.find("a") is None


@pytest.mark.parametrize("change", ["cut", "flip"])
def test_a_file_that_changes_while_it_is_read_raises(cache, change):
    path, data = written(cache)
    found = cache.find("a")
    start = data.index(numbers()[3].tobytes())
    with path.open("r+b") as file:
        if change == "cut":
            file.truncate(start + 1)
        else:
            file.seek(start)
            file.write(bytes([data[start] ^ 1]))
    np.testing.assert_array_equal(found.rows([2]), numbers()[[2]])
    with pytest.raises(OSError, match=r"a\.rows is damaged.*`kerastl cache clear`"):
        found.rows([2, 3])


# Writing


def test_what_is_replaced_or_removed_stays_readable(cache):
    old = store(cache)
    store(cache, rows=-numbers())
    cache.clear()
    np.testing.assert_array_equal(old.rows([4]), numbers()[[4]])


def test_the_later_of_two_writers_wins_and_disturbs_no_reader(cache):
    readers = []

    def blocks():
        yield numbers()[:3]
        assert not readers
        readers.append(store(cache, rows=-numbers()))
        yield numbers()[3:]

    cache.store("a", (7, 2, 3), "float32", blocks())
    np.testing.assert_array_equal(cache.find("a").rows([6]), numbers()[[6]])
    np.testing.assert_array_equal(readers[0].rows([6]), -numbers()[[6]])


def test_processes_may_write_the_same_key_at_once(cache):
    code = """
for turn in range(30):
    value = np.full((50, 40), VALUE, "float32")
    DiskCache(sys.argv[1]).store("a", (50, 40), "float32", np.split(value, 10)).close()
"""
    writers = [process(code.replace("VALUE", v), cache.folder) for v in "12"]
    while any(writer.poll() is None for writer in writers):
        found = cache.find("a")
        if found is not None:
            assert len(np.unique(found.rows(np.arange(50)))) == 1
            found.close()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert [path.name for path in cache.folder.iterdir()] == ["a.rows"]


def test_a_killed_writer_leaves_nothing_that_is_found(cache):
    code = """
def blocks():
    yield np.ones((5000, 10), "float32")
    print("writing", flush=True)
    time.sleep(60)
DiskCache(sys.argv[1]).store("a", (9000, 10), "float32", blocks())
"""
    with process(code, cache.folder) as writer:
        assert writer.stdout.readline() == "writing\n"
        (left,) = cache.folder.iterdir()
        store(cache, "b")
        assert left.exists()
        writer.kill()
    assert left.stat().st_size > 0
    assert cache.find("a") is None
    store(cache, "b")
    assert not left.exists()


def leave_draft(cache, monkeypatch, *, machine, process, age):
    cache.folder.mkdir(exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(drafts, "_machine", lambda: machine)
        patch.setattr(os, "getpid", lambda: process)
        path = drafts.draft_path(cache.folder, "a-b")
    path.write_bytes(b"12345")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def dead_process():
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(os.name != "posix", reason="only there processes can be asked")
def test_drafts_are_removed_when_their_writer_is_dead_or_they_are_old(
    cache, monkeypatch
):
    dead, mine, day = dead_process(), drafts._machine(), 86_400
    cases = [(mine, dead, 5), (mine, os.getpid(), 2 * day), ("0" * 8, dead, 2 * day)]
    for machine, number, age in cases:
        leave_draft(cache, monkeypatch, machine=machine, process=number, age=age)
    assert cache.clear() == 15
    assert not list(cache.folder.iterdir())


def test_drafts_that_may_still_be_written_stay(cache, monkeypatch):
    dead, mine = dead_process(), drafts._machine()
    for machine, number in [(mine, os.getpid()), ("0" * 8, dead)]:
        leave_draft(cache, monkeypatch, machine=machine, process=number, age=5)
    assert cache.clear() == 0
    assert len(list(cache.folder.iterdir())) == 2


def test_other_peoples_files_stay(cache):
    cache.folder.mkdir()
    (cache.folder / "thesis.part").write_text("mine")
    (cache.folder / "notes.txt").write_text("mine")
    store(cache)
    cache.clear()
    assert len(list(cache.folder.iterdir())) == 2


class FullDisk:
    """A file on a disk with room for `room` bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= memoryview(data).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("part", [0, 0.5, 0.7, 0.95])
def test_a_full_disk_leaves_nothing_and_says_so(cache, monkeypatch, part):
    path, data = written(cache)
    path.unlink()
    create, room = row_files._create, part * len(data)
    monkeypatch.setattr(row_files, "_create", lambda path: FullDisk(create(path), room))
    with pytest.raises(OSError, match=r"No space left on device\)\. Make room there"):
        store(cache)
    assert not list(cache.folder.iterdir())
    assert cache.find("a") is None


def test_a_full_disk_spares_what_was_there(cache, monkeypatch):
    store(cache)
    create = row_files._create
    monkeypatch.setattr(row_files, "_create", lambda path: FullDisk(create(path), 9))
    with pytest.raises(OSError, match="cannot be written"):
        store(cache, rows=-numbers())
    np.testing.assert_array_equal(cache.find("a").rows([1]), numbers()[[1]])


@pytest.mark.parametrize("count", [1, 40])
def test_a_limit_of_the_system_leaves_nothing_and_says_so(cache, count):
    pytest.importorskip("resource")
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
rows = np.ones((COUNT, 1000), "float32")
try:
    DiskCache(sys.argv[1]).store("a", rows.shape, "float32", np.split(rows, COUNT))
except OSError as error:
    print(error)
"""
    with process(code.replace("COUNT", str(count)), cache.folder) as writer:
        said = writer.stdout.read()
    assert "cannot be written (File too large)" in said
    assert said.count("\n") == 1
    assert not list(cache.folder.iterdir())


def test_a_disk_without_room_is_noticed_before_the_work(cache, monkeypatch):
    usage = type("usage", (), {"free": 100})
    monkeypatch.setattr(disk_cache.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="bytes are needed and 100 are free"):
        cache.store("a", (100,), "float32", unasked())


def unasked():
    pytest.fail("the rows were computed")
    yield


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
        cache = DiskCache(folder)
        assert cache.find("a") is None
        assert cache.entries() == ()
        with pytest.raises(
            OSError, match=r"The cache in .* cannot be written \("
        ) as no:
            store(cache)
        assert "\n" not in str(no.value)


def test_an_error_while_computing_is_passed_on_and_leaves_nothing(cache):
    def blocks():
        yield numbers()[:3]
        raise FileNotFoundError("flower.jpg")

    with pytest.raises(FileNotFoundError, match=r"^flower\.jpg$"):
        cache.store("a", (7, 2, 3), "float32", blocks())
    assert not list(cache.folder.iterdir())


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([numbers()[:3]], "7 rows in all"),
        ([numbers(), numbers()[:1]], "7 rows in all"),
        ([numbers().reshape(7, 3, 2)], r"of shape \(rows, 2, 3\)"),
        ([numbers()[0]], "of shape"),
        ([numbers(dtype="float64")], "of type float32"),
    ],
)
def test_other_blocks_than_announced_are_refused(cache, blocks, words):
    with pytest.raises(ValueError, match=f"`blocks` must be {words}"):
        cache.store("a", (7, 2, 3), "float32", blocks)
    assert not list(cache.folder.iterdir())


@pytest.mark.parametrize("dtype", ["object", "U3", "datetime64[s]"])
def test_types_that_are_no_numbers_are_refused(cache, dtype):
    with pytest.raises(TypeError, match="`dtype` must be a type of numbers"):
        cache.store("a", (1,), dtype, [])


@pytest.mark.parametrize("note", [{"images": 1.5}, {1: "a"}, {"cut": None}])
def test_notes_are_words_and_integers(cache, note):
    with pytest.raises(TypeError, match="`note` must be"):
        store(cache, note=note)


# The bound on all files together


def bounded(tmp_path, count):
    """A cache with room for `count` files of 60 floats, and such a file's rows."""
    probe = DiskCache(tmp_path / "probe")
    store(probe, rows=numbers(10)).close()
    (entry,) = probe.entries()
    return DiskCache(tmp_path / "bounded", limit=count * (entry.bytes + 20))


def keys(cache):
    return {entry.key for entry in cache.entries()}


def test_what_was_unused_for_longest_goes_first(tmp_path):
    cache = bounded(tmp_path, 2)
    for key in "abc":
        store(cache, key, numbers(10))
        cache.find("a").close()
    assert keys(cache) == {"a", "c"}


def test_a_file_that_is_replaced_pushes_no_other_out(tmp_path):
    cache = bounded(tmp_path, 2)
    for key in "abbb":
        store(cache, key, numbers(10))
    assert keys(cache) == {"a", "b"}


def test_only_as_many_go_as_must(tmp_path):
    cache = bounded(tmp_path, 3)
    for key in "abcd":
        store(cache, key, numbers(10))
    assert keys(cache) == {"b", "c", "d"}


def test_room_is_made_before_anything_is_written(tmp_path):
    cache = bounded(tmp_path, 2)
    for key in "ab":
        store(cache, key, numbers(10))

    def blocks():
        assert keys(cache) == {"b"}
        yield numbers(10)

    cache.store("c", (10, 2, 3), "float32", blocks())


def test_damaged_files_count_and_go_as_well(tmp_path):
    cache = bounded(tmp_path, 1)
    cache.folder.mkdir()
    (cache.folder / "x.rows").write_bytes(bytes(300))
    store(cache, "a", numbers(10))
    assert keys(cache) == {"a"}


def test_what_other_writers_added_meanwhile_counts(tmp_path):
    cache = bounded(tmp_path, 1)

    def blocks():
        store(cache, "b", numbers(10))
        yield numbers(10)

    cache.store("a", (10, 2, 3), "float32", blocks())
    assert keys(cache) == {"a"}


def test_rows_beyond_the_limit_are_refused_before_anything_happens(tmp_path):
    cache = bounded(tmp_path, 1)
    store(cache, "a", numbers(10))
    with pytest.raises(OSError, match=r"the cache may hold .*KERASTL_CACHE_L"):
        cache.store("b", (1000,), "float32", unasked())
    assert keys(cache) == {"a"}


def test_the_limit_counts_the_whole_file(cache):
    store(cache).close()
    (entry,) = cache.entries()
    assert entry.bytes == (cache.folder / "a.rows").stat().st_size
    store(DiskCache(cache.folder, limit=entry.bytes + 20))
    with pytest.raises(OSError, match="may hold"):
        store(DiskCache(cache.folder, limit=entry.bytes - 20))


# Listing, clearing, settings


def test_entries_tell_what_was_noted_the_last_used_first(cache):
    before = time.time()
    store(cache, "a", note={"network": "MobileNet", "images": 7})
    store(cache, "b")
    cache.find("a")
    first, second = cache.entries()
    assert (first.key, second.key) == ("a", "b")
    assert first.note == {"network": "MobileNet", "images": 7}
    assert before <= first.created < second.last_used < first.last_used <= time.time()


def test_a_damaged_entry_is_listed_as_such(cache):
    path, data = written(cache)
    path.write_bytes(data[:50])
    (entry,) = cache.entries()
    assert (entry.key, entry.bytes, entry.damaged, entry.note) == ("a", 50, True, {})


def test_clear_removes_all_and_tells_the_bytes(cache):
    store(cache, "a")
    store(cache, "b", numbers(20))
    total = sum(entry.bytes for entry in cache.entries())
    assert cache.clear() == total
    assert cache.clear() == 0
    assert cache.find("a") is None


def test_clear_spares_what_was_used_of_late(cache):
    store(cache, "old")
    store(cache, "new")
    days_ago = time.time() - 3 * 86_400
    os.utime(cache.folder / "old.rows", (days_ago, days_ago))
    assert cache.clear(older_than_days=4) == 0
    assert cache.clear(older_than_days=2.5) > 0
    assert keys(cache) == {"new"}


def test_clearing_less_than_zero_days_is_refused(cache):
    with pytest.raises(ValueError, match="`older_than_days` must be at least 0"):
        cache.clear(older_than_days=-1)


def test_folder_and_limit_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTL_CACHE", str(tmp_path))
    monkeypatch.setenv("KERASTL_CACHE_LIMIT", "5e9")
    cache = DiskCache()
    assert (cache.folder, cache.limit) == (tmp_path, 5_000_000_000)
    assert DiskCache("elsewhere", limit=3).folder == Path("elsewhere")
    assert DiskCache("elsewhere", limit=3).limit == 3


def test_without_settings_the_cache_lies_in_the_folder_of_keras(monkeypatch):
    from kerastl._compat import keras_home

    monkeypatch.delenv("KERASTL_CACHE", raising=False)
    monkeypatch.delenv("KERASTL_CACHE_LIMIT", raising=False)
    assert DiskCache().folder == keras_home() / "kerastl" / "features"
    assert DiskCache().limit == 20_000_000_000


@pytest.mark.parametrize("limit", ["much", "nan", "inf", "-1"])
def test_a_limit_that_is_no_number_of_bytes_is_refused(monkeypatch, limit):
    monkeypatch.setenv("KERASTL_CACHE_LIMIT", limit)
    with pytest.raises(ValueError, match="must be"):
        DiskCache("x")


@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_file_cut_to_nothing_ends_too_early(cache, length):
    path, whole = written(cache)
    path.write_bytes(whole[:length])
    with pytest.warns(RuntimeWarning, match=r"is damaged \(it ends too early\)"):
        assert cache.find("a") is None
