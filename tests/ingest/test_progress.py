"""Progress on a clock of the test's own: lines while a piece is at work, remaining time that follows cost, a resumed run that says nothing about speed."""

from itertools import pairwise

import pytest

from personascope.ingest.progress import LINE_EVERY_SECONDS, Lines, Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def work(costs, seconds_a_cost, done=0):
    """Works off pieces of one unit each while the log looks once a second; yields time passed, share of the cost that is done, and seconds said to be left."""
    clock, said = Clock(), []
    pace = Pace(len(costs), done, sum(costs), sum(costs[:done]), clock)
    lines = Lines("reading", pace, lambda line: said.append((clock.now - 100, line)))
    seen = []
    for cost in costs[done:]:
        until = clock.now + cost * seconds_a_cost
        while clock.now + 1 <= until:
            clock.now += 1
            lines.look()
            seen.append((clock.now - 100, pace.cost / pace.total_cost, pace.remaining))
        clock.now = until
        lines(1, cost)
    return said, seen


def test_a_log_has_a_line_within_thirty_seconds_also_inside_one_piece():
    said, _ = work([400, 1], 1)
    moments = [0, *(moment for moment, _ in said)]
    assert max(later - earlier for earlier, later in pairwise(moments)) <= LINE_EVERY_SECONDS + 1 <= 30
    assert said[0][1] == "reading: 0/2, 15 s passed"
    assert said[-2] == (390, "reading: 0/2, 6 min passed") and said[-1] == (401, "reading: 2/2, 0.3/min")


@pytest.mark.parametrize("done", [0, 20])
def test_remaining_time_is_within_twice_after_the_first_tenth_where_pieces_differ_fifty_times_in_cost(done):
    costs = [50.0 - number // 2 for number in range(100)]
    said, seen = work(costs, 0.3, done)
    end = said[-1][0]
    told = [(moment, remaining) for moment, share, remaining in seen if share >= 0.1 + sum(costs[:done]) / sum(costs)]
    assert len(told) > 300 and said[-1][1].startswith("reading: 100/100")
    for moment, remaining in told:
        assert end - moment - 16 <= 2 * remaining and remaining <= 2 * (end - moment) + 16, "sixteen seconds: one piece at work"


def test_time_left_runs_down_within_a_piece_and_never_below_nothing():
    clock = Clock()
    pace = Pace(4, 0, 4, 0, clock)
    assert pace.remaining is None
    clock.now += 10
    pace.advance(1, 1)
    assert pace.remaining == 30
    clock.now += 10
    assert pace.remaining == 20
    clock.now += 90
    assert pace.remaining == 0 and pace.text() == "1/4, 0.1/s, 2 min passed, the rest takes longer than what was done tells"


def test_a_part_of_an_example_is_not_an_example():
    clock = Clock()
    pace = Pace(2.0, 0, 10, 0, clock)
    clock.now += 5
    for _ in range(9):
        pace.advance(0.2, 1)
    assert pace.text().startswith("1/2, ")
    pace.advance(0.2, 1)
    assert pace.finished and pace.text() == "2/2, 0.4/s"
