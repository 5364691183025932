"""What the executed copies show, and what learners are spared."""

import json
import logging

import pytest
from lesson_files import FOLDER

from kerastl import teach

SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))


@pytest.mark.parametrize("path", SOLUTIONS, ids=[path.stem for path in SOLUTIONS])
def test_no_warning_and_no_error_is_shown(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert outputs
    kinds = {(each["output_type"], each.get("name", "")) for each in outputs}
    assert kinds <= {("stream", "stdout"), ("display_data", "")}
    printed = "".join(line for each in outputs for line in each.get("text", []))
    assert "WARNING" not in printed
    assert "does not hold" not in printed


def test_tensorflows_word_about_tracing_is_not_shown(caplog):
    teach.lesson("09", {"dataset": ("shapes", "flowers")}, scale="tiny")
    logger = logging.getLogger("tensorflow")
    logger.warning("5 out of 7 calls triggered tf.function retracing.")
    logger.warning("Another matter.")
    assert [record.getMessage() for record in caplog.records] == ["Another matter."]
