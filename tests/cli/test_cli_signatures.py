"""Options come from signatures and docstrings of the library, read from its source."""

import argparse
import importlib
import inspect
import itertools
import re

import pytest

from kerastl.cli.commands import COMMANDS
from kerastl.cli.program import build_parser
from kerastl.cli.signatures import _NOT_OPTIONS, REQUIRED, parameters

SOURCES = [source for _, sources in COMMANDS.values() for source in sources]

NUMBERS = itertools.count()

# Scripts rely on these names: one that goes needs a line in the changelog.
OPTIONS = """
train --backbone --alpha --weights --image-size --recipe --epochs --batch-size
train --learning-rate --patience --resize --dropout --label-smoothing --class-weight
train --precision --on-leak --augment --views --cache --strategy --validation --test
train --on-bad --seed --output --overwrite --json --debug
predict --jsonl --views --augment --debug
serve --host --port --batch-size --max-bytes --max-pixels --json --debug
evaluate --views --augment --json --debug
calibrate --validation --test --seed --output --json --debug
features -o --output --backbone --alpha --weights --image-size --at --pooling --resize
features --overwrite --json --debug
rank --candidates --image-size --weights --scores --images --resize --seed --plot
rank --json --debug
tune --backbone --alpha --weights --image-size --resize --recipes --rates --dropouts
tune --trials --epochs --batch-size --validation --seed --json --debug
lr --backbone --alpha --weights --image-size --resize --trainable --optimizer
lr --batch-size --steps --augment --seed --output --json --debug
advise --backbone --alpha --weights --image-size --images --resize --seed --json --debug
audit --json --debug
backbones --json --debug
cache --folder --older-than --json --debug
"""


def test_the_options_that_scripts_use_are_there():
    commands = build_parser()._subparsers._group_actions[0].choices
    for line in OPTIONS.strip().splitlines():
        name, *options = line.split()
        assert set(options) <= set(commands[name]._option_string_actions), name


@pytest.mark.parametrize("source", SOURCES)
def test_each_argument_of_the_library_becomes_an_option(source):
    path, *only = source.split()
    module, name = path.split(":")
    function = getattr(importlib.import_module(f"kerastl.{module}"), name)
    expected = {
        each.name: REQUIRED if each.default is each.empty else each.default
        for each in inspect.signature(function).parameters.values()
        if each.name not in _NOT_OPTIONS and (not only or each.name in only)
    }
    read = parameters(source)
    assert {each.name: each.default for each in read} == expected
    assert all(each.text for each in read)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """The parameter of a function that is written here."""
    monkeypatch.setattr("kerastl.__file__", str(tmp_path / "__init__.py"))

    def write(annotation, default="None", text="What it is."):
        module = f"written_{next(NUMBERS)}"
        (tmp_path / f"{module}.py").write_text(
            "Several = int | tuple[str, ...]\nSIZE = 7\n\n"
            f"def work(data, *, it: {annotation} = {default}):\n"
            '    """Do it.\n\n    Args:\n        data: Data.\n'
            f'        it: {text}\n    """\n'
        )
        return parameters(f"{module}:work it")[0]

    return write


def parse(parameter, *words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    parameter.add_to(parser)
    return parameter.value(parser.parse_args(words).it)


@pytest.mark.parametrize(
    ("annotation", "words", "value"),
    [
        ("int", "3", 3),
        ("float | None", "1e-3", 1e-3),
        ("float | None", "none", None),
        ("str", "none", "none"),
        ("str | None", "none", None),
        ("Any", "none", None),
        ("str | Path", "7", "7"),
        ("int | str", "7", 7),
        ("int | str", "0", 0),
        ("int | str", "seven", "seven"),
        ("Several | str", "7", 7),
        ("int | tuple[int, int] | None", "96", 96),
        ("int | Sequence[int] | None", "5", 5),
        ("int | Sequence[int] | None", "5 3", [5, 3]),
        ("Sequence[str] | None", "a", ["a"]),
        ("Sequence[Any] | Mapping[str, Any]", "a b", ["a", "b"]),
        ("Literal['a', 'b']", "b", "b"),
    ],
)
def test_words_become_values_of_the_annotated_type(read, annotation, words, value):
    got = parse(read(annotation), "--it", *words.split())
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("annotation", "word"),
    [
        ("int", "0"),
        ("int", "x"),
        ("float", "x"),
        ("int", "none"),
        ("Literal['a']", "b"),
    ],
)
def test_words_of_another_type_are_refused(read, annotation, word):
    with pytest.raises(argparse.ArgumentError):
        parse(read(annotation), "--it", word)


@pytest.mark.parametrize(("default", "flag"), [("False", "--it"), ("True", "--no-it")])
def test_a_bool_is_a_switch(read, default, flag):
    assert parse(read("bool", default), flag) is (default == "False")


def test_the_help_is_the_docstring_in_words_of_a_shell(read):
    parameter = read("int", "SIZE", '`"a"` or `"b"`;\n            None: 5 %.')
    parser = argparse.ArgumentParser()
    parameter.add_to(parser)
    assert "a or b; none: 5 %. (default: 7)" in " ".join(parser.format_help().split())


def test_a_pointer_to_another_function_is_followed():
    (cache,) = parameters("workflow:transfer cache")
    assert "see" not in cache.text
    assert "off never does" in cache.text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_names_no_object_of_python(name, capsys):
    with pytest.raises(SystemExit):
        build_parser(name).parse_args([name, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    python = r"keras\.[A-Zms]|kerastl\.\w|\w\(\)|\w+_\w+\(|functional|tuple|mapping"
    python += r"|None|`|Cache\b|Augmentation\.|(?:see|to) [a-z]+_|strategy gives"
    assert not re.findall(python, text)


@pytest.mark.parametrize(
    "command_line",
    ["rank {table}", "lr {table}", "advise {table}", "evaluate model.keras {table}"],
)
def test_columns_of_a_table_reach_its_reader(command, stand_in, tmp_path, command_line):
    seen = []

    def read(data, **options):
        seen.append((data, options))
        raise ValueError("read")

    stand_in("open_data", read)
    stand_in("load_model", lambda path: None)
    words = command_line.format(table=tmp_path / "t.csv").split()
    done = command(*words, "--labels", "cat", "dog", "--split", "part", "--folder", "x")
    assert done.err.endswith("error: read\n")
    ((data, options),) = seen
    assert data == str(tmp_path / "t.csv")
    named = {name: options[name] for name in ("labels", "split", "folder")}
    assert named == {"labels": ["cat", "dog"], "split": "part", "folder": "x"}
