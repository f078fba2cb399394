"""scikit-learn ensembles as ONNX: the same probabilities, alone and behind a model that makes features of a picture."""

from __future__ import annotations

import builtins
import dataclasses
import getpass
import hashlib
import os
import pickle
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from converters.ensemble import check_ensemble, class_names, ensemble_to_onnx
from converters.picture_ensemble import picture_ensemble_to_onnx
from edge.backends.onnx import OnnxBackend
from edge.bundle.manifest import CropPolicy, OutputKind, OutputSpec, PreprocessSpec, StageSpec, Task
from edge.errors import EdgeloopError, MissingExtraError
from edge.postprocess.select import StageFiles, postprocess
from edge.preprocess import preprocess

F = 6
LABELS = ("leaf", "pill", "shelf")
SIZE = 16


def _rows(seed: int = 0, count: int = 160) -> np.ndarray:
    """Half of the features come in steps, as counts do: thresholds between steps are steps themselves."""
    rows = np.random.default_rng(seed).normal(size=(count, F))
    rows[:, ::2] = rows[:, ::2].round(1)
    return rows.astype(np.float32)


def _classes(rows: np.ndarray) -> np.ndarray:
    return (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0).astype(int) + (rows[:, 3] > 1)


def _forest() -> RandomForestClassifier:
    return RandomForestClassifier(12, random_state=0)


def _hist() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=12, random_state=0)


def _vote(**options: Any) -> VotingClassifier:
    members = [
        ("forest", _forest()),
        ("left out", "drop"),
        ("hist", _hist()),
        ("line", make_pipeline(StandardScaler(), LogisticRegression())),
    ]
    return VotingClassifier(members, **{"voting": "soft", "weights": [1, 9, 2, 1.5], **options})


ENSEMBLES = {
    "forest": _forest(),
    "extra trees": ExtraTreesClassifier(12, random_state=0),
    "gradient boosting": GradientBoostingClassifier(n_estimators=12, random_state=0),
    "hist": _hist(),
    "vote": _vote(),
    "vote without weights": _vote(weights=None),
    "scaled forest": make_pipeline(StandardScaler(), _forest()),
    "scaled hist": make_pipeline(MinMaxScaler(), _hist()),
    "scaled twice": make_pipeline(RobustScaler(), MaxAbsScaler(), _hist()),
    "scaled vote": make_pipeline(StandardScaler(), _vote()),
}
SCALERS = (
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    StandardScaler(with_mean=False, with_std=False),
    RobustScaler(),
    RobustScaler(with_centering=False),
    MinMaxScaler(),
    MinMaxScaler((-1, 1), clip=True),
    MaxAbsScaler(),
)


def _fitted(ensemble: Any = None, *, labels: np.ndarray | None = None, rows: np.ndarray | None = None) -> Any:
    table = _rows() if rows is None else rows
    return clone(_forest() if ensemble is None else ensemble).fit(table, _classes(table) if labels is None else labels)


@pytest.mark.parametrize(
    "kind", ["several", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("two", "names"))]
)
@pytest.mark.parametrize("ensemble", ENSEMBLES.values(), ids=ENSEMBLES.keys())
def test_the_device_says_what_scikit_learn_says(ensemble: ClassifierMixin, kind: str) -> None:
    classes = _classes(_rows())
    labels = {"several": classes, "two": classes > 0, "names": np.array(LABELS)[::-1][classes]}[kind]
    fitted = _fitted(ensemble, labels=labels)
    model = ensemble_to_onnx(fitted, num_features=F)
    assert check_ensemble(model, fitted, _rows()) < 1e-6
    assert check_ensemble(model, fitted, _rows(seed=1)) < 1e-6
    expected = {"several": ("0", "1", "2"), "two": ("False", "True"), "names": LABELS}[kind]
    assert class_names(fitted) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_a_scaler_never_moves_a_feature_over_a_threshold(scaler: Any, dtype: type) -> None:
    """Every feature is a step, and many a threshold too; one wrong bit is a wrong leaf."""
    rows = np.random.default_rng(5).integers(-20, 20, size=(300, F)).astype(dtype) / 10
    fitted = _fitted(make_pipeline(scaler, _forest()), rows=rows)
    assert check_ensemble(ensemble_to_onnx(fitted, num_features=F), fitted, rows) < 1e-6


