"""What a snap carries of this package, and the names by which snapd starts it.

Builder packs by this list; a test compares it with what `__main__` reaches.
"""

from __future__ import annotations

HOOKS = ("install", "post-refresh", "configure", "check-health", "connect-plug-mk8s", "remove")
"""One shim each in meta/hooks/."""

SERVICE = "converge"
"""Converges until it is done."""

APPS = (SERVICE, "drift")
"""One shim each in bin/."""

RELOAD = "reload"
"""The reload command of `SERVICE`, in bin/ too: has it look anew."""

MODULES = (
    "__init__",
    "__main__",
    "blobs",
    "clock",
    "cluster",
    "clusterobjects",
    "configuration",
    "content",
    "convergence",
    "converger",
    "device",
    "document",
    "doors",
    "dsse",
    "ed25519",
    "environment",
    "errors",
    "executor",
    "goodspec",
    "health",
    "hookpoints",
    "images",
    "inferenceservice",
    "journal",
    "kubeconfig",
    "kubernetes",
    "lock",
    "objectexecutor",
    "objectplan",
    "observation",
    "outcomes",
    "payload",
    "probe",
    "quantities",
    "readiness",
    "referrers",
    "registry",
    "reload",
    "removal",
    "room",
    "runtimeexecutor",
    "runtimeobservation",
    "runtimeplan",
    "runtimesearch",
    "runtimeterms",
    "runtimetrust",
    "samples",
    "sideload",
    "situations",
    "snapctl",
    "state",
    "upload",
    "vocabulary",
    "wire",
)
"""Everything that `__main__` reaches; the formats of builder and fleet stay at home."""
