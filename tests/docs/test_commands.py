"""The command reference is what the commands print."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "write_commands.py"


def test_the_command_reference_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("write_commands", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "docs/commands.md is old: run `make docs`"
