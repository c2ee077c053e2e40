import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from model.data.emoji.packages import PACKAGES, Package, fetch, read_json
from model.data.errors import PackageAltered, PackageUnavailable


def write_archive(path: Path, members: dict[str, bytes]) -> Package:
    with tarfile.open(path, "w:gz") as bundle:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            bundle.addfile(entry, io.BytesIO(content))
    return Package("@scope/icons", "1.0.0", hashlib.sha256(path.read_bytes()).hexdigest())


def install_npm(folder: Path, script: str) -> None:
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)


def test_a_package_names_its_archive_as_npm_does() -> None:
    assert [package.archive_name for package in PACKAGES] == [
        "iconify-json-noto-1.2.9.tgz",
        "iconify-json-fluent-emoji-flat-1.2.6.tgz",
        "iconify-json-fluent-emoji-1.2.7.tgz",
        "emoji-datasource-google-16.0.0.tgz",
    ]


def test_an_archive_that_is_there_is_used_without_npm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    archive = tmp_path / "scope-icons-1.0.0.tgz"
    package = write_archive(archive, {"icons.json": b"{}"})
    assert fetch(package, tmp_path) == archive


def test_a_missing_archive_is_packed_by_npm_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_archive(tmp_path / "registry.tgz", {"icons.json": b"{}"})
    install_npm(
        tmp_path / "bin",
        f'[ "$1 $2" = "pack @scope/icons@1.0.0" ] || exit 9\n'
        f'/bin/cp {tmp_path}/registry.tgz "$5/scope-icons-1.0.0.tgz"',
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    archive = fetch(package, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [archive.name]


def test_another_archive_from_npm_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_archive(tmp_path / "registry.tgz", {"icons.json": b"{}"})
    install_npm(tmp_path / "bin", 'echo forged > "$5/scope-icons-1.0.0.tgz"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(PackageAltered, match=f"expected {package.sha256}"):
        fetch(package, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_npms_own_last_word_is_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_npm(tmp_path / "bin", 'echo "no such package" >&2; exit 3')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(PackageUnavailable, match="exited with 3: no such package"):
        fetch(PACKAGES[0], tmp_path / "cache")


def test_a_machine_without_npm_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PackageUnavailable, match="npm is not on the PATH"):
        fetch(PACKAGES[0], tmp_path)


def test_an_altered_archive_in_the_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / PACKAGES[0].archive_name).write_bytes(b"not it")
    with pytest.raises(PackageAltered, match="delete it to fetch anew"):
        fetch(PACKAGES[0], tmp_path)


def test_a_member_is_read_without_unpacking(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.tgz", {"icons.json": b'{"icons": {}}'})
    assert read_json(tmp_path / "a.tgz", "icons.json", dict) == {"icons": {}}
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"[]", "chars.json is no JSON dict"), (b"{", "chars.json: Expecting")],
)
def test_a_member_of_another_kind_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    write_archive(tmp_path / "a.tgz", {"chars.json": content})
    with pytest.raises(PackageAltered, match=reason):
        read_json(tmp_path / "a.tgz", "chars.json", dict)


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.tgz", {})
    with pytest.raises(PackageAltered, match=r"chars\.json"):
        read_json(tmp_path / "a.tgz", "chars.json", dict)
