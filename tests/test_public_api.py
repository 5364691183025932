"""The public names: listed, typed, documented, and light to import."""

import importlib.resources
import inspect
import json
import os
import subprocess
import sys
import types

import keras
import pytest
from public_names import CLASSES, FUNCTIONS, NAMESPACES, PUBLIC

import kerastl

TOP_NAMES = """
Augmentation ImageSet Phase Splits TrainableGuard advise audit batches build_backbone
build_classifier build_regressor calibrate check_environment class_names evaluate
export_model fine_tune freeze list_backbones load_dataset load_images load_model
load_table make_shapes open_data predict recipe_phases run_phases save_model
trainable_report transfer unfreeze adaptation averaging comparison explain features
lora metrics penalties plots rates selection tasks
"""
LIGHT = ("sklearn", "matplotlib", "PIL", "keras_hub", "keras_cv", "pandas")
# Data arguments that may be left out, and so may follow others without their name.
OPTIONAL_DATA = {"validation", "candidates", "class_names", "labels", "kind", "target"}


def modules_after(statement, backend):
    """The top-level modules that a fresh process holds after `statement`."""
    script = (
        f"import json, sys\n{statement}\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_top_names_are_exactly_these():
    # Adding or removing a name is a decision: it changes this list and the changelog.
    listed = [name for name in kerastl.__all__ if not name.startswith("__")]
    assert sorted(listed) == sorted(TOP_NAMES.split())
    assert len([name for name in dir(kerastl) if not name.startswith("_")]) <= 45


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_namespace_lists_its_names(name):
    module = getattr(kerastl, name)
    assert isinstance(module, types.ModuleType)
    for listed in getattr(module, "__all__", ()):
        assert getattr(module, listed) is not None
        assert listed in dir(module)
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_namespace_is_imported_as_any_module(name):
    listed = getattr(kerastl, name).__all__[0] if name != "comparison" else "linear_cka"
    scripts = [
        f"import kerastl.{name}; found = kerastl.{name}.{listed}",
        f"import kerastl.{name} as module; found = module.{listed}",
        f"from kerastl import {name}; found = {name}.{listed}",
        f"from kerastl.{name} import {listed} as found",
    ]
    for script in scripts:
        scope = {}
        exec(script, scope)
        assert scope["found"] is getattr(getattr(kerastl, name), listed)


def test_dir_lists_the_public_names():
    assert set(kerastl.__all__) <= set(dir(kerastl))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        kerastl.no_such_name  # noqa: B018


def test_a_second_access_returns_the_same_object():
    # The first access imports the module of that name, if there is one, in its place.
    first = {name: getattr(kerastl, name) for name in kerastl.__all__}
    again = {name: getattr(kerastl, name) for name in kerastl.__all__}
    assert all(again[name] is value for name, value in first.items())


def test_everything_public_is_a_function_or_a_class():
    others = set(PUBLIC) - set(FUNCTIONS) - set(CLASSES)
    assert not others


@pytest.mark.parametrize("name", FUNCTIONS + CLASSES)
def test_public_names_are_documented(name):
    assert inspect.getdoc(PUBLIC[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_are_annotated(name):
    function = PUBLIC[name]
    signature = inspect.signature(function)
    missing = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert not missing
    assert signature.return_annotation is not signature.empty


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keyword_only_and_spelled_out(name):
    for parameter in inspect.signature(PUBLIC[name]).parameters.values():
        assert parameter.kind is not parameter.VAR_KEYWORD
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            required = parameter.default is parameter.empty
            assert required or parameter.name in OPTIONAL_DATA, parameter.name


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_importing_kerastl_imports_nothing_heavy(backend):
    pytest.importorskip(backend)
    plain = modules_after("import keras", backend)
    ours = modules_after("import keras, kerastl", backend)
    assert not (ours - plain) & {"tensorflow", *LIGHT}
    assert "kerastl" in ours


def test_the_command_line_loads_no_more_than_the_package():
    backend = keras.backend.backend()
    plain = modules_after("import kerastl", backend)
    loaded = modules_after("import kerastl.cli.program", backend)
    assert not (loaded - plain) & {"keras", "tensorflow", *LIGHT}


@pytest.mark.parametrize("order", ["kerastl, keras", "keras, kerastl"])
def test_a_saved_model_loads_after_a_bare_import(order, tmp_path):
    backbone = kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=32, weights=None
    )
    model = kerastl.build_classifier(backbone, ["a", "b"])
    kerastl.freeze(model)
    kerastl.save_model(model, tmp_path / "model.keras")
    script = (
        f"import {order}; keras.saving.load_model({str(tmp_path / 'model.keras')!r})"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_typing_marker_is_installed():
    assert (importlib.resources.files(kerastl) / "py.typed").is_file()