def test_thresholds_between_two_neighbouring_numbers() -> None:
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    rows = np.full((80, 1), low)
    rows[::2] = high
    fitted = HistGradientBoostingClassifier(max_iter=5).fit(rows, rows[:, 0] > low)
    model = ensemble_to_onnx(fitted, num_features=1)
    assert check_ensemble(model, fitted, rows) < 1e-6
    assert len(np.unique(fitted.predict(rows))) == 2


def test_names_shapes_and_nothing_else() -> None:
    model = onnx.load_from_string(ensemble_to_onnx(_fitted(_vote()), num_features=F))
    onnx.checker.check_model(model, full_check=True)

    def shapes(values: Any) -> dict[str, list[int]]:
        return {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in values}

    assert shapes(model.graph.input) == {"features": [1, F]}
    assert shapes(model.graph.output) == {"probabilities": [1, 3]}
    assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} == {1}
    assert {item.domain: item.version for item in model.opset_import} == {"": 18, "ai.onnx.ml": 3}
    used = {name for node in model.graph.node for name in node.input}
    assert {item.name for item in model.graph.initializer} <= used
    assert not {"ZipMap", "ArgMax"} & {node.op_type for node in model.graph.node}


def test_the_ensemble_itself_is_left_alone() -> None:
    fitted = _fitted(_vote())
    before = pickle.dumps(fitted)
    ensemble_to_onnx(fitted, num_features=F)
    assert pickle.dumps(fitted) == before


