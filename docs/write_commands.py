"""Write docs/commands.md from the commands' own --help, so that the reference cannot drift from the program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("commands.md")
HEADER = """# Commands

Written by `make docs` from `--help`; edit the program, not this page.
"""
#: The order in which a user meets them.
COMMANDS = (
    "",
    "train",
    "attack",
    "compare",
    "analyze-layers",
    "view",
    "export",
    "sweep",
    "bench",
    "pretrain",
    "generate",
    "convert",
    "profiles",
    "profiles list",
    "profiles show",
    "profiles copy",
    "profiles validate",
    "data",
    "data check",
    "data render",
    "attacks",
    "defenses",
    "plugins",
    "runs",
)


def help_text(command: str) -> str:
    """Return what ``geotrap COMMAND --help`` prints, 100 columns wide, without colours."""
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}
    words = [sys.executable, "-m", "geotrap_cli", *command.split(), "--help"]
    shown = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    return "\n".join(line.rstrip() for line in shown.strip().splitlines())


def page() -> str:
    """Return the whole page."""
    parts = [f"## geotrap {name}".rstrip() + f"\n\n```text\n{help_text(name)}\n```\n" for name in COMMANDS]
    return "\n".join([HEADER, *parts])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
