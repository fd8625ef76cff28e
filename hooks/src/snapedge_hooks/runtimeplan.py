"""What a runtime snap must do so that the models of its device find the runtime, and old ones go. Pure.

Rules:

1. What the registry has is not sent again; the manifest comes last, so that a tag never names what is not whole.
2. A signature comes before the tags that make models look for it.
3. A runtime that this snap brought before goes when no model is served on it or would go back to it, and not before a
   grace period since it was the newest or was last seen in use. While the cluster cannot be asked, nothing goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import referrers
from .convergence import PRUNE_AFTER, ActionKind, ConvergeAction, ConvergePlan
from .images import RuntimeImage
from .runtimeobservation import RuntimeObserved
from .situations import ShortageError
from .state import PushedImage
from .vocabulary import Digest


def plan_runtime(
    runtime: RuntimeImage, signature: bytes | None, observed: RuntimeObserved | ShortageError
) -> ConvergePlan:
    """The steps that bring a runtime into the registry, for the models that share it, and take old ones away.

    Args:
        runtime: what the snap brings.
        signature: the envelope that it brings with it, or None.
        observed: what is there.
    """
    if isinstance(observed, ShortageError):
        action = ConvergeAction(kind=ActionKind.PUSH_MANIFEST, reason="the registry is not at hand", skip=True)
        return ConvergePlan(actions=(action,), obstacle=observed)
    config = runtime.config_bytes()
    steps = [(ActionKind.PUSH_LAYER, layer.digest, layer.size) for layer in runtime.layers]
    steps.append((ActionKind.PUSH_CONFIG, Digest.of(config), len(config)))
    blobs = [
        ConvergeAction(
            kind=kind,
            reason="the repository has it" if digest in observed.blobs else "the repository lacks it",
            skip=digest in observed.blobs,
            digest=digest,
            size=size,
        )
        for kind, digest, size in steps
    ]
    pushed_again = any(not action.skip for action in blobs)
    prunable = _prunable(runtime, observed)
    return ConvergePlan(
        actions=(
            *blobs,
            _sign(runtime, signature, observed),
            _tag(runtime, observed, pushed_again=pushed_again),
            _prune(runtime, observed, prunable),
        ),
        prunable=prunable,
    )


def outlived(runtime: RuntimeImage, pushed: Sequence[PushedImage], now: float) -> tuple[PushedImage, ...]:
    """The runtimes whose grace period is over: whether models use them is to be asked."""
    # A time far ahead was told by a clock that was wrong; waiting for it to come would keep the runtime for years.
    return tuple(item for item in pushed if item.digest != runtime.digest and abs(now - item.at) >= PRUNE_AFTER)


def seen_in_use(pushed: Sequence[PushedImage], used: frozenset[Digest], now: float) -> tuple[PushedImage, ...]:
    """What this snap brought, the grace period of what is in use starting now."""
    return tuple(replace(item, at=now) if item.digest in used else item for item in pushed)


def _sign(runtime: RuntimeImage, signature: bytes | None, observed: RuntimeObserved) -> ConvergeAction:
    kind = ActionKind.PUSH_SIGNATURE
    if signature is None:
        return ConvergeAction(kind=kind, reason="the snap brings none", skip=True)
    digest = Digest.of(referrers.signature_manifest(runtime.manifest(), signature))
    reason = "it is beside the runtime" if observed.signed else "it is not beside the runtime"
    return ConvergeAction(kind=kind, reason=reason, skip=bool(observed.signed), digest=digest, size=len(signature))


def _tag(runtime: RuntimeImage, observed: RuntimeObserved, *, pushed_again: bool) -> ConvergeAction:
    wrong = [str(tag) for tag, digest in observed.tags.items() if digest != runtime.digest]
    return ConvergeAction(
        kind=ActionKind.PUSH_MANIFEST,
        reason=f"tag {' and '.join(wrong)} not on it" if wrong else "its tags are on it",
        skip=not wrong and not pushed_again,
        digest=runtime.digest,
    )


def _prunable(runtime: RuntimeImage, observed: RuntimeObserved) -> tuple[PushedImage, ...]:
    used = observed.used
    if used is None or isinstance(used, ShortageError):
        return ()
    return tuple(item for item in outlived(runtime, observed.pushed, observed.now) if item.digest not in used)


def _prune(runtime: RuntimeImage, observed: RuntimeObserved, prunable: tuple[PushedImage, ...]) -> ConvergeAction:
    kind, old = ActionKind.PRUNE, outlived(runtime, observed.pushed, observed.now)
    if prunable:
        return ConvergeAction(kind=kind, reason=f"{len(prunable)} old runtime(s) that no model uses")
    if not old:
        return ConvergeAction(kind=kind, reason="no runtime of ours is old enough", skip=True)
    asked = "the cluster is not at hand" if isinstance(observed.used, ShortageError) else "models use the old ones"
    return ConvergeAction(kind=kind, reason=asked, skip=True)
