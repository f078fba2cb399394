"""The tensors of a TFLite model by name, and its outputs as float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.errors import BackendError

if TYPE_CHECKING:
    import numpy.typing as npt

    from edge.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteOutput:
    """One output tensor.

    Attributes:
        name: Its name in the signature, or that of the tensor.
        index: Where the interpreter keeps it.
        is_float: Whether it holds float32 already.
        scale: One step of a quantized output in real units; 0 where its integers are plain numbers.
        zero_point: The integer that stands for 0.
    """

    name: str
    index: int
    is_float: bool
    scale: float
    zero_point: int

    def read(self, interpreter: Any) -> FloatArray:  # noqa: ANN401  (two libraries without types share this class)
        """A copy of what the last `invoke` left there, as float32; its shape may be known only now."""
        import numpy as np

        try:
            array: npt.NDArray[Any] = interpreter.get_tensor(self.index)
        except ValueError:
            return self._empty(interpreter)
        if self.is_float or self.scale == 0:
            return array.astype(np.float32, copy=False)
        # Exact but for one rounding, as in the runtime's own DEQUANTIZE: the difference has at most 17 bits.
        steps = (array.astype(np.int32) - self.zero_point).astype(np.float32)
        return steps * np.float32(self.scale)

    def _empty(self, interpreter: Any) -> FloatArray:  # noqa: ANN401
        """An output of no numbers (a detector that found nothing), which the runtime refuses to copy."""
        import numpy as np

        details = interpreter.get_output_details()
        shape = next((tuple(item["shape"]) for item in details if item["index"] == self.index), ())
        if 0 not in shape:
            raise ValueError(f"output {self.name!r} cannot be read")
        return np.zeros(shape, np.float32)


def bound_tensors(interpreter: Any, *, file: str) -> tuple[list[dict[str, Any]], tuple[TfliteOutput, ...]]:  # noqa: ANN401
    """Finds the inputs and outputs once.

    Args:
        interpreter: With allocated tensors.
        file: Name of the model file, for errors.

    Returns:
        Details of the inputs as the runtime gives them; and the outputs, named by the signature or, where there is
        none, by their tensors. A name that is empty or taken becomes `output_N`.

    Raises:
        BackendError: Several signatures, one that is not of the main graph, or an output of text.
    """
    details = list(interpreter.get_output_details())
    inputs = list(interpreter.get_input_details())
    signatures = interpreter.get_signature_list()
    if not signatures:
        names = [str(detail["name"]) for detail in details]
        return inputs, tuple(_output(name, item, file) for name, item in zip(_distinct(names), details, strict=True))
    runner = interpreter.get_signature_runner(_signature(signatures, file))
    outputs = runner.get_output_details()
    signed = list(runner.get_input_details().values())
    if {int(item["index"]) for item in signed} - {int(item["index"]) for item in inputs}:
        raise BackendError(f"{file}: its signature is not of the main graph")
    return signed, tuple(_output(name, detail, file) for name, detail in outputs.items())


def _signature(signatures: dict[str, Any], file: str) -> str:
    names = list(signatures)
    if len(names) == 1:
        return names[0]
    if "serving_default" in names:
        return "serving_default"
    raise BackendError(f"{file}: has several signatures and no serving_default: {', '.join(names)[:200]}")


def _distinct(names: list[str]) -> list[str]:
    kept: list[str] = []
    for position, name in enumerate(names):
        kept.append(name if name and name not in kept else f"output_{position}")
    return kept


def _output(name: str, detail: dict[str, Any], file: str) -> TfliteOutput:
    kind = str(detail["dtype"].__name__)
    if kind in ("bytes_", "str_", "object_", "bytes", "object"):
        raise BackendError(f"{file}: output {name!r} holds text, only numbers can be read")
    scale, zero_point = detail.get("quantization", (0.0, 0))
    return TfliteOutput(
        name=name,
        index=int(detail["index"]),
        is_float=kind == "float32",
        scale=float(scale),
        zero_point=int(zero_point),
    )
