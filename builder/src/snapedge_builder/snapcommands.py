"""Commands about finished snaps: parse, call one function, print."""

from __future__ import annotations

from pathlib import Path

import click

from .clioutput import FORMAT, show


@click.command()
@click.argument("old", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("new", type=click.Path(path_type=Path, dir_okay=False))
@FORMAT
def diff(old: Path, new: Path, form: str) -> None:
    """Say what a device that has the snap OLD downloads for NEW, which layer is to blame, and what would help.

    The delta is made as the store makes it, with xdelta3; what each layer adds to it is an estimate.
    """
    from . import presentation, snapdiff

    found = snapdiff.compare(old, new)
    size = presentation.as_size
    lines = [
        f"{found.name} {found.architecture}: {found.old} -> {found.new}",
        f"  full   {size(found.size)}",
        f"  delta  {size(found.delta)}"
        + (", so near to the full size that the store serves none" if found.delta_is_dropped else ""),
    ]
    width = max(len(part.name) for part in found.parts)
    for part in found.parts:
        line = f"  {part.name:<{width}}  {part.change:<7}  {size(part.size):>9}"
        if part.packed:
            line += f"  {size(part.packed):>9} to send, {len(part.files)} files"
        lines.append(line)
    lines.append(f"to blame: {found.blame}; {found.remedy}" if found.blame else found.remedy)
    show(form, found.to_value(), "\n".join(lines))


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--output",
    "-o",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the project; it must not exist yet.",
)
@FORMAT
def snapcraft(files: tuple[Path, ...], folder: Path, form: str) -> None:
    """Write a snapcraft project that builds the same snap as FILES, one .snap for each architecture of a version.

    `snapcraft pack` in the folder packs it; nothing is compiled or downloaded on the way.
    """
    from . import snapcraftproject

    written = snapcraftproject.write_project(files, folder)
    lines = [f"{folder}: {', '.join(written)}", f"next: cd {folder} && snapcraft pack"]
    show(form, {"folder": str(folder), "files": list(written)}, "\n".join(lines))


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@FORMAT
def key(path: Path, form: str) -> None:
    """Make a key pair to sign snaps with: the private half in PATH, the public one in PATH.pub.

    Whoever has PATH can sign in your name: keep it off devices and out of repositories.
    """
    from . import signing

    made = signing.make_key(path)
    beside = signing.public_path(path)
    show(
        form,
        {"private": str(path), "public": str(beside), "key": str(made)},
        f"{path}: private, keep it secret\n{beside}: {made}",
    )


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SNAPEDGE_SIGNING_KEY",
    help="The private key's file, from `builder key`.",
)
@FORMAT
def sign(files: tuple[Path, ...], key_file: Path, form: str) -> None:
    """Verify .snap FILES and sign them; each signature is written beside its snap, as FILE.dsse.

    Signed are the digests of the snap, its payload, its bill of materials, its model and its images.
    """
    from . import signing

    written = signing.sign(files, key=key_file)
    show(form, [str(path) for path in written], "\n".join(f"{path}: signed" for path in written))
