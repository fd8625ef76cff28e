"""What a runtime is next to an older one, and to the models that would be put on it: pure, it reads and writes nothing.

Rules for a version, judged for each architecture:

1. `interface` is what models rely on: it never falls, and rises when models built for the old one would break. Two
   such breaks can be seen in what a runtime is made of: another scikit-learn, since a pickle is served by the version
   that wrote it alone; and gRPC that was there and is gone. Others only the golden samples can show.
2. A version is given once. Another image or another interface needs a higher one: devices tag a runtime by its version,
   a signature names it, and models ask for a lowest one. `1.0` and `1.0.0` are one version to them.
3. A version never falls, even for the same image.
4. The same image under a higher version is no harm: its digest is the same, so models that list it go on.

Rules for a model are those of the device, `snapedge_hooks.runtimetrust`. A model of another runtime or architecture, or
one that brings its own runtime, is not concerned, and the verdict says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from snapedge_hooks import runtimetrust
from snapedge_hooks.images import RuntimeImage
from snapedge_hooks.payload import Payload
from snapedge_hooks.runtimeterms import RuntimeTerms, version_order
from snapedge_hooks.runtimetrust import Trust
from snapedge_hooks.vocabulary import Architecture

from . import modelfile

_GRPC_PACKAGE = "grpcio"
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """A runtime for one architecture.

    Attributes:
        where: it was found, for people: a snap's file or a folder.
        image: what runtime.json says.
        packages: the version of everything in it, by name.
        signatures: the envelopes that come with it.
    """

    where: str
    image: RuntimeImage
    packages: Mapping[str, str]
    signatures: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSnap:
    """A model's snap.

    Attributes:
        file: the snap's name.
        payload: what it asks for.
        brings_runtime: whether a runtime is inside.
    """

    file: str
    payload: Payload
    brings_runtime: bool


class Outcome(Enum):
    """What comes of a comparison."""

    GOOD = "good"
    SAME = "same"
    REFUSED = "refused"
    UNCONCERNED = "unconcerned"

    def __str__(self) -> str:
        """The word people and machines read."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionVerdict:
    """A runtime next to an older one, for one architecture.

    Attributes:
        old: where the older one was found.
        outcome: same where it is the same image under the same version; good where it may follow the older one.
        reason: why, for people.
        resolution: what to write into runtime.yaml; empty where nothing is to be done.
        changes: what is other than before, a line each.
    """

    architecture: Architecture
    old: str
    outcome: Outcome
    reason: str
    resolution: str = ""
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVerdict:
    """A model next to a runtime.

    Attributes:
        file: the model's snap.
        outcome: good where devices put the model on this runtime; refused where it stays on the one it has.
        reason: why, for people.
        resolution: what to do; empty where nothing is to be done.
    """

    file: str
    outcome: Outcome
    reason: str
    resolution: str = ""


def judge_version(old: RuntimeFacts, new: RuntimeFacts) -> VersionVerdict:
    """Whether a runtime may follow an older one of its name and architecture, by the rules above."""
    before, after = old.image, new.image
    is_same = before.digest == after.digest
    lowers = after.interface < before.interface
    breaks = tuple(_breaks(old.packages, new.packages)) if after.interface == before.interface else ()
    was, now = version_order(before.version), version_order(after.version)
    higher = after.version if now > was else next_version(before.version, breaks=bool(breaks))
    resolution = f"write version: {higher}"
    if lowers:
        outcome, reason = Outcome.REFUSED, f"interface fell from {before.interface} to {after.interface}"
        resolution = f"write interface: {before.interface} and version: {higher}"
    elif breaks:
        outcome, reason = Outcome.REFUSED, f"breaks models of interface {before.interface}: {'; '.join(breaks)}"
        resolution = f"write interface: {before.interface + 1} and version: {higher}"
    elif now < was:
        outcome, reason = Outcome.REFUSED, f"version fell from {before.version} to {after.version}"
    elif is_same and before.interface == after.interface:
        outcome = Outcome.SAME if now == was else Outcome.GOOD
        reason = "the same image" + ("" if now == was else f" under a higher version than {before.version}")
    elif now == was:
        what = "another image" if not is_same else f"interface {after.interface} in place of {before.interface}"
        outcome, reason = Outcome.REFUSED, f"version {before.version} again, with {what}"
    else:
        outcome, reason = Outcome.GOOD, f"raised from {before.version}"
        if after.interface != before.interface:
            reason += f", and interface from {before.interface}: models built for that one keep the runtime they have"
    return VersionVerdict(
        architecture=after.architecture,
        old=old.where,
        outcome=outcome,
        reason=reason,
        resolution=resolution if outcome is Outcome.REFUSED else "",
        changes=() if is_same else tuple(_changes(old, new)),
    )


