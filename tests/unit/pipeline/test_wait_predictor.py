import pytest

from bento_service.domain.requests import Priority
from bento_service.pipeline.wait_predictor import WaitPredictor, WorkEstimate
from tests.fakes.clock import FakeClock
from tests.unit.scheduling.simulated_server import Server, Simulation

IMAGE = WorkEstimate(1.0)
"""An image whose work is one millisecond, so that the pace is the interval between answers."""
BULK = WorkEstimate(1.0, Priority.BULK)
LANES = Server(lanes=2, ceiling=1, batch_ms=20)
BATCHES = Server(lanes=2, ceiling=32, batch_ms=100)


def make_predictor(clock: FakeClock, *, interval_ms: float = 10.0, capacity: int = 2) -> WaitPredictor:
    return WaitPredictor(initial_pace=interval_ms, capacity=capacity, clock=clock)


def serve_one(predictor: WaitPredictor, clock: FakeClock, duration_ms: float) -> None:
    predictor.admit()
    predictor.receive(IMAGE)
    clock.advance_ms(duration_ms)
    predictor.release(IMAGE, has_run=True)


def ask_interval_ms(predictor: WaitPredictor) -> float:
    """Ask an idle predictor what one image ahead would cost."""
    predictor.admit()
    predictor.receive(IMAGE)
    interval_ms = predictor.predicted_wait_ms
    predictor.release(IMAGE, has_run=False)
    return interval_ms


def test_an_idle_server_predicts_no_wait_whatever_it_has_learnt() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=1e9)
    assert predictor.predicted_wait_ms == 0


def test_the_wait_is_the_images_ahead_times_the_interval() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=10)
    for _ in range(5):
        predictor.admit()
        predictor.receive(IMAGE)
    assert predictor.predicted_wait_ms == pytest.approx(50)


def test_an_image_that_is_still_on_its_way_in_takes_a_place_but_keeps_nobody_waiting() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=10)
    for _ in range(200):
        predictor.admit()
    assert (predictor.in_flight, predictor.receiving, predictor.ahead) == (200, 200, 0)
    assert predictor.predicted_wait_ms == 0
    predictor.receive(IMAGE)
    assert (predictor.in_flight, predictor.receiving, predictor.ahead) == (200, 199, 1)


def test_slow_uploads_do_not_pass_for_a_slow_server() -> None:
    clock = FakeClock()
    predictor = make_predictor(clock, interval_ms=10)
    for _ in range(300):
        predictor.admit()
    for _ in range(300):
        clock.advance(1)
        predictor.receive(IMAGE)
        clock.advance_ms(10)
        predictor.release(IMAGE, has_run=True)
    assert ask_interval_ms(predictor) == pytest.approx(10)


def test_a_few_images_at_once_teach_the_pace_also_where_lanes_may_take_many() -> None:
    clock = FakeClock()
    predictor = WaitPredictor(initial_pace=10, capacity=2, round_size=16, clock=clock)
    for _ in range(6):
        predictor.admit()
        predictor.receive(IMAGE)
    for _ in range(400):
        clock.advance_ms(30)
        predictor.release(IMAGE, has_run=True)
        predictor.admit()
        predictor.receive(IMAGE)
    assert predictor.predicted_wait_ms == pytest.approx(6 * 30, rel=0.05)


def test_a_client_that_never_sent_its_image_leaves_no_trace() -> None:
    predictor = make_predictor(FakeClock())
    predictor.admit()
    predictor.release(None, has_run=False)
    assert (predictor.in_flight, predictor.ahead) == (0, 0)


def test_the_number_in_flight_is_reported_as_it_changes() -> None:
    seen: list[int] = []
    predictor = WaitPredictor(initial_pace=1, capacity=1, clock=FakeClock(), on_change=seen.append)
    predictor.admit()
    predictor.admit()
    predictor.release(None, has_run=False)
    assert seen == [1, 2, 1]


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
    for _ in range(40):
        predictor.admit()
        predictor.receive(IMAGE)
    clock.advance(30)
    for _ in range(8):
        clock.advance_ms(10)
        predictor.release(IMAGE, has_run=True)
    assert predictor.predicted_wait_ms <= 2 * 32 * 10


