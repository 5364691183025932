"""The public names: listed, typed, documented, and light to import."""

import importlib.resources
import inspect
import json
import os
import subprocess
import sys

import keras
import pytest

import kerastl

EXACTLY = """
Advice AuditReport BackboneRanking CalibrationResult DepthProfile EvaluationReport
FeatureDrift FeatureExtractor ForgettingReport HyperRule ImageSet LooRidge LoraReport
Mixing ModelSoup OneCycle Phase Predictions RateCurve SlantedTriangular Splits
TrainableGuard TrainingHistory TransferResult WarmUp WeightInterpolation add_lora advise
audit batches bit_hyperrule build_backbone build_classifier calibrate class_names
classical_head cut_points depth_profile device_strategy evaluate feature_drift
find_learning_rate fine_tune fit_temperature fold_pipeline forgetting_report freeze gbc
greedy_soup h_score interpolate_weights knn_score l2_sp l2_sp_penalty
layerwise_optimizer learning_rates leep linear_cka linear_probe_score list_backbones
load_adapters load_classifier load_dataset load_images logme loo_ridge make_shapes
merge_lora nleep plot_confusion plot_drift plot_history plot_interpolation
plot_learning_rates plot_mistakes plot_pareto plot_reliability plot_schedule predict
rank_backbones recompute_batchnorm relative_gradient_norms remove_l2_sp run_phases
save_adapters save_classifier set_head show_images split_model train_only
trainable_report transfer truncate unfreeze uniform_soup wise_ft
"""
LIGHT = ("sklearn", "matplotlib", "PIL", "keras_hub", "keras_cv", "pandas")
# Data arguments that may be left out, and so may follow others without their name.
OPTIONAL_DATA = {"validation", "candidates", "class_names", "labels", "kind"}
PUBLIC = [name for name in kerastl.__all__ if not name.startswith("__")]
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(kerastl, name))]
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(kerastl, name))]


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


def test_the_public_names_are_exactly_these():
    # Adding or removing a name is a decision: it changes this list and the changelog.
    assert sorted(PUBLIC) == EXACTLY.split()


def test_dir_lists_the_public_names():
    assert set(kerastl.__all__) <= set(dir(kerastl))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        kerastl.no_such_name  # noqa: B018


def test_a_second_access_returns_the_same_object():
    # The first access imports the module of that name, if there is one, in its place.
    first = {name: getattr(kerastl, name) for name in PUBLIC}
    again = {name: getattr(kerastl, name) for name in PUBLIC}
    assert all(again[name] is value for name, value in first.items())


def test_everything_public_is_a_function_or_a_class():
    others = set(PUBLIC) - set(FUNCTIONS) - set(CLASSES)
    assert not others


@pytest.mark.parametrize("name", FUNCTIONS + CLASSES)
def test_public_names_are_documented(name):
    assert inspect.getdoc(getattr(kerastl, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_are_annotated(name):
    function = getattr(kerastl, name)
    signature = inspect.signature(function)
    missing = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert not missing
    assert signature.return_annotation is not signature.empty


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keyword_only_and_spelled_out(name):
    for parameter in inspect.signature(getattr(kerastl, name)).parameters.values():
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


def test_the_typing_marker_is_installed():
    assert (importlib.resources.files(kerastl) / "py.typed").is_file()