def judge_model(runtimes: Mapping[Architecture, RuntimeFacts], model: ModelSnap) -> ModelVerdict:
    """Whether devices would put a model on a runtime, as they would decide it.

    Args:
        runtimes: one version of one runtime, by architecture; at least one.
        model: of whatever runtime and architecture.
    """
    needs, payload = model.payload.runtime, model.payload
    name = next(iter(runtimes.values())).image.name
    if model.brings_runtime:
        return ModelVerdict(file=model.file, outcome=Outcome.UNCONCERNED, reason="brings its own runtime")
    if needs.name != name:
        return ModelVerdict(file=model.file, outcome=Outcome.UNCONCERNED, reason=f"is put on runtime {needs.name}")
    found = runtimes.get(payload.architecture)
    if found is None:
        reason = f"is for {payload.architecture}, and no such runtime was named"
        return ModelVerdict(file=model.file, outcome=Outcome.UNCONCERNED, reason=reason)
    judged = runtimetrust.judge(needs, payload.architecture, found.image.digest, found.signatures)
    if isinstance(judged, Trust):
        reason = "lists it" if judged.signer is None else f"lists the key {judged.signer.short} that signed it"
        return ModelVerdict(file=model.file, outcome=Outcome.GOOD, reason=reason)
    terms = RuntimeTerms(name=needs.name, interface=needs.interface, minimum=needs.minimum)
    misfit = runtimetrust.offer_misfit(needs, found.image.interface, found.image.version)
    if misfit is not None:
        resolution = "build the model for it"
    else:
        resolution = "build the model's snap again with this runtime"
        resolution += ", or sign it with a key that the model lists" if needs.keys else ""
    return ModelVerdict(
        file=model.file,
        outcome=Outcome.REFUSED,
        reason=f"keeps the runtime it has ({terms}): this one {misfit or judged.problem}",
        resolution=resolution,
    )


def next_version(version: str, *, breaks: bool) -> str:
    """The version that comes after one: its last number raised, or its first, where models would break.

    The numbers behind the one that is raised become 0; a version without a number gets one.
    """
    numbers = list(_NUMBER.finditer(version))
    if not numbers:
        return f"{version}.1"
    raised = numbers[0] if breaks else numbers[-1]
    head, tail = version[: raised.start()], version[raised.end() :]
    return f"{head}{int(raised[0]) + 1}{_NUMBER.sub('0', tail)}"


def _breaks(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    pickles = modelfile.SKLEARN_PACKAGE
    if pickles in old and new.get(pickles) != old[pickles]:
        here = new.get(pickles, "none")
        yield f"a pickle is served by the {pickles} that wrote it, {old[pickles]}, and here is {here}"
    if _GRPC_PACKAGE in old and _GRPC_PACKAGE not in new:
        yield f"gRPC is gone ({_GRPC_PACKAGE}), which models may ask for"


def _changes(old: RuntimeFacts, new: RuntimeFacts) -> Iterator[str]:
    for name in sorted(old.packages.keys() | new.packages.keys()):
        was, now = old.packages.get(name, "none"), new.packages.get(name, "none")
        if was != now:
            yield f"{name} {was} -> {now}"
    before = {layer.name: layer.digest for layer in old.image.layers}
    after = {layer.name: layer.digest for layer in new.image.layers}
    layers = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    if layers:
        yield f"layers {', '.join(layers)}"
    else:
        yield "the image's configuration"