def test_images_that_clients_gave_up_say_nothing_about_speed() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=10)
    for _ in range(500):
        predictor.admit()
        predictor.receive(IMAGE)
        predictor.release(IMAGE, has_run=False)
    assert ask_interval_ms(predictor) == pytest.approx(10)


def test_the_interval_can_grow_back_after_answers_that_took_no_time() -> None:
    clock = FakeClock()
    predictor = make_predictor(clock, interval_ms=10)
    for _ in range(10_000):
        serve_one(predictor, clock, 0)
    for _ in range(120):
        predictor.admit()
        predictor.receive(IMAGE)
    for _ in range(110):
        clock.advance_ms(10)
        predictor.release(IMAGE, has_run=True)
    assert predictor.predicted_wait_ms / 10 == pytest.approx(10, rel=0.2)


def receive(predictor: WaitPredictor, load: WorkEstimate, count: int = 1) -> None:
    for _ in range(count):
        predictor.admit()
        predictor.receive(load)


def test_an_image_that_is_more_work_lets_others_wait_longer() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=2)
    receive(predictor, WorkEstimate(50.0))
    receive(predictor, WorkEstimate(5.0))
    assert predictor.predicted_wait_ms == pytest.approx(110)


def test_a_burst_of_large_photographs_after_small_ones_is_foreseen_from_its_first_image_on() -> None:
    clock = FakeClock()
    predictor = make_predictor(clock, interval_ms=1)
    receive(predictor, WorkEstimate(5.0), 300)
    for _ in range(300):
        clock.advance_ms(5)
        predictor.release(WorkEstimate(5.0), has_run=True)
    receive(predictor, WorkEstimate(60.0), 10)
    assert predictor.predicted_wait_ms == pytest.approx(600, rel=0.05)


def test_a_machine_that_slows_down_is_believed_whatever_the_images_are() -> None:
    clock = FakeClock()
    predictor = make_predictor(clock, interval_ms=1)
    loads = [WorkEstimate(5.0), WorkEstimate(60.0)] * 100
    for load in loads:
        receive(predictor, load)
    for load in loads[:160]:
        clock.advance_ms(3 * load.work_ms)
        predictor.release(load, has_run=True)
    remaining_ms = sum(load.work_ms for load in loads[160:])
    assert predictor.predicted_wait_ms == pytest.approx(3 * remaining_ms, rel=0.1)


def test_an_interactive_image_waits_for_no_more_bulk_images_than_can_be_running() -> None:
    predictor = make_predictor(FakeClock(), interval_ms=10, capacity=2)
    receive(predictor, BULK, 30)
    receive(predictor, IMAGE, 3)
    assert predictor.predict_wait_ms(Priority.INTERACTIVE) == pytest.approx(50)
    assert predictor.predict_wait_ms(Priority.BULK) == pytest.approx(330)
    assert (predictor.count_ahead(Priority.INTERACTIVE), predictor.count_ahead(Priority.BULK)) == (5, 33)


def test_an_image_that_failed_after_its_work_was_done_teaches_as_an_answer_does() -> None:
    clock = FakeClock()
    predictor = make_predictor(clock, interval_ms=10)
    receive(predictor, IMAGE, 110)
    for _ in range(100):
        clock.advance_ms(30)
        predictor.release(IMAGE, has_run=True)
    assert predictor.predicted_wait_ms == pytest.approx(300, rel=0.05)


def test_nothing_is_left_of_what_has_gone() -> None:
    predictor = make_predictor(FakeClock())
    loads = [WorkEstimate(0.1 * number) for number in range(1, 50)]
    for load in loads:
        receive(predictor, load)
    for load in loads:
        predictor.release(load, has_run=False)
    assert predictor.predicted_wait_ms == 0
