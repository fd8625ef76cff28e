"""`builder`: parses, calls one function, prints. Exit codes are in docs/architecture/contracts.md."""

from __future__ import annotations

import gc
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from snapedge_hooks.errors import ExitCode, SnapedgeError

from . import (
    buildcommand,
    gadgetcommand,
    lockcommand,
    microk8scommand,
    publishcommand,
    runtimecommand,
    snapcommands,
    trycommand,
)
from .buildcommand import FOLDER, RUNTIME
from .clioutput import CACHE, FORMAT, show

if TYPE_CHECKING:
    from .verification import VerifiedSnap

_GARBAGE_OBJECTS = 20_000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--verbose", is_flag=True, help="Show what is run, and tracebacks of errors.")
def builder(verbose: bool) -> None:
    """Turn a trained model into one snap for each architecture.

    \b
    builder new snaps/my-model --model model.onnx    write a folder for a model
    builder plan snaps/my-model                      say what a build would do, and why
    builder build snaps/my-model                     build its snaps into dist/
    builder try snaps/my-model --serve               serve it here as devices will, and ask it its samples
    builder runtime new | build | check              make, build and check what models are put on
    builder lock snaps/runtime-onnx                  pin a runtime's packages and wheels by hash
    builder inspect dist/my-model_0.1.0_arm64.snap   show what is in a snap
    builder verify dist/*.snap                       check every digest and every rule; --rebuild proves the bytes
    builder diff OLD.snap NEW.snap                   say what a device downloads, and which layer is to blame
    builder snapcraft dist/my-model_*.snap -o DIR    write a snapcraft project that packs the same
    builder gadget my-model=SNAP_ID                  print a gadget's connections and defaults
    builder microk8s-config --kserve FILE --version 1   make the snap that readies MicroK8s for them
    builder sign --key FILE dist/*.snap              sign them, with a key made by builder key FILE
    builder publish dist/my-model_*.snap --store DIR --channel candidate

    Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a check, 4 a remote part is away, 5 interrupted.
    """  # noqa: D301 - click keeps the lines of a paragraph that a backspace opens
    # Only what our own packages say: others log every attribute of every class.
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", force=True)
    if verbose:
        logging.getLogger("snapedge_builder").setLevel(logging.DEBUG)


@builder.command()
@FOLDER
@click.option(
    "--model",
    "model_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The model: ONNX, TensorFlow Lite, a scikit-learn pickle, or XGBoost's or LightGBM's own file. It is copied.",
)
@click.option("--name", help="Snap name; made from the folder's name where not given.")
@FORMAT
def new(folder: Path, model_file: Path, name: str | None, form: str) -> None:
    """Write FOLDER for a model, ready to be built.

    Golden samples are drawn from the model's own signature and pin what it answers today. Replace them with requests
    whose right answers you know.
    """
    from . import scaffold

    made = scaffold.new_folder(folder, model=model_file, name=name)
    signature = made.model.signature
    lines = [
        f"{folder}: {', '.join(made.files)}",
        *(f"  input   {spec}" for spec in signature.inputs),
        *(f"  output  {spec}" for spec in signature.outputs),
        "samples.json pins what the model answers today; replace it with answers you know to be right",
        f"next: builder build {folder}",
    ]
    document = {"folder": str(folder), "name": made.name, "files": list(made.files), **signature.to_json()}
    show(form, document, "\n".join(lines))


@builder.command()
@click.argument("path", type=click.Path(path_type=Path))
@FORMAT
def inspect(path: Path, form: str) -> None:
    """Show what is in PATH: a .snap file, or a folder that can be built."""
    from . import inspection, presentation

    found = inspection.inspect(path)
    show(form, found, presentation.as_text(found))


