"""``[data.KEY]`` and ``[attack.data]``: what a reader takes is passed on, and what would not act is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.profile import dump_toml, load_profile
from geotrap_cli.training.workbench import open_table

OMNI = """
[data]
kind = "omniobject3d_100"
root = "omni"
target = ["axe"]
[data.omniobject3d_100]
without_alpha = "black"
categories = "lists/categories.json"
[attack.data]
kind = "blender"
root = "renders"
target = ["sword"]
[attack.data.blender]
cache_mib = 7
"""


def loaded(folder: Path, text: str, *overrides: str) -> Any:
    (folder / "p.toml").write_text(text)
    return load_profile(folder / "p.toml", overrides, env={})


def test_settings_of_readers_are_read_with_paths_from_the_file(tmp_path: Path) -> None:
    profile = loaded(tmp_path, OMNI).profile
    assert profile.data.options() == {
        "without_alpha": "black",
        "categories": str(tmp_path / "lists" / "categories.json"),
    }
    assert profile.attack.data.root == tmp_path / "renders"
    assert profile.attack.data.options() == {"cache_mib": 7}
    assert profile.attack.data.target == ("sword",)


def test_the_resolved_profile_loads_back(tmp_path: Path) -> None:
    first = loaded(tmp_path, OMNI)
    (tmp_path / "elsewhere").mkdir()
    assert loaded(tmp_path / "elsewhere", dump_toml(first.profile, first.origins)).profile == first.profile


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.omniobject3d_100.without_alfa=black", r"did you mean 'data\.omniobject3d_100\.without_alpha'"),
        ("data.omniobject3d_100.without_alpha=maybe", r"data\.omniobject3d_100\.without_alpha"),
        ("data.omniobject3d_100.root=x", r"data\.omniobject3d_100\.root: unknown key"),
        ("data.blender.cache_mib=1", r"data\.blender: data\.kind is 'omniobject3d_100'; remove it"),
        ("data.tarjet=axe", r"data\.tarjet: unknown key; did you mean 'data\.target'"),
        ("data.omniobject3d_100=3", "expects a table with the settings of this reader"),
        ("attack.data.kind=blonder", r"attack\.data\.kind: unknown data set 'blonder'"),
        ("attack.data.objects_per_category=3", r"attack\.data\.objects_per_category: data set 'blender' does not read"),
        ("attack.data.benign=food", r"attack\.data\.benign: unknown key"),
    ],
)
def test_what_would_not_act_is_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        loaded(tmp_path, OMNI, override)


def test_the_attackers_data_set_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"attack\.data\.root: data set 'blender' needs it"):
        loaded(tmp_path, OMNI.replace('root = "renders"\n', ""))


def test_the_settings_reach_the_reader(tmp_path: Path) -> None:
    profile = loaded(tmp_path, OMNI).profile
    with pytest.raises(UsageError, match="omni: no such folder"):
        open_table(profile.data, 64)
