"""Writes scikit-learn ensembles as ONNX, and checks that they say what scikit-learn says.

An ensemble reads a row of features and gives the probability of each of its classes. What is written holds neither
the labels that scikit-learn would choose nor a dictionary of probabilities, which the device does not read.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from converters.ensemble_exact import exact_converters, ready_to_write
from converters.onnx import OPSET, without_marks
from converters.quiet import quiet_libraries
from edge.errors import EdgeloopError, MissingExtraError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FEATURES_NAME = "features"
PROBABILITIES_NAME = "probabilities"
MAX_DIFFERENCE = 1e-5
_TREES_DOMAIN, _TREES_OPSET = "ai.onnx.ml", 3
_MAX_REASON = 200


class Ensemble(Protocol):
    """A fitted classifier of scikit-learn, or a pipeline that ends in one.

    Attributes:
        classes_: Its classes, in the order of the probabilities.
        n_features_in_: Numbers in one row.
    """

    classes_: npt.NDArray[Any]
    n_features_in_: int

    def predict_proba(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
        """Rows (N, F) to probabilities (N, C)."""
        ...


def ensemble_to_onnx(ensemble: Ensemble, *, num_features: int) -> bytes:
    """Writes an ensemble as ONNX: input `features` (1, F), output `probabilities` (1, C), both float32.

    The same ensemble gives the same bytes, in any process.

    Args:
        ensemble: Random forest, extra trees, gradient boosting (both kinds), a soft vote or a pipeline of such.
        num_features: F.

    Raises:
        MissingExtraError: skl2onnx is not installed.
        UsageError: It is no fitted classifier of `num_features` features with probabilities for several classes.
        EdgeloopError: A part of it has no ONNX form.
    """
    return without_marks(write_ensemble(ensemble, num_features=num_features, opset=OPSET))


def class_names(ensemble: Ensemble) -> tuple[str, ...]:
    """The classes of a fitted ensemble in the order of its probabilities: the order that a bundle's labels must have.

    Raises:
        UsageError: As in `ensemble_to_onnx`.
    """
    _require_classifier(ensemble)
    return tuple(str(name) for name in ensemble.classes_)


def check_ensemble(model: bytes, ensemble: Ensemble, rows: npt.ArrayLike) -> float:
    """Compares what an ONNX model says in the device's runtime with what scikit-learn says.

    Args:
        model: From `ensemble_to_onnx`.
        ensemble: What it was made from.
        rows: Features (N, F), at least one row; compared as float32, which is what the device computes.

    Returns:
        The greatest absolute difference of a probability.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        UsageError: The rows are not numbers, or not rows of the ensemble's features.
        BackendError: The model cannot be run.
        EdgeloopError: Probabilities differ by more than 1e-5; names the row.
    """
    import numpy as np

    _require_classifier(ensemble)
    table = _require_rows(rows, ensemble.n_features_in_)
    found, expected = _run(model, table), ensemble.predict_proba(table)
    if found.shape != expected.shape:
        raise EdgeloopError(
            f"the ONNX model gives {found.shape[1]} probabilities, the ensemble {expected.shape[1]}",
            hint="they are not the same ensemble",
        )
    differences = np.abs(found - expected).max(axis=1)
    worst = int(np.argmax(np.where(np.isnan(differences), np.inf, differences)))
    if not differences[worst] <= MAX_DIFFERENCE:
        raise EdgeloopError(
            f"row {worst}: the ONNX model and the ensemble differ by {differences[worst]:.3g}, "
            f"at most {MAX_DIFFERENCE:g} is allowed",
            hint="a feature lies on the threshold of a tree, or the model is of another ensemble",
        )
    return float(differences[worst])


def write_ensemble(ensemble: Ensemble, *, num_features: int, opset: int) -> Any:  # noqa: ANN401  (onnx.ModelProto)
    """`ensemble_to_onnx`, for a given ONNX opset, as a model that can be worked on."""
    try:
        import skl2onnx
        from skl2onnx.common.data_types import FloatTensorType
    except ImportError as cause:
        raise MissingExtraError("skl2onnx", "convert") from cause
    _require_classifier(ensemble)
    _require_features(ensemble, num_features)
    if opset > skl2onnx.__max_supported_opset__:
        raise UsageError(
            f"skl2onnx writes ONNX opsets up to {skl2onnx.__max_supported_opset__}, asked for {opset}",
            hint=f"write the features with opset {OPSET}",
        )
    ready = ready_to_write(ensemble)
    try:
        with quiet_libraries():
            model = skl2onnx.convert_sklearn(
                ready,
                name="ensemble",
                initial_types=[(FEATURES_NAME, FloatTensorType([1, num_features]))],
                options={id(ready): {"zipmap": False}},
                target_opset={"": opset, _TREES_DOMAIN: _TREES_OPSET},
                custom_conversion_functions=exact_converters(),
            )
    except Exception as cause:  # skl2onnx raises its own kinds of error, and those of what it calls
        raise EdgeloopError(
            f"{_kind(ensemble)} cannot be written as ONNX: {_reason(cause)}",
            hint="skl2onnx lists the estimators and options that it can write",
        ) from cause
    _keep_probabilities(model, num_classes=len(ensemble.classes_), opset=opset)
    return model


def _require_classifier(ensemble: Any) -> None:  # noqa: ANN401  (whatever the caller has)
    try:
        from sklearn.base import BaseEstimator, is_classifier
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted
    except ImportError as cause:
        raise MissingExtraError("scikit-learn", "convert") from cause
    kind = _kind(ensemble)
    if not isinstance(ensemble, BaseEstimator) or not is_classifier(ensemble):
        raise UsageError(f"{kind} is no classifier of scikit-learn", hint="an ensemble must tell classes apart")
    if not hasattr(ensemble, "predict_proba"):
        raise UsageError(f"{kind} gives no probabilities", hint="of a VotingClassifier choose voting='soft'")
    try:
        check_is_fitted(ensemble)
    except NotFittedError as cause:
        raise UsageError(f"{kind} is not fitted", hint="call its fit with the training rows first") from cause
    _require_classes(ensemble, kind)


def _require_classes(ensemble: Ensemble, kind: str) -> None:
    import numpy as np

    if not isinstance(ensemble.classes_, np.ndarray):
        raise UsageError(f"{kind} answers several questions at once", hint="fit one ensemble for each")
    if len(ensemble.classes_) < 2:
        raise UsageError(f"{kind} was fitted with one class only", hint="it has nothing to tell apart")


def _require_features(ensemble: Ensemble, num_features: int) -> None:
    if ensemble.n_features_in_ != num_features:
        raise UsageError(
            f"{_kind(ensemble)} was fitted with {ensemble.n_features_in_} features, asked for {num_features}"
        )


def _require_rows(rows: npt.ArrayLike, num_features: int) -> npt.NDArray[np.float32]:
    import numpy as np

    try:
        table = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as cause:
        raise UsageError(f"rows are not numbers: {_reason(cause)}") from cause
    if table.ndim != 2 or table.shape[1] != num_features or len(table) == 0:
        raise UsageError(f"rows must have the shape (N, {num_features}), N at least 1, found {list(table.shape)}")
    broken = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(broken):
        raise UsageError(f"row {broken[0]} holds NaN or infinity")
    return table


def _run(model: bytes, table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities of all rows, one run each, as on the device."""
    import numpy as np

    from edge.backends.onnx import OnnxBackend

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ensemble.onnx"
        path.write_bytes(model)
        backend = OnnxBackend(path)
    answers = [backend.run(row[np.newaxis]).by_name for row in table]
    if any(PROBABILITIES_NAME not in answer for answer in answers):
        raise UsageError(f"the ONNX model has no output {PROBABILITIES_NAME!r}")
    return np.concatenate([answer[PROBABILITIES_NAME] for answer in answers])


def _keep_probabilities(model: Any, *, num_classes: int, opset: int) -> None:  # noqa: ANN401  (onnx.ModelProto)
    """Leaves one output of a known shape, and only what it is computed from; in place."""
    import onnx

    graph = model.graph
    needed, kept = {PROBABILITIES_NAME}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    initializers = [item for item in graph.initializer if item.name in needed]
    output = onnx.helper.make_tensor_value_info(PROBABILITIES_NAME, onnx.TensorProto.FLOAT, [1, num_classes])
    for field, values in (("node", kept[::-1]), ("initializer", initializers), ("output", [output])):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    # skl2onnx writes the least opset that would do, and may write it twice.
    model.ClearField("opset_import")
    versions = (("", opset), (_TREES_DOMAIN, _TREES_OPSET))
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in versions)
    onnx.checker.check_model(model)


def _kind(ensemble: object) -> str:
    return type(ensemble).__name__


def _reason(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0][:_MAX_REASON]
