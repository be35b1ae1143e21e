"""docs/attacks.md names every attack as the program does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from geotrap_cli.attacks import Attack

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # Attacks of other installed packages are no part of the page.
    monkeypatch.setenv("GEOTRAP_PLUGINS", "off")
    spec = importlib.util.spec_from_file_location("write_attacks", DOCS / "write_attacks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_that_of_the_program(writer: ModuleType) -> None:
    text = (DOCS / "attacks.md").read_text(encoding="utf-8")
    assert writer.page(text) == text, "run: python docs/write_attacks.py"
    assert "`lora_rank`" in text


def test_every_hook_is_described() -> None:
    text = (DOCS / "attacks.md").read_text(encoding="utf-8")
    hooks = [name for name, value in vars(Attack).items() if callable(value) and not name.startswith("_")]
    missing = [name for name in hooks if f"`{name}" not in text and name not in ("Config",)]
    assert missing == []
