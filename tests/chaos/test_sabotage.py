"""Every guarantee that can be taken out is still where it was."""

from pathlib import Path

import pytest

from chaos.audit import RULES
from chaos.sabotage import Sabotage
from chaos.sabotages import SABOTAGES


@pytest.mark.parametrize("sabotage", SABOTAGES.values(), ids=SABOTAGES.keys())
def test_guarantee_can_be_taken_out(tmp_path: Path, sabotage: Sabotage) -> None:
    copy = sabotage.copy_to(tmp_path)
    assert all(edit.new in (copy / edit.file).read_text() for edit in sabotage.edits)
    assert sabotage.found_by <= {rule.__name__ for rule in RULES}
