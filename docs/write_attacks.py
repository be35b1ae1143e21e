"""Write the table of docs/attacks.md from the attacks themselves, so that it cannot drift from the program."""

from __future__ import annotations

from pathlib import Path

from geotrap_cli.plugins import BUILT_IN, list_plugins, load_plugin

PAGE = Path(__file__).with_name("attacks.md")
START, END = "<!-- attacks: written by write_attacks.py -->", "<!-- end of attacks -->"
HEADING = "| attack | what it does | what the attacker has | source | budget |\n|---|---|---|---|---|\n"


def table() -> str:
    """Return one row for each attack of this package, by key."""
    keys = [info.key for info in list_plugins("geotrap.attacks") if info.package == BUILT_IN]
    return HEADING + "".join(f"| {' | '.join(_cells(key))} |\n" for key in keys)


def page(text: str) -> str:
    """Return ``text`` with its table as it should be."""
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{table()}{END}{rest.partition(END)[2]}"


def _cells(key: str) -> list[str]:
    attack = load_plugin("geotrap.attacks", key)
    cells = [f"`{key}`", attack.summary, attack.assumes, attack.source, attack.budget]
    return [cell.replace("|", "\\|") for cell in cells]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
