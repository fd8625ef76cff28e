"""`make demo`: sets the stage, plays the story, and leaves nothing running."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .stage import SceneError, Stage, fresh
from .story import ROOT, Story


def main() -> int:
    """Play. Returns the exit code: 0 as told, 1 otherwise, 5 interrupted."""
    parser = argparse.ArgumentParser(
        prog="make demo", description="One model from its file to a fleet of virtual devices."
    )
    parser.add_argument("--keep", action="store_true", help="leave server and devices up")
    parser.add_argument(
        "--root", type=Path, default=ROOT / "demo", help="folder to play in, emptied first (default: demo/)"
    )
    options = parser.parse_args()
    with Stage(fresh(options.root.resolve())) as stage:
        story = Story(stage)
        try:
            story.play()
        except SceneError as error:
            print(f"\ndemo: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ndemo: interrupted", file=sys.stderr)
            return 5
        finally:
            if not options.keep:
                story.end()
            print(f"\nlogs, snaps, store and devices' files are in {_shown(options.root)}")
        if options.keep:
            story.say_how_to_go_on()
            stage.forget()
    return 0


def _shown(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


if __name__ == "__main__":
    sys.exit(main())
