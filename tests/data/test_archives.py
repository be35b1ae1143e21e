"""Archives as folders: the same files, read in place; what could escape or is damaged is refused."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.data.files import ArchivePath, DataPath, file_size, open_folder, read_bytes, relative_name, subfolders
from geotrap_cli.errors import UsageError

FILES = {"a/one.txt": b"1", "a/deep/two.bin": bytes(range(256)) * 40, "b/three.txt": b"", "four": b"4" * 1000}
NAMES = st.text(alphabet="abc .-_é", min_size=1, max_size=6).filter(lambda name: name.strip(". ") == name and name)


def packed(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    mode = "w:gz" if path.suffix == ".gz" else "w"
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def listing(folder: DataPath, prefix: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for child in folder.iterdir():
        name = f"{prefix}{child.name}"
        found |= {name: child.read_bytes()} if child.is_file() else listing(child, f"{name}/")
    return found


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
@settings(max_examples=20, deadline=None)
@given(
    files=st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=600), max_size=6)
)
def test_an_archive_holds_what_was_packed(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, files: dict[str, bytes]
) -> None:
    # No name may be both a file and a folder.
    files = {name: data for name, data in files.items() if not any(other.startswith(f"{name}/") for other in files)}
    path = packed(tmp_path_factory.mktemp("packed") / f"set{suffix}", files)
    assert listing(open_folder(path)) == {
        name.removeprefix("set/") if all(n.startswith("set/") for n in files) else name: data
        for name, data in files.items()
    }


@pytest.mark.parametrize("name", ["x.tar", "x.zip"])
def test_paths_in_an_archive_behave_like_paths_on_disk(tmp_path: Path, name: str) -> None:
    top = open_folder(packed(tmp_path / name, FILES))
    two = top / "a" / "./deep/two.bin"
    assert isinstance(two, ArchivePath)
    assert (two.name, two.suffix, two.parent.name) == ("two.bin", ".bin", "deep")
    assert two.is_file() and not two.is_dir() and two.parent.is_dir() and not (top / "absent").exists()
    assert str(two) == str(tmp_path / name / "a/deep/two.bin")
    assert two.read_bytes() == FILES["a/deep/two.bin"] and file_size(two) == 256 * 40
    assert relative_name(two, top) == "a/deep/two.bin"
    assert (two.parent / "../one.txt").read_bytes() == b"1"
    assert sorted(subfolders(top)) == ["a", "b"]


@pytest.mark.parametrize("name", ["x.tar", "x.zip"])
def test_nothing_outside_can_be_reached(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s")
    top = open_folder(packed(tmp_path / name, FILES))
    for outside in ("../secret", "a/../../secret", str(tmp_path / "secret")):
        assert not (top / outside).exists()
        with pytest.raises(FileNotFoundError):
            (top / outside).read_bytes()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "C:/x", "a\\..\\x"])
@pytest.mark.parametrize("archive", ["x.tar", "x.zip"])
def test_members_that_point_outside_are_refused(tmp_path: Path, archive: str, name: str) -> None:
    with pytest.raises(UsageError, match="points outside the archive"):
        open_folder(packed(tmp_path / archive, {"fine": b"", name: b"x"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/hostname"
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(member)
    with pytest.raises(UsageError, match="member 'link' is no plain file"):
        open_folder(tmp_path / "x.tar")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "/etc/hostname")
    with pytest.raises(UsageError, match="no plain file"):
        open_folder(tmp_path / "x.zip")


def test_a_tar_that_is_compressed_says_what_to_do(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar.gz", FILES)
    with pytest.raises(UsageError, match=r"compressed as a whole.*gunzip"):
        open_folder(path)
    # Under another name it is still no tar that can be read in place.
    path.rename(tmp_path / "x.tar")
    with pytest.raises(UsageError, match="damaged archive"):
        open_folder(tmp_path / "x.tar")


@pytest.mark.parametrize("name", ["x.tar", "x.zip"])
def test_a_cut_archive_is_named(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / name, FILES)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2 if name == "x.zip" else 2000])
    with pytest.raises(UsageError, match=rf"{name}.*(damaged|cut short)"):
        for file in listing_paths(open_folder(path)):
            read_bytes(file)


def listing_paths(folder: DataPath) -> list[DataPath]:
    paths: list[DataPath] = []
    for child in folder.iterdir():
        paths += [child] if child.is_file() else listing_paths(child)
    return paths


def test_a_damaged_member_of_a_zip_is_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", FILES)
    content = bytearray(path.read_bytes())
    start = content.index(b"two.bin") + len(b"two.bin")
    content[start + 4 : start + 40] = bytes(36)
    path.write_bytes(bytes(content))
    with pytest.raises(UsageError, match=r"two\.bin: cannot be read"):
        read_bytes(open_folder(path) / "a/deep/two.bin")


@pytest.mark.parametrize("name", ["x.tar", "x.zip"])
def test_threads_and_copies_read_the_same(tmp_path: Path, name: str) -> None:
    top = open_folder(packed(tmp_path / name, FILES))
    files = [top / inner for inner in FILES] * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda file: file.read_bytes(), files)) == list(FILES.values()) * 20
    copy = pickle.loads(pickle.dumps(top))
    assert listing(copy) == listing(top)


def test_an_archive_beside_folders_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "knife" / "k1").mkdir(parents=True)
    packed(tmp_path / "axe.tar", {"axe/a1/x": b"", "axe/a2/x": b""})
    packed(tmp_path / "saw.zip", {"s1/x": b"", "s2/x": b""})
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("")
    found = subfolders(tmp_path)
    assert {name: sorted(subfolders(folder)) for name, folder in found.items()} == {
        "axe": ["a1", "a2"],
        "knife": ["k1"],
        "saw": ["s1", "s2"],
    }
    packed(tmp_path / "knife.zip", {"k1/x": b""})
    with pytest.raises(UsageError, match="'knife' is there twice"):
        subfolders(tmp_path)


def test_what_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        open_folder(tmp_path / "absent")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UsageError, match="neither a folder nor"):
        open_folder(tmp_path / "a.txt")
    with pytest.raises(UsageError, match="lies outside the data set"):
        relative_name(tmp_path / "a.txt", tmp_path / "b")
