"""Every command imports, answers --help, and is written in the documents as it is."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cloud_train.cli import COMMANDS, edgeloop

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs")
HEAVY = {"numpy", "torch", "grpc", "PIL", "sqlalchemy", "dbos", "tuf", "pydantic", "matplotlib", "rich", "timm"}
_HELP = """
import json, sys
from cloud_train.cli import main
sys.argv = ["edgeloop", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of a command and of every one below it."""
    yield path
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None, (*path, name)
                yield from walk(found, (*path, name))


def all_paths() -> list[tuple[str, ...]]:
    return list(walk(edgeloop))


@pytest.mark.parametrize("path", all_paths(), ids=lambda path: " ".join(("edgeloop", *path)))
def test_every_command_answers_help(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(edgeloop, [*path, "--help"], prog_name="edgeloop")
    assert (done.exit_code, done.exception) == (0, None), done.output
    assert done.output.startswith(f"Usage: {' '.join(('edgeloop', *path))} ")
    assert "\\b" not in done.output, "a paragraph mark is printed"


@pytest.mark.parametrize("path", all_paths(), ids=lambda path: " ".join(("edgeloop", *path)))
def test_every_command_and_option_says_what_it_is_for(path: tuple[str, ...]) -> None:
    command = resolve(list(path))[0]
    assert command.help, path
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    assert [one.name for one in options if not one.help] == []


def test_the_commands_of_the_loop_are_there() -> None:
    wanted = "demo", "data snapshot", "train", "convert", "serve", "publish", "label", "trace"
    device = (f"device {name}" for name in ("run", "predict", "sync", "update", "status"))
    assert {tuple(one.split()) for one in (*wanted, *device)} <= set(all_paths())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_each_command_is_for(name: str) -> None:
    listed = CliRunner().invoke(edgeloop, ["--help"]).output
    assert f"  {name} " in listed
    assert COMMANDS[name].help.split()[0] in listed


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["demo", "--help"], ["device", "run", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str], repository: Path) -> None:
    script = _HELP.format(arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=repository, timeout=60
    )
    assert set(json.loads(done.stdout.splitlines()[-1])) & HEAVY == set()


def written_commands() -> list[tuple[str, str]]:
    """Place and text of every command line in the documents: indented or fenced, continued lines joined."""
    root = Path(__file__).resolve().parents[2]
    files = [path for name in DOCUMENTS for path in ([root / name] if (root / name).is_file() else pages(root / name))]
    found = []
    for path in files:
        lines = iter(enumerate(path.read_text().splitlines(), start=1))
        fenced = False
        for number, line in lines:
            fenced ^= line.startswith("```")
            text = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if not (fenced or line.startswith("    ")) or not text.startswith("edgeloop "):
                continue
            while text.endswith("\\"):
                text = text[:-1] + next(lines)[1].strip()
            found.append((f"{path.relative_to(root)}:{number}", text))
    return found


def pages(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.md"))


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the first words name, and the words that are left."""
    command: click.Command = edgeloop
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        with click.Context(command) as context:
            command.parse_args(context, list(words))
            _, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None, words
        command = found
    return command, words


@pytest.mark.parametrize(("place", "line"), written_commands(), ids=lambda text: text.partition(" ")[0])
def test_command_lines_in_the_documents_are_right(place: str, line: str) -> None:
    words = shlex.split(line.partition(" #")[0].partition("   ")[0])
    command, rest = resolve(words[1:])
    assert not isinstance(command, click.Group), f"{place}: a command is missing"
    with click.Context(command) as context:
        given, _, order = command.make_parser(context).parse_args(list(rest))
    assert order or not rest, place
    missing = [one.name for one in command.params if one.required and given.get(one.name) in (None, ())]
    assert missing == [], f"{place}: {line}"
    for one in command.params:
        if isinstance(one.type, click.Choice) and given.get(one.name) is not None:
            assert given[one.name] in one.type.choices, f"{place}: {line}"


def test_the_readme_shows_the_loop() -> None:
    shown = {shlex.split(line)[1] for place, line in written_commands() if place.startswith("README")}
    assert {"demo", "data", "train", "convert", "publish", "serve", "device", "label", "trace"} <= shown
