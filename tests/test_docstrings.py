"""Docstrings agree with the code: sections, their order, and the argument names."""

import ast
import dataclasses
import inspect
import re
import textwrap

import pytest

import kerastl

SECTIONS = ["Attributes", "Args", "Returns", "Raises", "Example", "Reference"]
PUBLIC = [name for name in kerastl.__all__ if not name.startswith("__")]
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(kerastl, name))]
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(kerastl, name))]
DATACLASSES = [
    name for name in CLASSES if dataclasses.is_dataclass(getattr(kerastl, name))
]

#: What papers proposed, and their readers look up here.
METHODS = [
    "Mixing",
    "OneCycle",
    "SlantedTriangular",
    "WarmUp",
    "add_lora",
    "bit_hyperrule",
    "calibrate",
    "feature_drift",
    "find_learning_rate",
    "fit_temperature",
    "fine_tune",
    "forgetting_report",
    "greedy_soup",
    "interpolate_weights",
    "l2_sp",
    "layerwise_optimizer",
    "linear_cka",
    "merge_lora",
    "recompute_batchnorm",
    "relative_gradient_norms",
    "train_only",
    "uniform_soup",
    "wise_ft",
]


def sections(value):
    """The docstring's sections, in order, name to text; the lead is under ""."""
    parts = re.split(r"^([A-Z]\w+):\n", inspect.getdoc(value) or "", flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(text):
    """The names that an Args or Attributes section explains, in order."""
    return re.findall(r"^    \*{0,2}(\w+)(?: \([^)]*\))?:", text, flags=re.M)


def parameters(value):
    """The argument names of a function, or of a class's constructor."""
    return [name for name in inspect.signature(value).parameters if name != "self"]


def checks_its_arguments(function):
    """Whether the function's own body raises, or calls a check that does."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    checks = {name for name in called if name == "fail" or name.startswith("check_")}
    return bool(checks) or any(isinstance(n, ast.Raise) for n in ast.walk(tree))


@pytest.mark.parametrize("name", FUNCTIONS + CLASSES)
def test_the_lead_is_a_sentence_on_one_line(name):
    lead = sections(getattr(kerastl, name))[""].splitlines()
    assert lead[0].endswith(".")
    assert not lead[0].lower().startswith("this ")
    assert len(lead) == 1 or not lead[1]


@pytest.mark.parametrize("name", FUNCTIONS + CLASSES)
def test_sections_are_known_and_in_order(name):
    found = [title for title in sections(getattr(kerastl, name)) if title]
    assert found == [title for title in SECTIONS if title in found]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_where_in_which_paper_it_is_and_shows_itself(name):
    found = sections(getattr(kerastl, name))
    assert ">>>" in found["Example"]
    assert re.search(r"\(\d{4}\)", found["Reference"])
    place = r"eq\. \d|section \d|§\d|table \d|recipe \d|\"[\w-]+\""
    assert re.search(place, found["Reference"])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_arguments_are_those_of_the_signature(name):
    function = getattr(kerastl, name)
    assert entries(sections(function).get("Args", "")) == parameters(function)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - set(DATACLASSES)))
def test_the_arguments_are_those_of_the_constructor(name):
    cls = getattr(kerastl, name)
    documented = entries(sections(cls).get("Args", ""))
    assert documented == parameters(cls)


@pytest.mark.parametrize("name", DATACLASSES)
def test_the_attributes_are_the_fields(name):
    cls = getattr(kerastl, name)
    fields = [field.name for field in dataclasses.fields(cls)]
    public = [field for field in fields if not field.startswith("_")]
    assert entries(sections(cls).get("Attributes", "")) == public


@pytest.mark.parametrize("name", DATACLASSES)
def test_dataclasses_are_frozen(name):
    assert getattr(kerastl, name).__dataclass_params__.frozen


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_returned_is_said(name):
    function = getattr(kerastl, name)
    returns = inspect.signature(function).return_annotation not in (None, "None")
    assert ("Returns" in sections(function)) == returns


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_raised_is_said(name):
    function = getattr(kerastl, name)
    assert "Raises" in sections(function) or not checks_its_arguments(function)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_there_is_an_example_that_runs(name):
    assert ">>> " in sections(getattr(kerastl, name)).get("Example", "")


@pytest.mark.parametrize("name", CLASSES)
def test_public_methods_are_documented(name):
    cls = getattr(kerastl, name)
    own = [
        member
        for member, value in vars(cls).items()
        if not member.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property))
    ]
    assert not [member for member in own if not inspect.getdoc(getattr(cls, member))]
