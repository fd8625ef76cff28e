"""A `docker` command whose buildx says what real ones said, and hands out a layout in place of building one."""

from __future__ import annotations

from pathlib import Path

_SCRIPT = """\
#!/bin/sh
here=$(dirname "$0")
for word; do printf '%s\\0' "$word"; done >>"$here/calls"
printf '\\n' >>"$here/calls"
word=$2
for argument; do
  case "$argument" in --output=*) destination=${argument##*dest=} ;; esac
done
if [ -d "$here/layout" ] && [ "$word" = build ]; then cp -R "$here/layout" "$destination"; fi
cat "$here/$word.out" 2>/dev/null
cat "$here/$word.err" >&2 2>/dev/null
exit "$(cat "$here/$word.status" 2>/dev/null || echo 0)"
"""


class FakeDocker:
    """One such command, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.path = folder / "docker"
        self.path.write_text(_SCRIPT)
        self.path.chmod(0o755)

    def says(self, word: str, *, output: str = "", errors: str = "", status: int = 0) -> None:
        """Fix what `docker buildx WORD` prints, and how it ends."""
        (self.folder / f"{word}.out").write_text(output)
        (self.folder / f"{word}.err").write_text(errors)
        (self.folder / f"{word}.status").write_text(str(status))

    @property
    def layout(self) -> Path:
        """Where a layout must lie for `build` to hand it out."""
        return self.folder / "layout"

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each call."""
        return [line.split("\0")[:-1] for line in (self.folder / "calls").read_text().split("\n") if line]