@builder.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--key",
    "key_files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A public key's file: every snap must be signed by one of those named. May be repeated.",
)
@click.option(
    "--rebuild", is_flag=True, help="Build the snaps again from their folder, too, and compare them to the byte."
)
@RUNTIME
@CACHE
@FORMAT
def verify(
    files: tuple[Path, ...],
    key_files: tuple[Path, ...],
    rebuild: bool,
    runtime_folder: Path | None,
    cache_folder: Path | None,
    form: str,
) -> None:
    """Check .snap FILES against everything they say of themselves.

    Name a model's snap together with the snap of its runtime to have the image digest computed again, too.

    With --rebuild, FILES are the snaps of one version, and may be followed by the folder they were built from; it is
    the one of their name in ./snaps where not given. It is built again without what the cache remembers having made.
    A snap that comes out differently ends it with exit code 3, and the first file that differs is named.
    """
    from . import verification

    folders = [path for path in files if rebuild and path.is_dir()]
    if len(folders) > 1 or len(folders) == len(files):
        raise click.UsageError("--rebuild takes .snap files and then one folder")
    verified = verification.verify([path for path in files if path not in folders])
    signatures = _signatures(verified, key_files)
    if rebuild:
        told = f"built again from {_rebuilt(verified, folders, runtime_folder, cache_folder)}: the same bytes"
        for found in signatures.values():
            found.append(told)
    document = [
        {
            "file": snap.path.name,
            "name": snap.name,
            "version": snap.version,
            "architecture": str(snap.architecture),
            "kind": snap.kind,
            "checks": [*snap.checks, *signatures[snap.path]],
            "not_checked": list(snap.not_checked),
        }
        for snap in verified
    ]
    lines = []
    for snap in verified:
        lines.append(f"{snap.path.name}: good ({snap.kind} snap; {'; '.join([*snap.checks, *signatures[snap.path]])})")
        lines.extend(f"  not checked: {line}" for line in snap.not_checked)
    show(form, document, "\n".join(lines))


builder.add_command(buildcommand.plan)
builder.add_command(buildcommand.build)
builder.add_command(runtimecommand.runtime)
builder.add_command(publishcommand.publish)
builder.add_command(snapcommands.diff)
builder.add_command(snapcommands.sign)
builder.add_command(snapcommands.key)
builder.add_command(snapcommands.snapcraft)
builder.add_command(gadgetcommand.gadget)
builder.add_command(microk8scommand.microk8s_config)
builder.add_command(trycommand.try_model)
builder.add_command(lockcommand.lock)


def _signatures(verified: Sequence[VerifiedSnap], key_files: Sequence[Path]) -> dict[Path, list[str]]:
    """What there is to say of each snap's signature; nothing where no key was named."""
    if not key_files:
        return {snap.path: [] for snap in verified}
    from . import signing

    keys = [signing.read_public_key(path) for path in key_files]
    return {snap.path: [f"signed by {signing.check(snap, keys)}"] for snap in verified}


def _rebuilt(
    verified: Sequence[VerifiedSnap], folders: Sequence[Path], runtime_folder: Path | None, cache_folder: Path | None
) -> Path:
    from . import cache, presentation, reproduction

    opened = cache.Cache(cache_folder or cache.default_root())
    with presentation.stderr_progress() as progress:
        return reproduction.rebuild(
            verified, next(iter(folders), None), runtime_folder=runtime_folder, cache=opened, progress=progress
        )


def _usage(error: click.ClickException) -> str:
    """Click's message as one line in our words' order: what, then what to do."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message[:1].lower()}{message[1:]}; see {'builder' if context is None else context.command_path} --help"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `builder` and leave with its exit code."""
    # A tenth of a short command is looking for garbage among what was imported.
    gc.set_threshold(_GARBAGE_OBJECTS)
    words = list(sys.argv[1:] if arguments is None else arguments)
    verbose = "--verbose" in words
    try:
        builder.main(args=words, prog_name="builder", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("error: interrupted", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        click.secho(f"error: {_usage(error)}", err=True, fg="red")
        sys.exit(ExitCode.USAGE)
    except SnapedgeError as error:
        click.secho(f"error: {error}", err=True, fg="red")
        if error.details:
            click.echo(error.details, err=True)
        if verbose:
            traceback.print_exception(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(ExitCode.FAILED)
    except OSError as error:
        where = error.filename or "a file of the cache, the output or the temporary folder"
        remedy = "make room and see that it can be written, or name other folders (--cache, --output)"
        click.secho(f"error: {where}: {error.strerror or error}; {remedy}", err=True, fg="red")
        if verbose:
            traceback.print_exception(error)
        sys.exit(ExitCode.FAILED)
    except Exception as error:  # noqa: BLE001 - the one blind catch: nobody is shown a traceback unasked
        click.secho(
            f"error: unexpected {type(error).__name__}: {error}; run it again with --verbose and report it",
            err=True,
            fg="red",
        )
        if verbose:
            traceback.print_exception(error)
        sys.exit(ExitCode.FAILED)
