"""What can be made to go wrong on a virtual device, as plain switches that tests and `fleet virtual` turn.

The parts read their switches at every request, so a fault starts and ends while they run. Without a fault set they
behave as the real parts do.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class RegistryFaults:
    """Faults of the registry.

    Attributes:
        refuse: every connection is cut before an answer.
        drop_upload_after: an upload is cut after this many bytes; what came so far is kept, as after a network loss.
        drop_download_after: a blob is cut after this many bytes were sent.
        status: every request below /v2/ is answered with this status, 429 or 500 say.
        full: the disk is full: nothing can be written.
        lost: digests the registry claims to have (HEAD, mount, manifest check) and cannot send; an upload heals one.
        lying: digests answered with other bytes of the same length.
    """

    refuse: bool = False
    drop_upload_after: int | None = None
    drop_download_after: int | None = None
    status: int | None = None
    full: bool = False
    lost: set[str] = field(default_factory=set)
    lying: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class ClusterFaults:
    """Faults of the cluster.

    Attributes:
        no_kserve: KServe's resource type is not installed.
        webhook_down: KServe's webhook cannot be reached, so no InferenceService can be written.
        api_status: every request to the API is answered with this status.
        api_hang_up: every connection to the API is cut before an answer.
        kill_out_of_memory: names of InferenceServices whose new containers die as the kernel's OOM killer would do it.
        never_ready: names of InferenceServices whose pods' readiness probes are taken as failed.
    """

    no_kserve: bool = False
    webhook_down: bool = False
    api_status: int | None = None
    api_hang_up: bool = False
    kill_out_of_memory: set[str] = field(default_factory=set)
    never_ready: set[str] = field(default_factory=set)
