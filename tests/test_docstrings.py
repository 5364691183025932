"""Docstrings agree with the code: sections, their order, and the argument names."""

import ast
import dataclasses
import inspect
import re
import textwrap

import pytest
from public_names import CLASSES, FUNCTIONS, PUBLIC

SECTIONS = ["Attributes", "Args", "Returns", "Raises", "Example", "Reference"]
DATACLASSES = [name for name in CLASSES if dataclasses.is_dataclass(PUBLIC[name])]

#: What papers proposed, and their readers look up here.
METHODS = [
    "Mixing",
    "adaptation.Adaptation",
    "adaptation.CoralAlign",
    "adaptation.GaussianMap",
    "adaptation.TestTimeAdapter",
    "adaptation.adapt_statistics",
    "adaptation.estimate_prior",
    "adaptation.set_prior",
    "adaptation.shift_report",
    "adaptation.target_scores",
    "rates.OneCycle",
    "rates.SlantedTriangular",
    "rates.WarmUp",
    "lora.add",
    "rates.bit_hyperrule",
    "calibrate",
    "comparison.feature_drift",
    "rates.find_learning_rate",
    "metrics.fit_temperature",
    "fine_tune",
    "comparison.forgetting_report",
    "averaging.greedy_soup",
    "averaging.interpolate_weights",
    "penalties.l2_sp",
    "rates.layerwise_optimizer",
    "comparison.linear_cka",
    "lora.merge",
    "averaging.recompute_batchnorm",
    "rates.relative_gradient_norms",
    "train_only",
    "averaging.uniform_soup",
    "averaging.wise_ft",
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
    lead = sections(PUBLIC[name])[""].splitlines()
    assert lead[0].endswith(".")
    assert not lead[0].lower().startswith("this ")
    assert len(lead) == 1 or not lead[1]


@pytest.mark.parametrize("name", FUNCTIONS + CLASSES)
def test_sections_are_known_and_in_order(name):
    found = [title for title in sections(PUBLIC[name]) if title]
    assert found == [title for title in SECTIONS if title in found]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_where_in_which_paper_it_is_and_shows_itself(name):
    found = sections(PUBLIC[name])
    assert ">>>" in found["Example"]
    assert re.search(r"\(\d{4}\)", found["Reference"])
    place = r"eq\. \d|section \d|§\d|table \d|recipe \d|\"[\w-]+\""
    assert re.search(place, found["Reference"])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_arguments_are_those_of_the_signature(name):
    function = PUBLIC[name]
    assert entries(sections(function).get("Args", "")) == parameters(function)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - set(DATACLASSES)))
def test_the_arguments_are_those_of_the_constructor(name):
    cls = PUBLIC[name]
    documented = entries(sections(cls).get("Args", ""))
    assert documented == parameters(cls)


@pytest.mark.parametrize("name", DATACLASSES)
def test_the_attributes_are_the_fields(name):
    cls = PUBLIC[name]
    fields = [field.name for field in dataclasses.fields(cls)]
    public = [field for field in fields if not field.startswith("_")]
    assert entries(sections(cls).get("Attributes", "")) == public


@pytest.mark.parametrize("name", DATACLASSES)
def test_dataclasses_are_frozen(name):
    assert PUBLIC[name].__dataclass_params__.frozen


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_returned_is_said(name):
    function = PUBLIC[name]
    returns = inspect.signature(function).return_annotation not in (None, "None")
    assert ("Returns" in sections(function)) == returns


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_raised_is_said(name):
    function = PUBLIC[name]
    assert "Raises" in sections(function) or not checks_its_arguments(function)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_there_is_an_example_that_runs(name):
    assert ">>> " in sections(PUBLIC[name]).get("Example", "")


@pytest.mark.parametrize("name", CLASSES)
def test_public_methods_are_documented(name):
    cls = PUBLIC[name]
    own = [
        member
        for member, value in vars(cls).items()
        if not member.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property))
    ]
    assert not [member for member in own if not inspect.getdoc(getattr(cls, member))]
