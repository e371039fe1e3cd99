"""Command line: ``python -m chaos --minutes 60 --seed 7``."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from chaos.audit import listed
from chaos.plan import Kind
from chaos.run import run_chaos
from chaos.sabotages import SABOTAGES


def main() -> int:
    """Run once, print the figures and the violations, and return 1 if there are any."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--per-minute", type=float, default=240.0, help="faults per minute")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGES), help="a guarantee to take out")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        sabotage = SABOTAGES[options.sabotage] if options.sabotage else None
        report = run_chaos(
            seed=seed,
            seconds=options.minutes * 60,
            per_minute=options.per_minute,
            only=sabotage.faults if sabotage else frozenset(Kind),
            source=sabotage.copy_to(Path(folder)) if sabotage else None,
        )
    print("\n".join(report.figures))
    print(listed(report.violations))
    print(f"seed {seed}: {len(report.violations)} violations")
    if sabotage is not None:
        found = {violation.rule for violation in report.violations}
        print(f"{sabotage.name}: found by {sorted(found & sabotage.found_by) or 'none'}")
        return 0 if found & sabotage.found_by else 1
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
