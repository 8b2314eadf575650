"""The circuit breaker, by a clock that the test turns."""

from adapters.engines.breaker import Breaker, Circuit


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(failures=3, clock=Clock())
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.circuit is Circuit.CLOSED and breaker.allows()
    for _ in range(3):
        breaker.failed()
    assert breaker.circuit is Circuit.OPEN and not breaker.allows()


def test_one_trial_at_a_time_decides_and_pauses_double() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, pause=1, most=3, clock=clock)
    breaker.failed()
    for pause in (1, 2, 3, 3):
        clock.now += pause - 0.01
        assert not breaker.allows()
        clock.now += 0.02
        assert breaker.circuit is Circuit.HALF_OPEN and breaker.allows()
        breaker.begin()
        assert not breaker.allows(), "a second trial has to wait"
        breaker.failed()
        assert breaker.circuit is Circuit.OPEN
    clock.now += 3
    breaker.begin()
    breaker.succeeded()
    assert breaker.circuit is Circuit.CLOSED


def test_a_trial_whose_caller_left_says_nothing() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, clock=clock)
    breaker.failed()
    clock.now += 1
    breaker.begin()
    breaker.abandoned()
    assert breaker.circuit is Circuit.HALF_OPEN and breaker.allows()


def test_failures_of_requests_sent_before_it_opened_change_nothing() -> None:
    clock = Clock()
    breaker = Breaker(failures=2, pause=1, clock=clock)
    for _ in range(50):
        breaker.failed()
    clock.now += 1
    assert breaker.circuit is Circuit.HALF_OPEN
