"""What a refused command must look like: one line on the terminal, the right exit code, nothing left on the disk."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.cli import device, run_cli


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How a command ended.

    Attributes:
        code: Its exit code.
        line: The one line that it said, without `edgeloop: error: `.
    """

    code: int
    line: str


class Commands:
    """Runs `edgeloop device …` in this process, through the same door as the real command.

    Args:
        scratch: An empty folder that takes the place of the system's folder for temporary files.
        monkeypatch: Of the test.
        capfd: Of the test; sees what the runtimes write past Python, too.
    """

    def __init__(self, scratch: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._scratch = scratch
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        monkeypatch.setattr(tempfile, "tempdir", str(scratch))
        monkeypatch.setenv("TMPDIR", str(scratch))

    def refused(self, *words: object) -> Refusal:
        """Runs a command that must fail in one line, answer nothing, and leave no temporary file."""
        code, out, lines = self._run(*words)
        assert code != 0, out
        assert out == ""
        assert len(lines) == 1, lines
        assert lines[0].startswith("edgeloop: error: ")
        return Refusal(code=code, line=lines[0].removeprefix("edgeloop: error: "))

    def answered(self, *words: object) -> str:
        """Runs a command that must answer, and returns what it said."""
        code, out, lines = self._run(*words)
        assert (code, lines) == (0, [])
        return out

    def _run(self, *words: object) -> tuple[int, str, list[str]]:
        self._monkeypatch.setattr(sys, "argv", ["edgeloop", *map(str, words)])
        self._capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            run_cli(device)
        said = self._capfd.readouterr()
        assert list(self._scratch.iterdir()) == []
        # LiteRT says once in each process what it computes with.
        lines = [line for line in said.err.splitlines() if not line.startswith("INFO: Created TensorFlow Lite")]
        return int(end.value.code or 0), said.out, lines


def content_of(folder: Path) -> dict[str, bytes]:
    """Every regular file below a folder and its content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
