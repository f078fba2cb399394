"""Every recipe of docs/extending.md, followed to the letter on a copy of the source, then run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GIT = shutil.which("git") or "git"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One section of the page.

    Attributes:
        title: Its heading.
        new_files: Path to text.
        patches: In order.
        checks: Programs that must end well, in order.
    """

    title: str
    new_files: dict[str, str]
    patches: list[str]
    checks: list[str]


def recipes() -> list[Recipe]:
    """The sections of the page that hold a program to run."""
    found = []
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        blocks = [(kind, words.strip(), text) for kind, words, text in _FENCE.findall(body)]
        recipe = Recipe(
            title=title,
            new_files={words.removeprefix("file="): text for _, words, text in blocks if words.startswith("file=")},
            patches=[text for kind, _, text in blocks if kind == "diff"],
            checks=[text for kind, words, text in blocks if kind == "python" and words == "check"],
        )
        if recipe.checks:
            found.append(recipe)
    return found


def test_the_page_has_its_recipes() -> None:
    titles = [recipe.title for recipe in recipes()]
    assert titles[:3] == ["A new kind of output", "A new runtime", "A new keep rule"]
    assert titles[3:] == ["A new source", "A new outbox payload policy"]


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.title)
def test_a_recipe_works_as_written(recipe: Recipe, repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "edge", tmp_path / "edge", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in recipe.new_files.items():
        assert not (tmp_path / name).exists(), f"{name} is there already"
        (tmp_path / name).write_text(text)
    for patch in recipe.patches:
        command = [GIT, "apply", "--verbose", "-"]
        done = subprocess.run(command, check=False, input=patch, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, f"{done.stderr}\n{patch}"
    paths = [tmp_path, repository / "tests"]
    for check in recipe.checks:
        done = subprocess.run(
            [sys.executable, "-c", f"import edge\nassert edge.__file__.startswith({str(tmp_path)!r})\n{check}"],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        )
        assert done.returncode == 0, done.stderr