def test_the_same_bytes_in_any_process_and_no_marks_of_this_machine(tmp_path: Path, repository: Path) -> None:
    fitted = _fitted(_vote())
    model = ensemble_to_onnx(fitted, num_features=F)
    assert ensemble_to_onnx(fitted, num_features=F) == model
    for mark in (
        str(repository),
        "site-packages",
        ".py",
        "/usr/",
        "/home/",
        socket.gethostname(),
        f"/{getpass.getuser()}/",
    ):
        assert mark.encode() not in model, mark
    kept = tmp_path / "vote.pickle"
    kept.write_bytes(pickle.dumps(fitted))
    script = (
        "import hashlib, pathlib, pickle, sys\n"
        "from converters.ensemble import ensemble_to_onnx\n"
        "fitted = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        f"print(hashlib.sha256(ensemble_to_onnx(fitted, num_features={F})).hexdigest())\n"
    )
    again = subprocess.run(
        [sys.executable, "-c", script, str(kept)],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.strip() == hashlib.sha256(model).hexdigest()
    assert again.stderr == ""


def test_a_row_that_differs_is_named() -> None:
    rows = _rows()
    model = ensemble_to_onnx(_fitted(rows=rows), num_features=F)
    other = _fitted(RandomForestClassifier(12, random_state=1), rows=rows)
    with pytest.raises(
        EdgeloopError, match=r"^row \d+: the ONNX model and the ensemble differ by 0\.\d+, at most 1e-05"
    ):
        check_ensemble(model, other, rows)
    differences = np.abs(other.predict_proba(rows) - _fitted(rows=rows).predict_proba(rows)).max(axis=1)
    same = np.flatnonzero(differences < 1e-9)
    assert check_ensemble(model, other, rows[same]) < 1e-6


def _mute(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a library look as if it were not installed."""
    real = builtins.__import__

    def without(wanted: str, *args: Any, **options: Any) -> Any:
        if wanted.partition(".")[0] == name:
            raise ImportError(f"No module named {name!r}")
        return real(wanted, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.parametrize(
    ("library", "named"), [("skl2onnx", "skl2onnx"), ("sklearn", "scikit-learn"), ("onnx", "onnx")]
)
def test_a_library_that_is_not_installed(library: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, features = _fitted(), _features()
    _mute(library, monkeypatch)
    with pytest.raises(MissingExtraError, match=f"^{named} is not installed") as refused:
        picture_ensemble_to_onnx(features, {"forest": fitted})
    assert "edgeloop[convert]" in refused.value.hint


class OwnClassifier(LogisticRegression):
    """One that skl2onnx has never heard of."""


def _several_questions() -> Any:
    rows = _rows()
    return _forest().fit(rows, np.stack([_classes(rows), _classes(rows)], axis=1))


def _categories() -> Any:
    rows = _rows()
    rows[:, 0] = np.abs(rows[:, 0]).astype(int)
    return HistGradientBoostingClassifier(max_iter=5, categorical_features=[0]).fit(rows, rows[:, 0] % 2 == 0)


def _joined(*, model: bytes | None = None, **ensembles: Any) -> bytes:
    return picture_ensemble_to_onnx(_features() if model is None else model, ensembles)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: ensemble_to_onnx(_forest(), num_features=F), "RandomForestClassifier is not fitted"),
        (lambda: ensemble_to_onnx(_vote(), num_features=F), "VotingClassifier is not fitted"),
        (
            lambda: ensemble_to_onnx(make_pipeline(StandardScaler(), _forest()), num_features=F),
            "Pipeline is not fitted",
        ),
        (
            lambda: ensemble_to_onnx(RandomForestRegressor(3).fit(_rows(), _classes(_rows())), num_features=F),
            "RandomForestRegressor is no classifier of scikit-learn",
        ),
        (lambda: ensemble_to_onnx(StandardScaler().fit(_rows()), num_features=F), "StandardScaler is no classifier"),
        (lambda: ensemble_to_onnx(None, num_features=F), "NoneType is no classifier"),
        (lambda: ensemble_to_onnx(RandomForestClassifier, num_features=F), "ABCMeta is no classifier"),
        (
            lambda: ensemble_to_onnx(_fitted(_vote(voting="hard")), num_features=F),
            "VotingClassifier gives no probabilities",
        ),
        (
            lambda: ensemble_to_onnx(_fitted(), num_features=7),
            "RandomForestClassifier was fitted with 6 features, asked for 7",
        ),
        (lambda: ensemble_to_onnx(_fitted(), num_features=0), "was fitted with 6 features, asked for 0"),
        (lambda: ensemble_to_onnx(_several_questions(), num_features=F), "answers several questions at once"),
        (
            lambda: ensemble_to_onnx(_fitted(labels=np.zeros(160)), num_features=F),
            "RandomForestClassifier was fitted with one class only",
        ),
        (lambda: ensemble_to_onnx(_categories(), num_features=F), "with categorical features cannot be written"),
        (
            lambda: ensemble_to_onnx(_fitted(OwnClassifier()), num_features=F),
            "OwnClassifier cannot be written as ONNX: Unable to find a shape calculator",
        ),
        (lambda: check_ensemble(b"", _fitted(), _rows()), "ensemble.onnx: not a usable ONNX model"),
        (lambda: check_ensemble(b"", _forest(), _rows()), "RandomForestClassifier is not fitted"),
        (lambda: check_ensemble(b"", _fitted(), _rows()[:0]), "rows must have the shape (N, 6), N at least 1"),
        (lambda: check_ensemble(b"", _fitted(), _rows()[0]), "rows must have the shape (N, 6), N at least 1"),
        (lambda: check_ensemble(b"", _fitted(), _rows()[:, :5]), "found [160, 5]"),
        (lambda: check_ensemble(b"", _fitted(), [["a"] * F]), "rows are not numbers"),
        (lambda: check_ensemble(b"", _fitted(), [[1] * F, [np.nan] * F]), "row 1 holds NaN or infinity"),
        (lambda: check_ensemble(_features(), _fitted(), _rows()), "input must be float32"),
        (
            lambda: check_ensemble(
                ensemble_to_onnx(_fitted(labels=_classes(_rows()) > 0), num_features=F), _fitted(), _rows()
            ),
            "the ONNX model gives 2 probabilities, the ensemble 3",
        ),
        (lambda: _joined(), "there is no ensemble"),
        (lambda: _joined(**{"two words": _fitted()}), "ensemble 'two words' cannot be the name of an output"),
        (lambda: _joined(image=_fitted()), "ensemble 'image' has the name of a tensor of the features"),
        (lambda: _joined(mean=_fitted()), "ensemble 'mean' has the name of a tensor of the features"),
        (lambda: _joined(forest=_forest()), "RandomForestClassifier is not fitted"),
        (
            lambda: _joined(forest=_fitted(rows=np.tile(_rows(), 2))),
            "RandomForestClassifier was fitted with 12 features, asked for 6",
        ),
        (
            lambda: _joined(one=_fitted(), two=_fitted(labels=_classes(_rows()) > 0)),
            "ensembles 'one' and 'two' have other classes: 0, 1, 2 and False, True",
        ),
        (lambda: _joined(model=b"nonsense", forest=_fitted()), "the features are not an ONNX model"),
        (lambda: _joined(model=b"", forest=_fitted()), "the features are not an ONNX model"),
        (lambda: _joined(model=_features(name="picture"), forest=_fitted()), "found 'picture' [1, 16, 16, 3]"),
        (lambda: _joined(model=_features(channels=1), forest=_fitted()), "found 'image' [1, 16, 16, 1]"),
        (lambda: _joined(model=_features(size="height"), forest=_fitted()), "found 'image' [1, 0, 0, 3]"),
        (
            lambda: _joined(model=_features(opset=24), forest=_fitted()),
            "skl2onnx writes ONNX opsets up to",
        ),
        (
            lambda: _joined(model=_features(outputs=("mean", "most")), forest=_fitted()),
            "the features must be one output, float32 [1, F], found 'mean' [1, 3], 'most' [1, 3]",
        ),
    ],
)
def test_bad_input(make: Callable[[], object], line: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(EdgeloopError) as refused:
            make()
    assert line in refused.value.message
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def _features(
    *,
    name: str = "image",
    channels: int = 3,
    size: int | str = SIZE,
    outputs: tuple[str, ...] = ("both",),
    opset: int = 18,
) -> bytes:
    """Mean and greatest value of each channel, on a scale of 0 to 1: (1, 6) from a picture."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    top = helper.make_tensor("top", TensorProto.FLOAT, [], [255.0])
    nodes = [
        helper.make_node("Div", [name, "top"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["mean"], keepdims=0),
        helper.make_node("ReduceMax", ["scaled", "axes"], ["most"], keepdims=0),
        helper.make_node("Concat", ["mean", "most"], ["both"], axis=1),
    ]
    widths = {"both": 2 * channels, "mean": channels, "most": channels}
    graph = helper.make_graph(
        nodes,
        "features",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size, size, channels])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, widths[output]]) for output in outputs],
        [axes, top],
    )
    opsets = [helper.make_opsetid("", opset)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hybrid:
    """A joined model and what it was made from.

    Attributes:
        model: ONNX.
        ensembles: By name.
        pictures: float32 (N, 16, 16, 3), 0 to 255.
        rows: Their features, (N, 6).
    """

    model: bytes
    ensembles: dict[str, Any]
    pictures: np.ndarray
    rows: np.ndarray


@pytest.fixture(scope="module")
def hybrid() -> Hybrid:
    rng = np.random.default_rng(3)
    tints = rng.integers(40, 215, size=(120, 1, 1, 3))
    pictures = (tints + rng.integers(-30, 31, size=(120, SIZE, SIZE, 3))).astype(np.float32)
    scaled = pictures / np.float32(255)
    rows = np.concatenate([scaled.mean(axis=(1, 2)), scaled.max(axis=(1, 2))], axis=1)
    labels = np.array(LABELS)[rows[:, :3].argmax(axis=1)]
    ensembles = {"forest": _forest().fit(rows, labels), "boosted": make_pipeline(StandardScaler(), _hist())}
    ensembles["boosted"].fit(rows, labels)
    return Hybrid(
        model=picture_ensemble_to_onnx(_features(), ensembles), ensembles=ensembles, pictures=pictures, rows=rows
    )


def test_pictures_in_and_probabilities_by_name_out(hybrid: Hybrid, tmp_path: Path) -> None:
    path = tmp_path / "hybrid.onnx"
    path.write_bytes(hybrid.model)
    backend = OnnxBackend(path)
    assert (backend.input_shape, backend.input_dtype) == ((1, SIZE, SIZE, 3), "float32")
    for at in range(0, 120, 6):
        found = backend.run(hybrid.pictures[at : at + 1]).by_name
        assert list(found) == list(hybrid.ensembles)
        for name, ensemble in hybrid.ensembles.items():
            assert found[name].shape == (1, 3)
            np.testing.assert_allclose(found[name], ensemble.predict_proba(hybrid.rows[at : at + 1]), atol=0.1)


def test_joined_is_the_same_as_one_after_the_other(hybrid: Hybrid, tmp_path: Path) -> None:
    """To the last bit, so that the parity of the ensembles alone is that of the joined model."""
    parts = {"features": _features(), "hybrid": hybrid.model}
    parts |= {name: ensemble_to_onnx(ensemble, num_features=F) for name, ensemble in hybrid.ensembles.items()}
    backends = {}
    for name, data in parts.items():
        (tmp_path / f"{name}.onnx").write_bytes(data)
        backends[name] = OnnxBackend(tmp_path / f"{name}.onnx")
    for picture in hybrid.pictures[:40, np.newaxis]:
        row = backends["features"].run(picture).by_name["both"]
        joined = backends["hybrid"].run(picture).by_name
        for name in hybrid.ensembles:
            assert np.array_equal(joined[name], backends[name].run(row).by_name["probabilities"])


def test_the_device_reads_it_as_a_tabular_stage(hybrid: Hybrid, tmp_path: Path) -> None:
    path = tmp_path / "hybrid.onnx"
    path.write_bytes(hybrid.model)
    spec = PreprocessSpec(width=SIZE, height=SIZE, crop=CropPolicy.STRETCH)
    weights = {"forest": 1.0, "boosted": 3.0}
    outputs = tuple(
        OutputSpec(name=name, kind=OutputKind.PROBABILITIES, shape=(3,), weight=weight)
        for name, weight in weights.items()
    )
    stage = StageSpec(name="hybrid", task=Task.TABULAR, preprocess=spec, outputs=outputs, artifacts=())
    labels = class_names(hybrid.ensembles["forest"])
    picture = tmp_path / "picture.png"
    Image.fromarray(hybrid.pictures[0].astype(np.uint8)).save(picture)
    ready = preprocess(picture.read_bytes(), spec)
    answers = OnnxBackend(path).run(ready.tensor)
    answer = postprocess(answers, stage, labels, ready.geometry, files=StageFiles())
    mean = sum(weight * answers.by_name[name][0].astype(float) for name, weight in weights.items()) / 4
    assert answer.top[0].label == labels[int(mean.argmax())] == hybrid.ensembles["forest"].predict(hybrid.rows[:1])[0]
    assert answer.top[0].probability == pytest.approx(float(mean.max()), abs=1e-6)


def test_the_same_arguments_give_the_same_joined_bytes(hybrid: Hybrid) -> None:
    assert picture_ensemble_to_onnx(_features(), hybrid.ensembles) == hybrid.model
    model = onnx.load_from_string(hybrid.model)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == ["forest", "boosted"]
    assert not model.metadata_props
    assert not model.doc_string


def test_features_of_a_network_of_our_own(tmp_path: Path) -> None:
    """What converters.onnx writes can be joined as it is."""
    import torch

    from converters.export import export_network
    from converters.onnx import to_onnx

    torch.manual_seed(2)
    layers = [torch.nn.Conv2d(3, F, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    network = torch.nn.Sequential(*layers).eval()
    pictures = torch.rand(60, 3, SIZE, SIZE) * 255
    with torch.inference_mode():
        rows = network(pictures).numpy()
    fitted = _forest().fit(rows, rows[:, 0] > np.median(rows[:, 0]))
    features = to_onnx(export_network(network, height=SIZE, width=SIZE))
    path = tmp_path / "hybrid.onnx"
    path.write_bytes(picture_ensemble_to_onnx(features, {"forest": fitted}))
    backend = OnnxBackend(path)
    found = [backend.run(picture[None].permute(0, 2, 3, 1).contiguous().numpy()).by_name for picture in pictures]
    assert {tuple(answer) for answer in found} == {("forest",)}
    answers = np.concatenate([answer["forest"] for answer in found])
    agree = (answers.argmax(axis=1) == fitted.predict_proba(rows).argmax(axis=1)).mean()
    assert agree > 0.9
