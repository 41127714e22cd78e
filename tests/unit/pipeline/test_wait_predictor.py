import pytest

from bento_service.domain.requests import Priority
from bento_service.pipeline.wait_predictor import WaitPredictor
from tests.fakes.clock import FakeClock
from tests.unit.pipeline.simulated_server import Server, Simulation

LANES = Server(lanes=2, ceiling=1, batch_ms=20)
BATCHES = Server(lanes=2, ceiling=32, batch_ms=100)


class Predictor(WaitPredictor):
    """A predictor with its clock. An image is a millisecond of work, so the slowdown is the time between answers."""

    def __init__(self, *, interval_ms: float = 10.0, round_size: int = 0) -> None:
        self.clock = FakeClock()
        super().__init__(capacity=2, round_size=round_size, clock=self.clock, initial_slowdown=interval_ms)

    def add(self, count: int = 1, *, work_ms: float = 1.0, priority: Priority = Priority.INTERACTIVE) -> None:
        for _ in range(count):
            self.start(work_ms, priority)

    def answer(self, *, after_ms: float = 0.0, work_ms: float = 1.0, has_run: bool = True) -> None:
        self.clock.advance_ms(after_ms)
        self.finish(work_ms, Priority.INTERACTIVE, has_run=has_run)

    @property
    def interval_ms(self) -> float:
        """What an idle predictor says that one image ahead would cost."""
        return find_interval_ms(self)


def find_interval_ms(predictor: WaitPredictor) -> float:
    predictor.start(1.0, Priority.INTERACTIVE)
    interval_ms = predictor.predict_wait_ms()
    predictor.finish(1.0, Priority.INTERACTIVE, has_run=False)
    return interval_ms


def test_the_wait_is_the_work_ahead_times_the_slowdown() -> None:
    predictor = Predictor(interval_ms=2)
    assert predictor.predict_wait_ms() == 0
    predictor.add(work_ms=50.0)
    predictor.add(work_ms=5.0)
    assert predictor.predict_wait_ms() == pytest.approx(110)


def test_an_interactive_image_waits_for_no_more_bulk_images_than_can_be_running() -> None:
    predictor = Predictor(interval_ms=10)
    predictor.add(30, priority=Priority.BULK)
    predictor.add(3)
    assert [predictor.predict_wait_ms(priority) for priority in Priority] == pytest.approx([50, 330])
    assert [predictor.count_ahead(priority) for priority in Priority] == [5, 33]


def test_the_predicted_wait_is_exactly_zero_once_all_images_have_finished() -> None:
    predictor = Predictor()
    works_ms = [0.1 * number for number in range(1, 50)]
    for work_ms in works_ms:
        predictor.add(work_ms=work_ms)
    for work_ms in works_ms:
        predictor.answer(work_ms=work_ms, has_run=False)
    assert predictor.predict_wait_ms() == 0


def test_a_few_images_at_once_teach_the_slowdown_where_lanes_may_take_many() -> None:
    predictor = Predictor(round_size=16)
    predictor.add(6)
    for _ in range(400):
        predictor.answer(after_ms=30)
        predictor.add()
    assert predictor.predict_wait_ms() == pytest.approx(6 * 30, rel=0.05)


@pytest.mark.parametrize("factor", [0.1, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_a_wrong_first_guess_is_corrected_within_100_answers_at_full_load(factor: float, jitter: float) -> None:
    server = Server(jitter=jitter)
    simulation = Simulation(server, initial_interval_ms=server.interval_ms * factor)
    simulation.run(clients=64, answers=100)
    assert simulation.interval_ms_after[-1] == pytest.approx(server.interval_ms, rel=0.25)


@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
def test_batches_whose_images_are_answered_together_do_not_look_fast(factor: float) -> None:
    simulation = Simulation(BATCHES, initial_interval_ms=BATCHES.interval_ms * factor)
    simulation.run(clients=1000, answers=4000)
    assert simulation.interval_ms_after[-1] == pytest.approx(BATCHES.interval_ms, rel=0.1)


def test_two_clients_that_are_answered_together_do_not_look_fast() -> None:
    simulation = Simulation(LANES, initial_interval_ms=LANES.interval_ms)
    simulation.run(clients=2, answers=2000)
    assert find_interval_ms(simulation.predictor) == pytest.approx(LANES.interval_ms, rel=0.05)


def test_a_guess_so_high_that_the_server_never_fills_is_corrected() -> None:
    server = Server(batch_ms=600)
    simulation = Simulation(server, initial_interval_ms=3000, target_ms=1000)
    simulation.run(clients=64, answers=150)
    assert simulation.interval_ms_after[-1] == pytest.approx(server.interval_ms, rel=0.1)


def test_many_rejected_clients_do_not_change_the_slowdown() -> None:
    simulation = Simulation(LANES, initial_interval_ms=LANES.interval_ms, target_ms=100)
    simulation.run(clients=500, answers=1000)
    assert simulation.rejections >= 1000
    assert simulation.interval_ms_after[-1] == pytest.approx(LANES.interval_ms, rel=0.05)


def test_a_long_pause_is_no_change_of_speed() -> None:
    simulation = Simulation(LANES, initial_interval_ms=LANES.interval_ms)
    for _ in range(20):
        simulation.run(clients=64, answers=30)
        simulation.clock.advance(3600)
    assert find_interval_ms(simulation.predictor) == pytest.approx(LANES.interval_ms, rel=0.1)


@pytest.mark.parametrize(("after_ms", "has_run"), [(25, True), (0, False)], ids=["a lone slow client", "cancelled"])
def test_images_that_do_not_fill_the_machine_do_not_raise_the_slowdown(*, after_ms: float, has_run: bool) -> None:
    predictor = Predictor(interval_ms=10)
    for _ in range(500):
        predictor.add()
        predictor.answer(after_ms=after_ms, has_run=has_run)
    assert predictor.interval_ms == pytest.approx(10)


def test_one_stall_at_full_load_does_not_double_the_slowdown() -> None:
    predictor = Predictor(interval_ms=10)
    predictor.add(40)
    predictor.clock.advance(30)
    for _ in range(8):
        predictor.answer(after_ms=10)
    assert predictor.predict_wait_ms() <= 2 * 32 * 10


def test_the_slowdown_grows_back_after_answers_that_took_no_time() -> None:
    predictor = Predictor(interval_ms=10)
    for _ in range(10_000):
        predictor.add()
        predictor.answer()
    predictor.add(120)
    for _ in range(110):
        predictor.answer(after_ms=10)
    assert predictor.predict_wait_ms() / 10 == pytest.approx(10, rel=0.2)


def test_large_photographs_after_small_ones_are_predicted_from_the_first_on() -> None:
    predictor = Predictor(interval_ms=1)
    predictor.add(300, work_ms=5.0)
    for _ in range(300):
        predictor.answer(after_ms=5, work_ms=5.0)
    predictor.add(10, work_ms=60.0)
    assert predictor.predict_wait_ms() == pytest.approx(600, rel=0.05)


def test_a_slower_machine_is_noticed_whatever_the_images_are() -> None:
    predictor = Predictor(interval_ms=1)
    works_ms = [5.0, 60.0] * 100
    for work_ms in works_ms:
        predictor.add(work_ms=work_ms)
    for work_ms in works_ms[:160]:
        predictor.answer(after_ms=3 * work_ms, work_ms=work_ms)
    assert predictor.predict_wait_ms() == pytest.approx(3 * sum(works_ms[160:]), rel=0.1)
