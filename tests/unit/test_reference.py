"""Every command is documented as it is, and has help."""

import pytest

from .. import reference


@pytest.mark.parametrize("name", sorted(reference.COMMANDS))
def test_the_page_is_what_the_commands_say(name: str) -> None:
    assert (reference.PAGES / f"{name}.md").read_text() == reference.page(name), "run: make reference"
