"""`builder try`: parse, run, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .clioutput import FORMAT, show
from .interruption import sigterm_interrupts

if TYPE_CHECKING:
    from .trialserver import TrialServer


@click.command("try")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--runtime",
    type=click.Path(path_type=Path, exists=True),
    help="The runtime's folder or snap. Where not given: for a folder ../runtime-<name> beside it, for a snap the one "
    "inside it, or the runtime snap beside it that it was built on.",
)
@click.option("--serve", is_flag=True, help="Leave the server up until Ctrl-C, and print a curl line that asks it.")
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
@click.option(
    "--cache",
    "cache_folder",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SNAPEDGE_CACHE",
    help="Folder of the build cache; $XDG_CACHE_HOME/snapedge where not given.",
)
@FORMAT
def try_model(
    path: Path,
    runtime: Path | None,
    serve: bool,
    port: int,
    seconds: float,
    cache_folder: Path | None,
    form: str,
) -> None:
    """Serve a model here as devices will, and ask it its golden samples.

    PATH is a model's folder or its snap for this host's architecture. The server of the image runs from the layers that
    ship, in bubblewrap; the largest error of every output is printed. Wrong answers end it with exit code 3.
    """
    from snapedge_hooks import sandbox

    from . import cache, presentation, replay, runtimesource, trialimage, trialreport, trialserver

    opened = cache.Cache(cache_folder or cache.default_root())
    with sigterm_interrupts():
        with presentation.stderr_progress() as progress:
            image = trialimage.read(
                path,
                architecture=trialimage.host_architecture(),
                runtime=runtime,
                cache=opened,
                source=runtimesource.ComposedRuntimes(opened),
                progress=progress,
            )
        runner = sandbox.find_sandbox()
        model = image.payload.model.name
        with trialserver.running(image, cache=opened, sandbox=runner, port=port, seconds=seconds) as server:
            found = None
            if image.samples is not None:
                found = replay.replay(server.url, model, image.samples, is_alive=server.check)
            text = trialreport.text(image, found, seconds_to_ready=server.seconds_to_ready)
            document = trialreport.document(image, found, seconds_to_ready=server.seconds_to_ready)
            if serve:
                sample = None if image.samples is None else image.samples.samples[0]
                line = trialreport.curl_line(server.url, model, sample, server.folder)
                text += f"\nserving at {server.url} until Ctrl-C\n{line}"
                document |= {"url": server.url, "curl": line}
            show(form, document, text)
            if serve:
                _wait(server)
    if found is not None and not found.passed:
        raise trialreport.WrongAnswersError(path.name, found)


def _wait(server: TrialServer) -> None:
    """Until somebody has seen enough: that is how serving ends, and no interruption."""
    try:
        server.wait()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
