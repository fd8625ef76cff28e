"""The programs that a virtual device has on its PATH before the machine's own."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

_START: Final = "import sys; sys.path.append(sys.argv.pop(1)); import shims.{name} as program; sys.exit(program.main())"


def install(folder: Path, socket: Path) -> None:
    """Writes snapctl and snap, bound to `socket`, and python3 into `folder`.

    python3 is the interpreter without our environment's packages: a snap gets no more than a base snap would give.
    """
    folder.mkdir(parents=True, exist_ok=True)
    interpreter = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("snapctl", "snap"):
        arguments = [str(interpreter), "-IS", "-c", _START.format(name=name), str(Path(__file__).parent)]
        script = f'#!/bin/sh\nSNAPD_SOCKET={shlex.quote(str(socket))} exec {shlex.join(arguments)} "$@"\n'
        target = folder / name
        temporary = target.with_name(f".{name}.new")
        temporary.write_text(script, encoding="utf-8")
        temporary.chmod(0o755)
        temporary.replace(target)
    link = folder / "python3"
    if not link.is_symlink():
        link.symlink_to(interpreter)
