"""torchvision can be imported, whatever native part it has; each case in a process of its own."""

from __future__ import annotations

import importlib.machinery
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _python(code: str, *, first: Path | None = None) -> str:
    """Runs code in a new process; `first` goes before everything on its path."""
    paths = [str(path) for path in (first, ROOT) if path is not None]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n" + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout.strip()


def test_timm_and_nms_work_here() -> None:
    code = """
        from model_zoo.common.torchvision_native import prepare
        prepare()
        prepare()
        import timm, torch
        from torchvision.ops import batched_nms, nms
        network = timm.create_model("test_resnet", num_classes=3).eval()
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
        boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 9.0]])
        scores = torch.tensor([0.8, 0.9, 0.3, 0.7])
        assert nms(boxes, scores, 0.5).tolist() == [1, 2], nms(boxes, scores, 0.5)
        assert nms(boxes, scores, 0.69).tolist() == [1, 0, 2], nms(boxes, scores, 0.69)
        assert nms(boxes, scores, 0.95).tolist() == [1, 0, 3, 2]
        assert nms(boxes[:0], scores[:0], 0.5).tolist() == []
        assert batched_nms(boxes, scores, torch.tensor([0, 1, 0, 0]), 0.5).tolist() == [1, 0, 2]
        print("right")
    """
    assert _python(code) == "right"


def test_greedy_suppression_against_the_definition() -> None:
    code = """
        import torch
        from model_zoo.common.torchvision_native import nms
        def iou(a, b):
            width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
            height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
            shared = width * height
            return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
        for seed in range(20):
            generator = torch.Generator().manual_seed(seed)
            corner, size = torch.rand(60, 2, generator=generator) * 40, torch.rand(60, 2, generator=generator) * 30 + 1
            boxes, scores = torch.cat((corner, corner + size), dim=1).double(), torch.rand(60, generator=generator)
            kept = []
            for index in scores.argsort(descending=True).tolist():
                if all(iou(boxes[index].tolist(), boxes[other].tolist()) <= 0.4 for other in kept):
                    kept.append(index)
            assert nms(boxes, scores, 0.4).tolist() == kept
            assert 1 < len(kept) < 60
        print("right")
    """
    assert _python(code) == "right"


def test_a_failed_import_before_it_does_no_harm() -> None:
    code = """
        try:
            import timm
        except RuntimeError:
            pass
        from model_zoo.common.torchvision_native import prepare
        prepare()
        import timm
        print(timm.is_model("test_resnet"))
    """
    assert _python(code) == "True"


def _proper_torchvision(folder: Path) -> Path:
    """A package whose native part loads; torch has its operators before, as that part would have declared them."""
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "extension.py").write_text("def _has_ops():\n    return 'its own'\n")
    spec = importlib.util.find_spec("_bisect")
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        pytest.skip("this Python has no shared library to stand for the native part")
    shutil.copy(spec.origin, package / f"_C{importlib.machinery.EXTENSION_SUFFIXES[0]}")
    return folder


def test_a_proper_torchvision_is_left_alone(tmp_path: Path) -> None:
    code = """
        import torch
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from model_zoo.common.torchvision_native import is_stand_in, prepare
        prepare()
        import torchvision.extension
        print(is_stand_in(), torchvision.extension._has_ops())
    """
    assert _python(code, first=_proper_torchvision(tmp_path)) == "False its own"


@pytest.mark.parametrize("library", ["torch", "torchvision"])
def test_a_missing_library_names_the_extra(library: str) -> None:
    code = f"""
        import importlib.util, sys
        if {library!r} == "torch":
            sys.modules["torch"] = None
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *more: None if name == "torchvision" else find(name, *more)
        from edge.errors import MissingExtraError
        from model_zoo.common.torchvision_native import prepare
        try:
            prepare()
        except MissingExtraError as error:
            print(error)
    """
    assert _python(code) == f'{library} is not installed (pip install "edgeloop[train]")'
