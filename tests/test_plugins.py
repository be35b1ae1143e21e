"""Plug-ins: built-in, third-party, broken, duplicated and switched off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli import plugins
from geotrap_cli.errors import GeotrapError, UsageError

SAMPLE = Path(__file__).parent / "plugin_sample"

MakePackage = Callable[..., None]


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePackage:
    """Put a package with one plug-in on the path: its metadata and its module."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, key: str, source: str, group: str = "geotrap.traps", version: str = "0.5") -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{key} = {module}:Plugin\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return make


GOOD = """
    from pydantic import BaseModel, ConfigDict

    class Config(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
        sides: tuple[int, ...] = (1, 2)

    class Plugin:
        key = "{key}"
        summary = "does things"
        Config = Config

        def __init__(self, config):
            self.config = config

        def loss(self, batch, weights=None):
            return batch.opacities.mean(1)

        depth = loss
"""


def _info(key: str) -> plugins.PluginInfo:
    return next(info for info in plugins.list_plugins("geotrap.traps") if info.key == key)


def test_builtins_use_the_public_groups() -> None:
    assert {"position", "scale", "opacity"} <= set(plugins.plugin_keys("geotrap.traps"))
    assert {"lora", "full"} <= set(plugins.plugin_keys("geotrap.attacks"))
    trap = plugins.build_plugin("geotrap.traps", "position", {"epsilon": 1e-4})
    assert trap.key == "position"
    assert trap.config.epsilon == 1e-4


def test_every_registered_plugin_keeps_the_contract() -> None:
    for info in plugins.list_plugins():
        assert info.error is None, info
        assert info.summary
        assert "\n" not in info.summary


def test_third_party_plugin_is_found_with_its_package(make_package: MakePackage) -> None:
    make_package("acme-traps", "fog", GOOD.format(key="fog"))
    assert _info("fog") == plugins.PluginInfo("fog", "geotrap.traps", "acme-traps", "0.5", "does things", None)


def test_lists_of_a_profile_fit_tuples_of_a_strict_config(make_package: MakePackage) -> None:
    make_package("acme-traps", "fog", GOOD.format(key="fog"))
    assert plugins.build_plugin("geotrap.traps", "fog", {"sides": [3, 4]}).config.sides == (3, 4)


def test_unknown_key_names_the_closest() -> None:
    with pytest.raises(UsageError, match=r"unknown trap 'positon'\. Did you mean 'position'\?"):
        plugins.load_plugin("geotrap.traps", "positon")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("Plugin = 3", "is not a class"),
        ("class Plugin:\n    key = 'fog'", "has no `summary`"),
        ("class Plugin:\n    key = 'other'\n    summary = ''", "registered as 'fog'"),
        ("class Plugin:\n    key = 'fog'\n    summary = ''", "has no `Config`"),
        (GOOD.format(key="fog").replace("loss", "lost"), "has no `loss`"),
    ],
)
def test_broken_plugin_is_reported_not_raised(make_package: MakePackage, source: str, reason: str) -> None:
    make_package("acme-traps", "fog", source)
    info = _info("fog")
    assert info.package == "acme-traps"
    assert info.error is not None
    assert reason in info.error
    assert _info("position").error is None
    with pytest.raises(GeotrapError, match="of package acme-traps cannot be loaded"):
        plugins.load_plugin("geotrap.traps", "fog")


def test_a_plugin_that_cannot_be_made_is_named_with_its_package(make_package: MakePackage) -> None:
    make_package("acme-traps", "fog", GOOD.format(key="fog").replace("self.config = config", "config.sights"))
    with pytest.raises(GeotrapError, match="trap 'fog' of package acme-traps cannot be made: AttributeError"):
        plugins.build_plugin("geotrap.traps", "fog", {})


def test_finding_keys_imports_no_plugin(make_package: MakePackage) -> None:
    make_package("acme-traps", "fog", "raise RuntimeError('imported')")
    assert "fog" in plugins.plugin_keys("geotrap.traps")
    assert "acme_traps" not in sys.modules


