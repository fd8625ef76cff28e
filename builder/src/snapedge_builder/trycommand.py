"""`builder try`: parse, run, print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .clioutput import CACHE, FORMAT, show
from .interruption import sigterm_interrupts

if TYPE_CHECKING:
    from .cache import Cache
    from .replay import Replay
    from .trialimage import TrialImage
    from .usercluster import UserCluster

_FORWARDED_PORT = 8080
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """What the command was given."""

    path: Path
    runtime: Path | None
    serve: bool
    port: int
    seconds: float
    form: str
    architecture: str | None


@click.command("try")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--runtime",
    type=click.Path(path_type=Path, exists=True),
    help="The runtime's folder or snap. Where not given: for a folder ../runtime-<name> beside it, for a snap the one "
    "inside it, or the runtime snap beside it that it was built on.",
)
@click.option(
    "--architecture",
    type=click.Choice(["amd64", "arm64"]),
    help="Of a folder: what to build and run; this host's where not given. Another one runs under QEMU 10 or newer.",
)
@click.option("--serve", is_flag=True, help="Leave it up until Ctrl-C, and print a curl line that asks it.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port on 127.0.0.1 to serve on; any free one where not given.",
)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="Seconds that the server may take to be ready.",
)
@click.option("--cluster", "context", metavar="CONTEXT", help="Try it on the cluster of this kubeconfig context.")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="With --cluster: the file with the context; $KUBECONFIG or ~/.kube/config where not given.",
)
@click.option("--namespace", help="With --cluster: where to serve it; the model's own namespace where not given.")
@click.option(
    "--registry",
    default="localhost:32000",
    show_default=True,
    metavar="HOST:PORT",
    help="With --cluster: the cluster's registry as this host reaches it.",
)
@click.option(
    "--pulled-from",
    metavar="HOST:PORT",
    help="With --cluster: the same registry as the nodes know it; as this host does where not given.",
)
@CACHE
@FORMAT
def try_model(
    path: Path,
    runtime: Path | None,
    architecture: str | None,
    serve: bool,
    port: int,
    seconds: float,
    context: str | None,
    kubeconfig: Path | None,
    namespace: str | None,
    registry: str,
    pulled_from: str | None,
    cache_folder: Path | None,
    form: str,
) -> None:
    """Serve a model as devices will, and ask it its golden samples.

    PATH is a model's folder or its snap. The server of the image runs here, from the layers that ship, in bubblewrap;
    or with --cluster as an InferenceService of its own, which is taken away at the end. The largest error of every
    output is printed. Wrong answers end it with exit code 3.
    """
    from . import cache

    opened = cache.Cache(cache_folder or cache.default_root())
    if architecture is not None and not path.is_dir():
        raise click.BadParameter("a snap is for one already", param_hint="--architecture")
    options = _Options(
        path=path, runtime=runtime, serve=serve, port=port, seconds=seconds, form=form, architecture=architecture
    )
    with sigterm_interrupts():
        if context is None:
            found = _here(options, opened)
        else:
            place = (namespace, registry, pulled_from or registry)
            with _connected(context, kubeconfig) as cluster:
                found = _on_cluster(options, opened, cluster, place)
    if found is not None and not found.passed:
        from . import trialreport

        raise trialreport.WrongAnswersError(path.name, found)


def _here(options: _Options, opened: Cache) -> Replay | None:
    from snapedge_hooks import sandbox
    from snapedge_hooks.vocabulary import Architecture

    from . import replay, trialimage, trialreport, trialserver

    wanted = trialimage.host_architecture()
    if options.architecture is not None:
        wanted = Architecture.parse(options.architecture)
        trialimage.check_runs_here(options.path.name, wanted)
    image = _image(options, opened, wanted)
    notes = trialimage.check_runs_here(options.path.name, image.payload.architecture)
    image = replace(image, notes=(*image.notes, *notes))
    runner = sandbox.find_sandbox()
    model = image.payload.model.name
    with trialserver.running(image, cache=opened, sandbox=runner, port=options.port, seconds=options.seconds) as server:
        found = None
        if image.samples is not None:
            with replay.over_http(server.url, is_alive=server.check) as ask:
                found = replay.replay(ask, model, image.samples)
        extra: dict[str, Any] = {}
        lines: list[str] = []
        if options.serve:
            sample = None if image.samples is None else image.samples.samples[0]
            line = trialreport.curl_line(server.url, model, sample, server.folder)
            extra = {"url": server.url, "curl": line}
            lines = [f"serving at {server.url} until Ctrl-C", line]
        _report(options, image, found, server.seconds_to_ready, extra, lines)
        if options.serve:
            with _until_ctrl_c():
                server.wait()
    return found


def _on_cluster(
    options: _Options, opened: Cache, cluster: UserCluster, where: tuple[str | None, str, str]
) -> Replay | None:
    from snapedge_hooks.clock import SystemClock

    from . import clustertrial, presentation, replay, trialimage, trialreport

    place = _place(*where)
    clock = SystemClock()
    architecture = clustertrial.architecture_of(cluster, trialimage.host_architecture())
    image = _image(options, opened, architecture)
    model = image.payload.model.name
    with (
        presentation.stderr_progress() as progress,
        opened.scratch() as folder,
        clustertrial.running(
            image, place, cluster=cluster, clock=clock, seconds=options.seconds, progress=progress
        ) as server,
    ):
        found = None if image.samples is None else replay.replay(server.ask, model, image.samples)
        extra: dict[str, Any] = {}
        lines: list[str] = []
        if options.serve:
            port = options.port or _FORWARDED_PORT
            sample = None if image.samples is None else image.samples.samples[0]
            forward = trialreport.kubectl_line(cluster.context, server.namespace, server.service, port)
            line = trialreport.curl_line(f"http://127.0.0.1:{port}", model, sample, folder)
            extra = {"name": server.name, "namespace": server.namespace, "forward": forward, "curl": line}
            lines = [f"serving as {server.namespace}/{server.name} until Ctrl-C", forward, line]
        _report(options, image, found, server.seconds_to_ready, extra, lines)
        if options.serve:
            with _until_ctrl_c():
                while server.is_there():
                    clock.sleep(_LOOK_SECONDS)
                click.echo("it was deleted", err=True)
    return found


def _image(options: _Options, opened: Cache, architecture: Any) -> TrialImage:
    from . import presentation, runtimesource, trialimage

    with presentation.stderr_progress() as progress:
        return trialimage.read(
            options.path,
            architecture=architecture,
            runtime=options.runtime,
            cache=opened,
            source=runtimesource.ComposedRuntimes(opened),
            progress=progress,
        )


def _place(namespace: str | None, registry: str, pulled_from: str) -> Any:
    from snapedge_hooks.payload import parse_namespace
    from snapedge_hooks.vocabulary import RegistryAddress

    from .clustertrial import Place

    try:
        return Place(
            namespace=None if namespace is None else parse_namespace(namespace),
            registry=RegistryAddress(registry),
            pulled_from=RegistryAddress(pulled_from),
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--namespace, --registry or --pulled-from") from error


def _report(
    options: _Options,
    image: TrialImage,
    found: Replay | None,
    seconds: float,
    extra: dict[str, Any],
    lines: list[str],
) -> None:
    from . import trialreport

    text = "\n".join([trialreport.text(image, found, seconds_to_ready=seconds), *lines])
    show(options.form, trialreport.document(image, found, seconds_to_ready=seconds) | extra, text)


@contextmanager
def _connected(context: str, kubeconfig: Path | None) -> Iterator[UserCluster]:
    from .usercluster import UserCluster

    cluster = UserCluster(context, config_file=kubeconfig)
    try:
        yield cluster
    finally:
        cluster.close()


@contextmanager
def _until_ctrl_c() -> Iterator[None]:
    """Until somebody has seen enough: that is how serving ends, and no interruption."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
