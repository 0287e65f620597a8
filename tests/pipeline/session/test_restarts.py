"""How often something may die."""

from __future__ import annotations

from maskstream.pipeline.session.restarts import RestartBudget


def test_only_deaths_within_the_window_count() -> None:
    now = [0.0]
    budget = RestartBudget(2, 10.0, clock=lambda: now[0])
    allowed = []
    for now[0] in (0.0, 4.0, 11.0, 15.0, 16.0):
        allowed.append(budget.note_death())
    assert allowed == [True, True, True, True, False]
    assert budget.num_deaths == 5
    assert str(budget) == "3 times within 10 s"
