"""The folders that a model layer brings: `model.json`, the model file and `samples.json`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from .errors import LoadError
from .signature import Signature, TensorSpec

FORMAT = 1
NAME = "model.json"
SAMPLES = "samples.json"
DEFAULT = "default-version"
_KEYS = frozenset({"format", "name", "version", "model_format", "file", "digest", "inputs", "outputs"})
_TENSOR_KEYS = frozenset({"name", "datatype", "shape"})
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """What `model.json` says, and where it stands."""

    path: Path
    name: str
    version: str
    model_format: str
    file: Path
    digest: str
    signature: Signature

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """The model in a folder.

        Raises:
            LoadError: `model.json` is missing or not what its format says.
        """
        what = path / NAME
        fields = _object(what)
        if fields.get("format") != FORMAT:
            raise LoadError(f"{what}: format {fields.get('format')!r} is not known; this server reads {FORMAT}")
        if fields.keys() != _KEYS:
            key = sorted(fields.keys() ^ _KEYS)[0]
            raise LoadError(f"{what}: {key!r} is {'missing' if key in _KEYS else 'no key of this format'}")
        texts: dict[str, str] = {}
        for key in ("name", "version", "model_format", "file", "digest"):
            if type(fields[key]) is not str or not fields[key]:
                raise LoadError(f"{what}: {key} must be a text")
            texts[key] = fields[key]
        if not _DIGEST.fullmatch(texts["digest"]):
            raise LoadError(f"{what}: digest {texts['digest']!r} is not sha256:<64 hex>")
        if texts["file"] in (".", "..") or "/" in texts["file"]:
            raise LoadError(f"{what}: file {texts['file']!r} must be a name in the model's folder")
        signature = Signature(
            inputs=_specs(what, "inputs", fields["inputs"]), outputs=_specs(what, "outputs", fields["outputs"])
        )
        return cls(
            path=path,
            name=texts["name"],
            version=texts["version"],
            model_format=texts["model_format"],
            file=path / texts["file"],
            digest=texts["digest"],
            signature=signature,
        )

    def verify(self) -> None:
        """Checks the model file against its digest.

        Raises:
            LoadError: the file is missing or another.
        """
        try:
            with self.file.open("rb") as stream:
                found = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise LoadError(f"{self.file}: cannot be read: {error.strerror}") from error
        if found != self.digest:
            raise LoadError(f"{self.file}: has digest {found}, {NAME} says {self.digest}")

    def samples(self) -> bytes | None:
        """The golden samples' document, None where the model came without.

        Raises:
            LoadError: it is there and cannot be read.
        """
        try:
            return (self.path / SAMPLES).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LoadError(f"{self.path / SAMPLES}: cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersions:
    """The folders of one model.

    Attributes:
        default: the version that is asked where none is named.
        others: the further ones, by version.
    """

    default: ModelFolder
    others: tuple[ModelFolder, ...] = ()

    @property
    def every(self) -> tuple[ModelFolder, ...]:
        """The default version first."""
        return (self.default, *self.others)


def find(directory: Path) -> tuple[ModelVersions, ...]:
    """The models of a directory, by name.

    A model is a folder with a `model.json`, or a folder of such folders, one for each version; then the file
    `default-version` beside them names the default, and without it the highest version is the default. The directory
    may also be a model itself.

    Raises:
        LoadError: there is none, one is broken, or two have one name.
    """
    itself = _versions(directory) if (directory / NAME).is_file() or (directory / DEFAULT).is_file() else None
    if itself is not None:
        return (itself,)
    models: dict[str, ModelVersions] = {}
    for path in _folders(directory):
        found = _versions(path)
        if found is None:
            continue
        name = found.default.name
        if name in models:
            raise LoadError(f"{path}: model {name!r} is in {models[name].default.path} as well")
        models[name] = found
    if not models:
        raise LoadError(f"{directory}: holds no folder with a {NAME}")
    return tuple(models[name] for name in sorted(models))


def _versions(path: Path) -> ModelVersions | None:
    if (path / NAME).is_file():
        return ModelVersions(default=ModelFolder.read(path))
    folders: dict[str, ModelFolder] = {}
    for inner in _folders(path):
        if not (inner / NAME).is_file():
            continue
        folder = ModelFolder.read(inner)
        if folder.version in folders:
            raise LoadError(f"{inner}: version {folder.version!r} is in {folders[folder.version].path} as well")
        folders[folder.version] = folder
    if not folders:
        return None
    names = sorted({folder.name for folder in folders.values()})
    if len(names) > 1:
        raise LoadError(f"{path}: holds the models {', '.join(map(repr, names))}; versions must have one name")
    ordered = sorted(folders, key=_order)
    default = _default(path) or ordered[-1]
    if default not in folders:
        raise LoadError(f"{path / DEFAULT}: names version {default!r}, which is not there")
    return ModelVersions(default=folders.pop(default), others=tuple(folders[v] for v in ordered if v in folders))


def _default(path: Path) -> str | None:
    try:
        return (path / DEFAULT).read_text().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"{path / DEFAULT}: cannot be read: {error}") from error


def _folders(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir())
    except OSError as error:
        raise LoadError(f"{directory}: cannot be read: {error.strerror}") from error


def _order(version: str) -> list[tuple[int, int, str]]:
    """Numbers as numbers: 1.10 comes after 1.9. At one place a word comes before every number: 1.0-rc before 1.0.1."""
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"[.+-]", version)]


def _object(path: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise LoadError(f"{path}: is not JSON: {error}") from error
    if type(content) is not dict:
        raise LoadError(f"{path}: is not a JSON object")
    return content


def _specs(what: Path, key: str, items: object) -> tuple[TensorSpec, ...]:
    if type(items) is not list or not items:
        raise LoadError(f"{what}: {key} must be a list with at least one tensor")
    specs = []
    for item in items:
        if type(item) is not dict or item.keys() != _TENSOR_KEYS:
            raise LoadError(f"{what}: each of {key} must have {', '.join(sorted(_TENSOR_KEYS))}")
        name, datatype, shape = item["name"], item["datatype"], item["shape"]
        if type(name) is not str or type(datatype) is not str or type(shape) is not list:
            raise LoadError(f"{what}: {key} hold a tensor whose name, datatype or shape has the wrong type")
        if any(type(size) is not int or size < -1 for size in shape):
            raise LoadError(f"{what}: {key} {name!r} has shape {shape}; dimensions are whole numbers from 0, or -1")
        specs.append(TensorSpec.of(name, datatype, shape))
    if len({spec.name for spec in specs}) != len(specs):
        raise LoadError(f"{what}: {key} hold a name twice")
    return tuple(specs)
