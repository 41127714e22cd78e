import pytest

from bento_service.domain.requests import Priority
from bento_service.pipeline.wait_predictor import WaitPredictor
from tests.fakes.clock import FakeClock
from tests.unit.scheduling.simulated_server import Server, Simulation

IMAGE_MS = 1.0
"""Work of one image, so that the slowdown is the interval between answers."""
LANES = Server(lanes=2, ceiling=1, batch_ms=20)
BATCHES = Server(lanes=2, ceiling=32, batch_ms=100)


def make_predictor(clock: FakeClock, *, interval_ms: float = 10.0, capacity: int = 2) -> WaitPredictor:
    return WaitPredictor(initial_slowdown=interval_ms, capacity=capacity, clock=clock)


def start(
    predictor: WaitPredictor,
    count: int = 1,
    *,
    work_ms: float = IMAGE_MS,
    priority: Priority = Priority.INTERACTIVE,
) -> None:
    for _ in range(count):
        predictor.start(work_ms, priority)


def finish(predictor: WaitPredictor, *, work_ms: float = IMAGE_MS, has_run: bool = True) -> None:
    predictor.finish(work_ms, Priority.INTERACTIVE, has_run=has_run)


def serve_one(predictor: WaitPredictor, clock: FakeClock, duration_ms: float) -> None:
    start(predictor)
    clock.advance_ms(duration_ms)
    finish(predictor)


def ask_interval_ms(predictor: WaitPredictor) -> float:
    """Ask an idle predictor what one image ahead would cost."""
    start(predictor)
    interval_ms = predictor.predict_wait_ms()
    finish(predictor, has_run=False)
    return interval_ms


def test_an_idle_server_predicts_no_wait_whatever_it_has_learnt() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=1e9)
    assert predictor.predict_wait_ms() == 0


def test_the_wait_is_the_images_ahead_times_the_interval() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=10)
    start(predictor, 5)
    assert predictor.predict_wait_ms() == pytest.approx(50)


def test_a_few_images_at_once_teach_the_pace_also_where_lanes_may_take_many() -> None:
    clock = FakeClock()
    predictor = WaitPredictor(initial_slowdown=10, capacity=2, round_size=16, clock=clock)
    start(predictor, 6)
    for _ in range(400):
        clock.advance_ms(30)
        finish(predictor)
        start(predictor)
    assert predictor.predict_wait_ms() == pytest.approx(6 * 30, rel=0.05)


