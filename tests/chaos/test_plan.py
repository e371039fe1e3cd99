"""The plan of faults is a function of the seed, and leaves out no kind."""

from chaos.plan import WEIGHTS, Kind, plan


def test_same_seed_makes_the_same_plan() -> None:
    assert plan(7, 120.0, 200.0) == plan(7, 120.0, 200.0)
    assert plan(7, 120.0, 200.0) != plan(8, 120.0, 200.0)


def test_faults_come_in_order_and_in_time() -> None:
    faults = plan(7, 120.0, 200.0)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert faults[-1].at < 120.0
    assert 250 < len(faults) < 450


def test_long_plan_has_every_kind() -> None:
    assert {fault.kind for fault in plan(7, 3600.0, 200.0)} == set(Kind) == set(WEIGHTS)
