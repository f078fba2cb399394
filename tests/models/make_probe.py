"""Writes the models that `edgeloop device doctor` tries the runtimes with: the tiny ones of these tests, as text.

python tests/models/make_probe.py [FILE]
"""

from __future__ import annotations

import base64
import sys
import textwrap
import zlib
from pathlib import Path

MODELS = Path(__file__).resolve().parent
TARGET = MODELS.parents[1] / "edge" / "doctor" / "probe_models.py"
FILES = {"TFLITE": "tiny_fp32.tflite", "ONNX": "tiny_fp32.onnx"}
_HEAD = '''"""Two convolutions on 32 x 32 pixels, in each format; written by tests/models/make_probe.py."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

from edge.bundle.manifest import ArtifactFormat

SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A model to try a runtime with.

    Attributes:
        packed: The model file, compressed, in base64.
        expected: What it answers for rising numbers from 0 to 255, again and again: float32, three of them.
    """

    packed: str
    expected: tuple[float, ...]

    @property
    def model(self) -> bytes:
        """The model file."""
        return zlib.decompress(base64.b64decode(self.packed))


'''


def expected_answer() -> tuple[float, ...]:
    """What the ONNX file says on this machine, to four digits."""
    import numpy as np

    from edge.backends.select import open_backend
    from edge.bundle.manifest import ArtifactFormat

    rising = np.arange(32 * 32 * 3, dtype=np.float32).reshape(1, 32, 32, 3) % 256
    backend = open_backend(MODELS / FILES["ONNX"], ArtifactFormat.ONNX)
    (array,) = backend.run(rising).by_name.values()
    backend.close()
    return tuple(round(float(value), 4) for value in array.reshape(-1))


def source_text() -> str:
    """The whole file."""
    answer, blocks = expected_answer(), ""
    for name, file in FILES.items():
        packed = base64.b64encode(zlib.compress((MODELS / file).read_bytes(), 9)).decode()
        lines = "\n".join(f'            "{line}"' for line in textwrap.wrap(packed, 100))
        blocks += f"    ArtifactFormat.{name}: Probe(\n        packed=(\n{lines}\n        ),\n"
        blocks += f"        expected={answer},\n    ),\n"
    return _HEAD + "PROBES: dict[ArtifactFormat, Probe] = {\n" + blocks + "}\n"


if __name__ == "__main__":
    sys.path.insert(0, str(MODELS.parents[1]))
    (Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET).write_text(source_text())
