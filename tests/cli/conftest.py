"""The program run inside the test process, with stand-ins for the library functions behind the commands."""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.__main__ import main


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.err)["error"]


Geotrap = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GEOTRAP_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def geotrap(capsys: pytest.CaptureFixture[str]) -> Geotrap:
    def run(*arguments: str) -> Outcome:
        code = main(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


class Result:
    """A result with or without a failure."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    def payload(self) -> dict[str, Any]:
        return {"answer": 42}

    def render(self, console: Any) -> None:
        console.print("the answer is 42")


@dataclass
class Library:
    """Stands in for the functions behind the commands: notes how they are called, then raises or returns."""

    error: BaseException | None = None
    before: Callable[[], None] | None = None
    result: Result = field(default_factory=Result)
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def call(self, name: str, *arguments: Any, **specific: Any) -> Result:
        self.calls.append((name, arguments, specific))
        if self.before is not None:
            self.before()
        if self.error is not None:
            raise self.error
        return self.result

    @property
    def only_call(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        (call,) = self.calls
        return call


FUNCTIONS = {
    "geotrap_cli.training.defense": "run_defense",
    "geotrap_cli.training.attack": "run_attack",
    "geotrap_cli.training.pretrain": "run_pretrain",
    "geotrap_cli.reports.compare": "run_compare",
    "geotrap_cli.sensitivity.analysis": "run_analysis",
}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()

    def stand_in(name: str) -> Callable[..., Result]:
        return lambda *arguments, **specific: library.call(name, *arguments, **specific)

    for module_name, function in FUNCTIONS.items():
        module = types.ModuleType(module_name)
        setattr(module, function, stand_in(function))
        monkeypatch.setitem(sys.modules, module_name, module)
    return library