@pytest.mark.parametrize("factor", [0.1, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_a_wrong_first_guess_is_put_right_within_100_answers_at_full_load(factor: float, jitter: float) -> None:
    server = Server(jitter=jitter)
    simulation = Simulation(server, initial_interval_ms=server.interval_ms * factor)
    simulation.run(clients=64, answers=100)
    assert simulation.interval_ms_after[-1] == pytest.approx(server.interval_ms, rel=0.25)


@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
def test_batches_whose_images_are_answered_together_do_not_pass_for_speed(factor: float) -> None:
    simulation = Simulation(BATCHES, initial_interval_ms=BATCHES.interval_ms * factor)
    simulation.run(clients=1000, answers=4000)
    assert simulation.interval_ms_after[-1] == pytest.approx(BATCHES.interval_ms, rel=0.1)


def test_two_clients_that_are_answered_together_do_not_pass_for_speed() -> None:
    simulation = Simulation(LANES, initial_interval_ms=LANES.interval_ms)
    simulation.run(clients=2, answers=2000)
    assert ask_interval_ms(simulation.predictor) == pytest.approx(LANES.interval_ms, rel=0.05)


def test_a_guess_so_high_that_the_server_never_fills_is_put_right_all_the_same() -> None:
    server = Server(batch_ms=600)
    simulation = Simulation(server, initial_interval_ms=3000, target_ms=1000)
    simulation.run(clients=64, answers=150)
    assert simulation.interval_ms_after[-1] == pytest.approx(server.interval_ms, rel=0.1)


def test_a_storm_of_refused_clients_teaches_nothing() -> None:
    simulation = Simulation(LANES, initial_interval_ms=LANES.interval_ms, target_ms=100)
    simulation.run(clients=500, answers=1000)
    assert simulation.shed >= 1000
    assert simulation.interval_ms_after[-1] == pytest.approx(LANES.interval_ms, rel=0.05)


def test_a_long_pause_is_no_change_of_speed() -> None:
    simulation = Simulation(LANES, initial_interval_ms=LANES.interval_ms)
    for _ in range(20):
        simulation.run(clients=64, answers=30)
        simulation.clock.advance(3600)
    assert ask_interval_ms(simulation.predictor) == pytest.approx(LANES.interval_ms, rel=0.1)


def test_a_lone_client_whose_images_take_longer_than_the_interval_does_not_raise_it() -> None:
    clock = FakeClock()
    predictor = make_predictor(clock, interval_ms=10)
    for _ in range(100):
        serve_one(predictor, clock, 25)
    assert ask_interval_ms(predictor) == pytest.approx(10)


def test_one_stall_of_the_machine_at_full_load_does_not_double_the_interval() -> None:
    clock = FakeClock()
    predictor = make_predictor(clock, interval_ms=10)
    start(predictor, 40)
    clock.advance(30)
    for _ in range(8):
        clock.advance_ms(10)
        finish(predictor)
    assert predictor.predict_wait_ms() <= 2 * 32 * 10


def test_images_that_clients_gave_up_say_nothing_about_speed() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=10)
    for _ in range(500):
        start(predictor)
        finish(predictor, has_run=False)
    assert ask_interval_ms(predictor) == pytest.approx(10)


def test_the_interval_can_grow_back_after_answers_that_took_no_time() -> None:
    clock = FakeClock()
    predictor = make_predictor(clock, interval_ms=10)
    for _ in range(10_000):
        serve_one(predictor, clock, 0)
    start(predictor, 120)
    for _ in range(110):
        clock.advance_ms(10)
        finish(predictor)
    assert predictor.predict_wait_ms() / 10 == pytest.approx(10, rel=0.2)


def test_an_image_that_is_more_work_lets_others_wait_longer() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=2)
    start(predictor, work_ms=50.0)
    start(predictor, work_ms=5.0)
    assert predictor.predict_wait_ms() == pytest.approx(110)


def test_a_burst_of_large_photographs_after_small_ones_is_foreseen_from_its_first_image_on() -> None:
    clock = FakeClock()
    predictor = make_predictor(clock, interval_ms=1)
    start(predictor, 300, work_ms=5.0)
    for _ in range(300):
        clock.advance_ms(5)
        finish(predictor, work_ms=5.0)
    start(predictor, 10, work_ms=60.0)
    assert predictor.predict_wait_ms() == pytest.approx(600, rel=0.05)


def test_a_machine_that_slows_down_is_believed_whatever_the_images_are() -> None:
    clock = FakeClock()
    predictor = make_predictor(clock, interval_ms=1)
    works_ms = [5.0, 60.0] * 100
    for work_ms in works_ms:
        start(predictor, work_ms=work_ms)
    for work_ms in works_ms[:160]:
        clock.advance_ms(3 * work_ms)
        finish(predictor, work_ms=work_ms)
    remaining_ms = sum(works_ms[160:])
    assert predictor.predict_wait_ms() == pytest.approx(3 * remaining_ms, rel=0.1)


def test_an_interactive_image_waits_for_no_more_bulk_images_than_can_be_running() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=10, capacity=2)
    start(predictor, 30, priority=Priority.BULK)
    start(predictor, 3)
    assert predictor.predict_wait_ms(Priority.INTERACTIVE) == pytest.approx(50)
    assert predictor.predict_wait_ms(Priority.BULK) == pytest.approx(330)
    assert (predictor.count_ahead(Priority.INTERACTIVE), predictor.count_ahead(Priority.BULK)) == (5, 33)


def test_nothing_is_left_of_what_has_gone() -> None:
    predictor = make_predictor(FakeClock())
    works_ms = [0.1 * number for number in range(1, 50)]
    for work_ms in works_ms:
        start(predictor, work_ms=work_ms)
    for work_ms in works_ms:
        finish(predictor, work_ms=work_ms, has_run=False)
    assert predictor.predict_wait_ms() == 0
