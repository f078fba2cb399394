"""Coverage-guided fuzzing of the picture readers with atheris, where it is installed.

    pip install atheris
    python tests/fuzz/fuzz_decode.py [-max_total_time=60] [CORPUS]

Every input must end in a tensor or in an `ImageError` of one line. The options are those of libFuzzer. Without a corpus
the small pictures of `device_tests/vectors` are the seeds, copied into a temporary folder that is thrown away.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))


def main(arguments: list[str]) -> int:
    """Fuzzes until libFuzzer's limits are reached.

    Returns:
        0 where atheris is missing; libFuzzer ends the process itself otherwise.
    """
    try:
        import atheris
    except ImportError:
        print("skipped: atheris is not installed (pip install atheris)")
        return 0
    with atheris.instrument_imports(include=["edge", "PIL"]):
        import PIL.JpegImagePlugin
        import PIL.PngImagePlugin
        import PIL.WebPImagePlugin  # noqa: F401

        from edge.bundle.manifest import PreprocessSpec
        from edge.errors import ImageError
        from edge.preprocess import DecodeLimits, preprocess
    limits = DecodeLimits(max_pixels=250_000, max_decoded_bytes=4_500_000)
    spec = PreprocessSpec(width=8, height=8)

    def one(data: bytes) -> None:
        try:
            tensor = preprocess(data, spec, limits=limits).tensor
        except ImageError as error:
            if "\n" in str(error):
                raise AssertionError(f"more than one line: {error}") from error
            return
        if tensor.shape != spec.input_shape:
            raise AssertionError(f"shape {tensor.shape}")

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        atheris.Setup([sys.argv[0], *(arguments if _has_corpus(arguments) else [*arguments, _seeds(scratch)])], one)
        atheris.Fuzz()
    return 0


def _has_corpus(arguments: list[str]) -> bool:
    return any(not argument.startswith("-") for argument in arguments)


def _seeds(scratch: str) -> str:
    for path in (REPOSITORY / "device_tests" / "vectors").iterdir():
        if path.suffix in (".jpg", ".png", ".webp"):
            shutil.copy(path, scratch)
    return scratch


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
