"""`kerastl audit` and `kerastl backbones`, and how tables and JSON are written."""

import json
from types import SimpleNamespace

import numpy as np

from kerastl.cli.printing import cell_text, json_line, percent, table


def test_the_audit_is_printed_as_text_or_as_json(command, stand_in):
    found = {"unreadable": ["a.jpg"]}
    report = SimpleNamespace(num_images=1, to_dict=lambda: found)
    stand_in("audit", lambda folder, *, progress: report)
    assert command("audit", "x").out == f"{report}\n"
    assert command("audit", "x", "--json").json() == {"unreadable": ["a.jpg"]}


def test_the_table_of_backbones_lists_a_known_row(command):
    done = command("backbones")
    assert done.status == 0
    assert any(line.startswith("MobileNet ") for line in done.lines)


def test_the_table_and_the_json_hold_the_same_backbones(command):
    rows = command("backbones", "--json").json()["backbones"]
    assert len(command("backbones").lines) == len(rows) + 1


def test_columns_line_up_and_numbers_stand_right():
    rows = [
        {"name": "a", "parameters": 1_234_567, "offline": True},
        {"name": "longer", "parameters": 5, "offline": False},
    ]
    assert table(rows).splitlines() == [
        "name    parameters  offline",
        "a        1,234,567  yes",
        "longer           5",
    ]


def test_on_a_terminal_the_names_are_bold_and_nothing_else_differs():
    rows = [{"name": "a", "parameters": 1_234_567}]
    header, row = table(rows, terminal=True).splitlines()
    assert "\x1b[1m" in header
    assert row.split() == table(rows).splitlines()[1].split()


def test_a_table_without_rows_says_so():
    assert table([]) == "(none)"


def test_a_cell_is_readable():
    cells = [cell_text(value) for value in (None, True, 12345, (224, 224), "x", 0.5)]
    assert cells == ["", "yes", "12,345", "224 x 224", "x", "0.5"]


def test_json_holds_null_for_what_is_not_a_number():
    line = json_line({"a": [float("inf"), np.float64("nan"), 1.5], "b": {"c": "é"}})
    assert json.loads(line) == {"a": [None, None, 1.5], "b": {"c": "é"}}
    assert "é" in line


def test_percent():
    assert (percent(0.8612), percent(None)) == ("86.1 %", "-")