def test_key_of_two_packages_is_an_error_for_both(make_package: MakePackage) -> None:
    make_package("acme-traps", "position", GOOD.format(key="position"))
    both = [info for info in plugins.list_plugins("geotrap.traps") if info.key == "position"]
    assert {info.package for info in both} == {"acme-traps", "geotrap"}
    assert all(info.error == "registered by several packages: acme-traps, geotrap" for info in both)
    with pytest.raises(GeotrapError, match="registered by several packages: acme-traps, geotrap"):
        plugins.load_plugin("geotrap.traps", "position")


@pytest.mark.parametrize(
    ("choice", "found"),
    [("off", False), ("acme_traps", True), ("Other, ACME.traps", True), ("other", False), ("", False)],
)
def test_variable_chooses_packages(
    make_package: MakePackage, monkeypatch: pytest.MonkeyPatch, choice: str, found: bool
) -> None:
    make_package("acme-traps", "fog", GOOD.format(key="fog"))
    monkeypatch.setenv("GEOTRAP_PLUGINS", choice)
    keys = plugins.plugin_keys("geotrap.traps")
    assert ("fog" in keys) is found
    assert "position" in keys


def test_unknown_group_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match=r"geotrap\.trap'"):
        plugins.plugin_keys("geotrap.trap")


@pytest.fixture(scope="module")
def installed_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample package as pip installs it, offline, in a folder of its own."""
    source = tmp_path_factory.mktemp("source") / "sample"
    shutil.copytree(SAMPLE, source)
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--no-build-isolation", "--target", target, source], check=True)
    return target


# One process for all: every fresh one imports torch again.
SESSION = """
import os
from geotrap_cli.__main__ import main

change = ["profiles", "show", "pos_opacity", "--json", "--set", "traps.brightness.floor=0.25"]
codes = [main(["plugins", "traps", "--json"])]
print("\\0")
codes.append(main([*change, "--set", "attack.methods=head"]))
os.environ["GEOTRAP_PLUGINS"] = "off"
codes.append(main(change))
print("\\0", codes)
"""


@pytest.mark.slow
def test_sample_package_is_listed_usable_and_can_be_switched_off(installed_sample: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(installed_sample)}
    done = subprocess.run(
        [sys.executable, "-c", SESSION], env=env, cwd=installed_sample, capture_output=True, text=True, check=True
    )
    listed, shown, codes = done.stdout.split("\0")
    rows: list[dict[str, Any]] = json.loads(listed)["plugins"]
    sample = next(row for row in rows if row["package"] == "geotrap-sample")
    assert (sample["key"], sample["version"], sample["error"]) == ("brightness", "1.2.3", None)

    profile = json.loads(shown)["profile"]
    assert profile["traps"]["brightness"] == {"weight": 1.0, "weighting": "equal", "floor": 0.25}
    assert profile["attack"]["head"]["bias"] is True

    assert codes.strip() == "[0, 0, 2]"
    assert "unknown trap 'brightness'" in done.stderr


def test_broken_package_is_a_warning_of_the_command(
    make_package: MakePackage, capsys: pytest.CaptureFixture[str]
) -> None:
    from geotrap_cli.__main__ import main

    make_package("acme-traps", "fog", "import no_such_module_anywhere")
    assert main(["plugins", "traps"]) == 0
    output = capsys.readouterr()
    assert "warning: plug-in fog of package acme-traps is broken: ModuleNotFoundError" in output.err
    assert "position" in output.out


def test_packages_are_looked_at_once_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    original = plugins.entry_points

    def counting(*, group: str) -> object:
        looks.append(group)
        return original(group=group)

    monkeypatch.setattr(plugins, "entry_points", counting)
    keys = plugins.plugin_keys("geotrap.traps")
    with plugins.scanned_once():
        assert plugins.plugin_keys("geotrap.traps") == plugins.plugin_keys("geotrap.traps") == keys
        assert plugins.load_plugin("geotrap.attacks", "lora").key == "lora"
    assert looks == ["geotrap.traps", "geotrap.traps", "geotrap.attacks"]
    plugins.plugin_keys("geotrap.traps")
    assert len(looks) == 4
