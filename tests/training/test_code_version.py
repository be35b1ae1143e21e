"""The version of the code changes with every source that takes part in a result."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.attacks import Attack
from geotrap_cli.plugins import load_plugin
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.training import code_version

Load = Callable[..., LoadedProfile]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Callable[[str], type[Any]]]:
    """Writes a plug-in of one file, and loads it."""

    def write(text: str) -> type[Any]:
        path = tmp_path / "own_plugin.py"
        path.write_text(f"class Own:\n    {text}\n")
        spec = importlib.util.spec_from_file_location("own_plugin", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # Where a class is from is looked up by the name of its module.
        sys.modules["own_plugin"] = module
        code_version._digest_sources.cache_clear()
        found: type[Any] = module.Own
        return found

    yield write
    sys.modules.pop("own_plugin", None)
    code_version._digest_sources.cache_clear()


def test_other_sources_are_another_version(written: Callable[[str], type[Any]]) -> None:
    assert len({code_version.code_version(written(text)) for text in ("a = 1", "a = 2", "a = 2")}) == 2


@pytest.mark.parametrize("group", ["geotrap.traps", "geotrap.models", "geotrap.datasets"])
def test_every_plugin_that_takes_part_counts(
    load_mini: Load, written: Callable[[str], type[Any]], monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    profile = load_mini().profile
    assert profile.traps
    found = set()
    for text in ("a = 1", "a = 2"):
        own = written(text)
        monkeypatch.setattr(
            code_version, "load_plugin", lambda kind, key, own=own: own if kind == group else load_plugin(kind, key)
        )
        found.add(code_version.defense_code(profile, Attack))
    assert len(found) == 2
