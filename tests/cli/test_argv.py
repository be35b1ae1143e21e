"""Arguments as people type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from geotrap_cli.cli.argv import normalise


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", "--help"),
        ("profiles", "profiles --help"),
        ("data", "data --help"),
        ("--json train", "train --json"),
        ("--device cpu --seed=3 train --quiet", "train --device cpu --seed=3 --quiet"),
        ("--json profiles --debug list", "profiles list --json --debug"),
        ("--json data check X", "data check --json X"),
        ("profiles --json show x", "profiles show --json x"),
        ("--set a=train train", "train --set a=train"),
        ("--version", "--version"),
        ("--bogus train", "--bogus train"),
        ("analyze-layers --traps position scale --top 3", "analyze-layers --traps position --traps scale --top 3"),
        ("analyze-layers --top 3 --traps a,b c", "analyze-layers --top 3 --traps a,b --traps c"),
        ("analyze-layers --traps a --traps b c", "analyze-layers --traps a --traps b --traps c"),
        ("analyze-layers --traps=a", "analyze-layers --traps=a"),
        ("analyze-layers --traps", "analyze-layers --traps"),
        ("train --resume", "train --resume latest"),
        ("train --resume --json", "train --resume latest --json"),
        ("train --resume latest", "train --resume latest"),
        ("train --resume runs/x", "train --resume runs/x"),
        ("train --resume=runs/x", "train --resume=runs/x"),
        ("attack --resume lora", "attack --resume latest lora"),
        ("--resume train", "train --resume latest"),
    ],
)
def test_rewriting(typed: str, meant: str) -> None:
    assert normalise(typed.split()) == meant.split()
    assert normalise(meant.split()) == meant.split()


def test_existing_folder_after_resume_is_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "myrun").mkdir()
    assert normalise(["train", "--resume", "myrun"]) == ["train", "--resume", "myrun"]
