"""What all help pages share: how to ask for them, and their last part, worked examples and the next step."""

from __future__ import annotations

HELP = {"help_option_names": ["-h", "--help"]}


def epilog(*examples: str, next_step: str) -> str:
    """Examples, one a line, and what to do afterwards."""
    lines = ["[bold]Examples[/bold]", *(f"  {_literal(example)}" for example in examples)]
    return "\n".join([*lines, "", f"[bold]Next[/bold]  {_literal(next_step)}"])


def _literal(text: str) -> str:
    return text.replace("[", "\\[")
