from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from geotrap_cli.atomic import atomic_path, recover, write_bytes, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text(content)


class TestFiles:
    def test_content_and_parents(self, tmp_path: Path) -> None:
        write_bytes(tmp_path / "a" / "b" / "file", b"\x00\xff")
        assert (tmp_path / "a" / "b" / "file").read_bytes() == b"\x00\xff"
        write_text(tmp_path / "a" / "text", "λ")
        assert (tmp_path / "a" / "text").read_bytes() == "λ".encode()

    def test_permissions_are_those_of_any_new_file(self, tmp_path: Path) -> None:
        write_text(tmp_path / "atomic", "x")
        (tmp_path / "plain").write_text("x")
        modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
        assert len(modes) == 1

    def test_what_the_block_raises_leaves_the_old_file_alone(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        write_text(target, "old")
        with pytest.raises(RuntimeError, match="halfway"), atomic_path(target) as temporary:
            temporary.write_text("half")
            assert target.read_text() == "old"
            raise RuntimeError("halfway")
        assert target.read_text() == "old"
        assert names(tmp_path) == ["file"]

    @pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
    def test_a_full_disk_is_an_os_error(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        write_text(target, "old")
        with pytest.raises(OSError) as caught, atomic_path(target), Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"new")
        assert caught.value.errno == errno.ENOSPC
        assert names(tmp_path) == ["file"]

    def test_an_error_names_the_target_and_not_the_temporary(self, tmp_path: Path) -> None:
        with pytest.raises(OSError) as unnamed, atomic_path(tmp_path / "file"):
            raise OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(OSError) as temporary, atomic_path(tmp_path / "file") as path:
            raise OSError(errno.EACCES, "Permission denied", str(path))
        with pytest.raises(OSError) as other, atomic_path(tmp_path / "file"):
            raise OSError(errno.ENOENT, "No such file or directory", "elsewhere")
        named = [caught.value.filename for caught in (unnamed, temporary, other)]
        assert named == [str(tmp_path / "file"), str(tmp_path / "file"), "elsewhere"]

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
    def test_json_refuses_what_json_lacks(self, tmp_path: Path, value: object) -> None:
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "file.json", value)
        assert names(tmp_path) == []

    def test_json_round_trip(self, tmp_path: Path) -> None:
        value = {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
        write_json(tmp_path / "file.json", value)
        assert json.loads((tmp_path / "file.json").read_text()) == value


class TestFolders:
    def test_a_folder_replaces_a_folder_as_a_whole(self, tmp_path: Path) -> None:
        target = tmp_path / "folder"
        fill(target, "old")
        (target / "gone").write_text("")
        with atomic_path(target) as temporary:
            fill(temporary, "new")
        assert names(target) == ["inner"]
        assert (target / "inner" / "file").read_text() == "new"
        assert names(tmp_path) == ["folder"]

    def test_what_the_block_raises_leaves_the_old_folder_alone(self, tmp_path: Path) -> None:
        target = tmp_path / "folder"
        fill(target, "old")
        with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
            fill(temporary, "new")
            raise KeyboardInterrupt
        assert (target / "inner" / "file").read_text() == "old"
        assert names(tmp_path) == ["folder"]

    def test_files_reach_the_disk_before_the_rename(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        events: list[str] = []
        sync, rename = os.fsync, Path.replace
        monkeypatch.setattr("geotrap_cli.atomic.os.fsync", lambda handle: (events.append("sync"), sync(handle)))
        monkeypatch.setattr(Path, "replace", lambda *paths: (events.append("rename"), rename(*paths)))
        with atomic_path(tmp_path / "folder") as temporary:
            fill(temporary, "new")
        assert events == ["sync", "rename"]


class Killed(BaseException):
    """Stands in for SIGKILL: nothing gets to clean up after it."""


class TestRecovery:
    @pytest.fixture
    def killed_between_the_renames(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        target = tmp_path / "folder"
        fill(target, "old")
        renames: list[Path] = []
        rename = Path.rename

        def killing(self: Path, to: Path) -> Path:
            if renames:
                raise Killed
            renames.append(self)
            return rename(self, to)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", killing)
            patch.setattr("geotrap_cli.atomic._remove", lambda _: None)
            with pytest.raises(Killed), atomic_path(target) as temporary:
                fill(temporary, "new")
        assert not target.exists()
        return target

    def test_the_old_folder_comes_back(self, killed_between_the_renames: Path) -> None:
        target = killed_between_the_renames
        recover(target)
        assert (target / "inner" / "file").read_text() == "old"
        assert names(target.parent) == ["folder"]

    def test_left_overs_go_and_the_whole_folder_stays(self, tmp_path: Path) -> None:
        fill(tmp_path / "folder", "new")
        fill(tmp_path / ".folder.0a1b2c3d.old", "old")
        fill(tmp_path / ".folder.99999999.tmp", "half")
        fill(tmp_path / ".folder2.99999999.tmp", "of another folder")
        recover(tmp_path / "folder")
        assert (tmp_path / "folder" / "inner" / "file").read_text() == "new"
        assert names(tmp_path) == [".folder2.99999999.tmp", "folder"]

    def test_nothing_to_do(self, tmp_path: Path) -> None:
        recover(tmp_path / "missing" / "folder")
        recover(tmp_path / "folder")
        assert names(tmp_path) == []
