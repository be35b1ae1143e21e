"""What is installed: the packages listed by hand are those on disk, and the wheel holds what a user needs."""

from __future__ import annotations

import fnmatch
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tomli

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
SOURCES = {"geotrap_cli": "geotrap_cli", "plugins": "", "profiles": "geotrap_cli.shipped_profiles"}


def _packages_on_disk() -> set[str]:
    """Every folder with an ``__init__.py`` in the three source folders, under the name it is installed as."""
    found = set()
    for folder, installed in SOURCES.items():
        for file in (ROOT / folder).rglob("__init__.py"):
            parts = file.parent.relative_to(ROOT / folder).parts
            found.add(".".join(([installed] if installed else []) + list(parts)))
    return found - {""}


def test_listed_packages_are_those_on_disk() -> None:
    assert set(SETUPTOOLS["packages"]) == _packages_on_disk()


def test_every_module_lies_in_a_package() -> None:
    for folder in ("geotrap_cli", "plugins"):
        for file in (ROOT / folder).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), file


def test_package_folders_follow_the_mapping() -> None:
    folders = SETUPTOOLS["package-dir"]
    for package in SETUPTOOLS["packages"]:
        known = next(name for name in sorted(folders, key=len, reverse=True) if f"{package}.".startswith(f"{name}."))
        path = ROOT / folders[known] / package.removeprefix(known).strip(".").replace(".", "/")
        assert (path / "__init__.py").is_file(), package


def test_entry_points_name_files_that_exist() -> None:
    folders = SETUPTOOLS["package-dir"]
    for group, entries in PROJECT["project"]["entry-points"].items():
        assert group.startswith("geotrap.")
        for key, target in entries.items():
            module, _, attribute = target.partition(":")
            top, _, rest = module.partition(".")
            file = ROOT / folders[top] / f"{rest.replace('.', '/')}.py"
            assert f"class {attribute}" in file.read_text(encoding="utf-8"), f"{group}: {key}"


def test_file_name_is_the_key_of_a_built_in_method() -> None:
    for group in ("geotrap.traps", "geotrap.attacks"):
        for key, target in PROJECT["project"]["entry-points"][group].items():
            assert target.partition(":")[0].rpartition(".")[2] == key


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built offline from a copy without build leftovers."""
    source = tmp_path_factory.mktemp("source") / "geotrap"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    for folder in (*SOURCES, "tests"):
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    target = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", target, source], check=True)
    (file,) = target.glob("geotrap-*.whl")
    return zipfile.ZipFile(file)


@pytest.mark.slow
class TestWheel:
    def test_top_level_names(self, wheel: zipfile.ZipFile) -> None:
        names = {name.partition("/")[0] for name in wheel.namelist()}
        plugin_packages = {folder.name for folder in (ROOT / "plugins").iterdir() if (folder / "__init__.py").is_file()}
        assert {name for name in names if not name.endswith(".dist-info")} == {"geotrap_cli"} | plugin_packages

    def test_every_profile_is_in_it(self, wheel: zipfile.ZipFile) -> None:
        inside = {Path(name).name for name in wheel.namelist() if name.startswith("geotrap_cli/shipped_profiles/")}
        assert inside - {"__init__.py"} == {file.name for file in (ROOT / "profiles").glob("*.toml")}

    def test_every_module_is_in_it(self, wheel: zipfile.ZipFile) -> None:
        inside = set(wheel.namelist())
        for file in (ROOT / "geotrap_cli").rglob("*.py"):
            assert file.relative_to(ROOT).as_posix() in inside
        for file in (ROOT / "plugins").rglob("*.py"):
            assert file.relative_to(ROOT / "plugins").as_posix() in inside

    def test_every_weight_file_is_in_it(self, wheel: zipfile.ZipFile) -> None:
        weights = ROOT / "geotrap_cli" / "weights"
        wanted = {
            file.relative_to(ROOT).as_posix()
            for file in weights.rglob("*")
            if file.is_file() and file.suffix in (".json", ".safetensors", ".md")
        }
        assert wanted <= set(wheel.namelist())
        patterns = SETUPTOOLS["package-data"]["geotrap_cli.weights"]
        for name in ("nano/config.json", "nano/diffusion_pytorch_model.safetensors", "nano/README.md"):
            assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name

    def test_entry_points_licence_and_typing_mark(self, wheel: zipfile.ZipFile) -> None:
        info = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")).rpartition("/")[0]
        text = wheel.read(f"{info}/entry_points.txt").decode()
        assert "geotrap = geotrap_cli.__main__:main" in text
        for group, entries in PROJECT["project"]["entry-points"].items():
            assert f"[{group}]" in text
            assert all(f"{key} = {target}" in text for key, target in entries.items())
        assert f"{info}/licenses/LICENSE" in wheel.namelist()
        assert "geotrap_cli/py.typed" in wheel.namelist()

    def test_it_works_without_the_checkout(self, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
        wheel.extractall(tmp_path / "site")
        # -S and -I leave out the editable install; the dependencies come from the environment's own folder.
        dependencies = [path for path in sys.path if path.endswith("site-packages")]
        code = (
            f"import sys; sys.path[:0] = [{str(tmp_path / 'site')!r}, *{dependencies!r}]\n"
            "import geotrap_cli; from geotrap_cli.__main__ import main\n"
            "assert 'site' in geotrap_cli.__file__.split('/'), geotrap_cli.__file__\n"
            "sys.exit(main(['profiles', 'list', '--json']) or main(['profiles', 'show', 'pos_scale']))"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "pos_opacity" in done.stdout
        assert "[traps.scale]" in done.stdout
