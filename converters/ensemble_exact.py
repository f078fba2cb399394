"""What makes skl2onnx write exactly what scikit-learn computes, and write it at all.

Trees compare: a feature that lies on a threshold goes the other way if it is off by the last bit. Features that come in
steps (counts, bins of a histogram) do lie on thresholds, for a threshold is the middle between two steps and may itself
be a step. So scalers are written as scikit-learn calculates them, and thresholds are rounded to the right side.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Steps = list[tuple[str, npt.NDArray[np.floating]]]
    Converters = dict[type, Callable[..., None]]


def ready_to_write(estimator: Any) -> Any:  # noqa: ANN401  (estimators of scikit-learn; it has no types)
    """A copy of a fitted estimator that says the same and that skl2onnx can write; the original is left alone.

    A vote's `flatten_transform` shapes what the vote would be as a transformer, not its probabilities; skl2onnx knows
    False only, and weights of members as an array without those of dropped ones. The thresholds of histogram gradient
    boosting are doubles; each becomes the greatest float32 that is not above it, which decides in the same way about
    every float32. (Those of the other trees skl2onnx rounds so itself.)

    Raises:
        UsageError: Histogram gradient boosting with categories, which ONNX trees do not have.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
    from sklearn.pipeline import Pipeline

    if isinstance(estimator, Pipeline):
        ready = copy.copy(estimator)
        ready.steps = [(name, ready_to_write(step)) for name, step in estimator.steps]
        return ready
    if isinstance(estimator, VotingClassifier):
        ready = copy.copy(estimator)
        ready.flatten_transform = False
        ready.weights = _weights(estimator)
        ready.estimators_ = [ready_to_write(member) for member in estimator.estimators_]
        return ready
    return _with_single_thresholds(estimator) if isinstance(estimator, HistGradientBoostingClassifier) else estimator


def exact_converters() -> Converters:
    """Converters by class, for skl2onnx's `custom_conversion_functions`."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

    scalers = (StandardScaler, RobustScaler, MinMaxScaler, MaxAbsScaler)
    return {HistGradientBoostingClassifier: _convert_hist_gradient, **dict.fromkeys(scalers, _convert_scaler)}


def _convert_hist_gradient(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """skl2onnx's own converter, mended.

    Version 1.20 says of leaves that missing values go left with a truth value, where onnx now insists on an integer.
    """
    from skl2onnx.operator_converters.random_forest import convert_sklearn_random_forest_classifier

    convert_sklearn_random_forest_classifier(scope, operator, _IntegerContainer(container))


class _IntegerContainer:
    """A container of skl2onnx that takes truth values for integers.

    Args:
        container: The real one.
    """

    def __init__(self, container: Any) -> None:  # noqa: ANN401
        self._container = container

    def add_node(self, op_type: str, inputs: object, outputs: object, **attributes: Any) -> None:  # noqa: ANN401
        """Adds a node to the real container."""
        missing = "nodes_missing_value_tracks_true"
        if missing in attributes:
            attributes[missing] = [int(flag) for flag in attributes[missing]]
        self._container.add_node(op_type, inputs, outputs, **attributes)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._container, name)


def _convert_scaler(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Writes each step as numpy takes it in place on float32: in the wider of both types, rounded after it.

    skl2onnx would multiply by a reciprocal.
    """
    import onnx
    from skl2onnx.algebra import onnx_ops

    opset = container.target_opset
    value = operator.inputs[0].full_name
    for kind, numbers in _scaler_steps(operator.raw_operator):
        wide = onnx.helper.np_dtype_to_tensor_dtype(numbers.dtype)
        value = onnx_ops.OnnxCast(value, to=wide, op_version=opset)
        value = getattr(onnx_ops, f"Onnx{kind}")(value, numbers, op_version=opset)
        value = onnx_ops.OnnxCast(value, to=onnx.TensorProto.FLOAT, op_version=opset)
    last = onnx_ops.OnnxIdentity(value, op_version=opset, output_names=[operator.outputs[0].full_name])
    last.add_to(scope, container)


def _scaler_steps(scaler: Any) -> Steps:  # noqa: ANN401
    """What a scaler does to a row, in order; a step that is switched off has no numbers."""
    import numpy as np
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler

    if isinstance(scaler, MinMaxScaler):
        steps = [("Mul", scaler.scale_), ("Add", scaler.min_)]
        if scaler.clip:
            limits = np.array(scaler.feature_range, dtype=np.float32)
            steps += [("Max", limits[:1]), ("Min", limits[1:])]
    elif isinstance(scaler, MaxAbsScaler):
        steps = [("Div", scaler.scale_)]
    elif isinstance(scaler, StandardScaler):
        # The only one that rounds its numbers to the type of the rows first.
        means, scales = scaler.mean_ if scaler.with_mean else None, scaler.scale_
        steps = [(kind, n if n is None else n.astype(np.float32)) for kind, n in (("Sub", means), ("Div", scales))]
    else:
        steps = [("Sub", scaler.center_), ("Div", scaler.scale_)]
    return [(kind, numbers) for kind, numbers in steps if numbers is not None]


def _weights(vote: Any) -> Any:  # noqa: ANN401
    import numpy as np

    if vote.weights is None:
        return None
    pairs = zip(vote.estimators, vote.weights, strict=True)
    return np.array([weight for (_, member), weight in pairs if not isinstance(member, str)])


def _with_single_thresholds(estimator: Any) -> Any:  # noqa: ANN401
    ready = copy.copy(estimator)
    ready._predictors = [[_rounded_down(tree) for tree in trees] for trees in estimator._predictors]
    return ready


def _rounded_down(tree: Any) -> Any:  # noqa: ANN401
    import numpy as np

    if tree.nodes["is_categorical"].any():
        raise UsageError(
            "HistGradientBoostingClassifier with categorical features cannot be written as ONNX",
            hint="fit it with categorical_features=None",
        )
    ready = copy.copy(tree)
    ready.nodes = tree.nodes.copy()
    exact = tree.nodes["num_threshold"]
    single = exact.astype(np.float32)
    above = single > exact
    single[above] = np.nextafter(single[above], np.float32(-np.inf))
    ready.nodes["num_threshold"] = single
    return ready
