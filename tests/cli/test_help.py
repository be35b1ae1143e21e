"""Help: complete, with examples, and quick because it imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from geotrap_cli import __version__

PROTECT = ["train", "attack", "compare", "analyze-layers"]
AROUND = ["view", "export", "generate", "convert", "sweep", "bench", "pretrain"]
COMMANDS = [*PROTECT, *AROUND, "attacks", "defenses", "plugins", "runs"]
GROUPS = {"data": ("check", "render"), "profiles": ("list", "show", "copy", "validate")}
PAGES = [[name] for name in COMMANDS] + [[group, name] for group, names in GROUPS.items() for name in names]
HEAVY = ["torch", "numpy", "pydantic", "numba", "diffusers", "peft", "matplotlib", "scipy", "tomli", "geotrap_traps"]

CHECK = """
import sys
from geotrap_cli.__main__ import main

for arguments in {pages!r}:
    assert main([*arguments, "--help"]) == 0
print("\\0", [name for name in {heavy!r} if name in sys.modules])
"""


def test_no_help_page_imports_anything_heavy() -> None:
    code = CHECK.format(
        pages=[[], *([group] for group in GROUPS), *PAGES], heavy=[*HEAVY, "geotrap_attacks", "geotrap_cli.profile"]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rpartition("\0")[2].strip() == "[]"


def test_root_lists_each_verb_in_one_line(geotrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shown = geotrap("--help")
    assert shown.code == 0
    for name in [*COMMANDS, *GROUPS]:
        assert sum(line.strip("│ ").startswith(f"{name} ") for line in shown.out.splitlines()) == 1, name
    assert "130 interrupted" in shown.out


@pytest.mark.parametrize("words", [[], *([group] for group in GROUPS)], ids=" ".join)
def test_no_arguments_show_the_help(geotrap: Any, words: list[str]) -> None:
    shown = geotrap(*words)
    assert shown.code == 0
    assert shown.out == geotrap(*words, "--help").out


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
def test_every_page_has_examples_and_a_next_step(geotrap: Any, page: list[str]) -> None:
    shown = geotrap(*page, "--help").out
    examples = shown.partition("Examples")[2]
    assert examples.count("geotrap ") >= 2
    assert "Next" in examples
    assert f"geotrap {page[0]}" in examples
    assert "Common options" in shown


def test_paragraphs_fill_the_width(geotrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    lines = geotrap("attack", "--help").out.splitlines()
    (first,) = [number for number, line in enumerate(lines) if "Both sets of weights" in line]
    assert [len(line.rstrip()) > 85 for line in lines[first : first + 3]] == [True] * 3


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["attack"], "[ATTACK]..."),
        (["view"], "[RUN]"),
        (["export"], "[ATTACK]"),
        (["plugins"], "[GROUP]"),
        (["generate"], "[VIEW]..."),
        (["data", "render"], "MESH}..."),
        (["profiles", "copy"], "[FILE]"),
    ],
)
def test_arguments_are_bracketed_once(geotrap: Any, words: list[str], usage: str) -> None:
    (line,) = [line for line in geotrap(*words, "--help").out.splitlines() if "Usage:" in line]
    assert line.rstrip().endswith(usage)
    assert "[[" not in line


@pytest.mark.parametrize(
    ("command", "words"), [("view", "geotrap[view]"), ("export", "geotrap[video]"), ("bench", "[tune]")]
)
def test_brackets_of_a_text_are_shown(geotrap: Any, command: str, words: str) -> None:
    assert words in geotrap(command, "--help").out


def test_version(geotrap: Any) -> None:
    assert geotrap("--version").out == f"geotrap {__version__}\n"


def test_no_colour_codes_when_piped(geotrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in geotrap("--help").out
    assert "\x1b[" not in geotrap("profiles", "list").out
