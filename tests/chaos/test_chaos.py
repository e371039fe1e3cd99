"""A short run under faults. ``make chaos`` makes long ones."""

import os
import sys

import pytest

from chaos.audit import listed
from chaos.run import run_chaos

SECONDS = float(os.environ.get("CHAOS_SECONDS", "25"))
"""Length of the faults. The start, the rest and the audit take half a minute more."""
SEED = int(os.environ.get("CHAOS_SEED", "1"))
FAULTS_PER_MINUTE = 200.0


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 400)
def test_run_under_faults_has_no_violation() -> None:
    report = run_chaos(seed=SEED, seconds=SECONDS, per_minute=FAULTS_PER_MINUTE)
    sys.stdout.write("\n".join([f"seed {SEED}", *report.figures, ""]))
    assert not report.violations, f"seed {SEED}:\n{listed(report.violations)}"
