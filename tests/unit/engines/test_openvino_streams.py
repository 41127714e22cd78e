"""The two requests of a caller, without OpenVINO."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bento_service.engines.openvino_engine import _run

BATCH = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)


class FakeTensor:
    def __init__(self, data: NDArray[np.float32]) -> None:
        self.data = data


class FakeDevice:
    """Counts what runs at once, and fails at the start or at the end of one image."""

    def __init__(self, *, fails_to_start: int | None = None, fails_to_end: int | None = None) -> None:
        self.fails_to_start = fails_to_start
        self.fails_to_end = fails_to_end
        self.running = self.most_running = 0
        self.pair = (FakeRequest(self), FakeRequest(self))

    def run(self, *, is_ahead: bool) -> list[float]:
        scores, features = _run(self.pair, BATCH, (0, 1), is_ahead=lambda: is_ahead)
        assert np.array_equal(features, scores + 100)
        answers: list[float] = scores[:, 0].tolist()
        return answers


class FakeRequest:
    """An inference request that answers with its image's value."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = device
        self._value: int | None = None

    def start_async(self, inputs: dict[int, NDArray[np.uint8]], *, share_inputs: bool) -> None:
        assert share_inputs
        assert self._value is None, "still running"
        value = int(inputs[0][0, 0, 0, 0])
        if value == self._device.fails_to_start:
            raise RuntimeError("no start")
        self._value = value
        self._device.running += 1
        self._device.most_running = max(self._device.most_running, self._device.running)

    def wait(self) -> None:
        if self._value is None:
            return
        value, self._value = self._value, None
        self._device.running -= 1
        self._answer = value
        if value == self._device.fails_to_end:
            raise RuntimeError("no end")

    def get_output_tensor(self, index: int) -> FakeTensor:
        return FakeTensor(np.array([[self._answer + 100 * index]], np.float32))


@pytest.mark.parametrize(("is_ahead", "most_running"), [(False, 1), (True, 2)])
def test_results_keep_the_order_of_the_batch_with_at_most_one_image_submitted_ahead(
    is_ahead: bool, most_running: int
) -> None:
    device = FakeDevice()
    assert device.run(is_ahead=is_ahead) == [0, 1, 2, 3, 4]
    assert device.most_running == most_running


@pytest.mark.parametrize("is_ahead", [False, True])
@pytest.mark.parametrize("image", range(5))
def test_a_batch_that_fails_half_way_leaves_nothing_running(image: int, is_ahead: bool) -> None:
    for device in (FakeDevice(fails_to_start=image), FakeDevice(fails_to_end=image)):
        with pytest.raises(RuntimeError, match=r"no (start|end)"):
            device.run(is_ahead=is_ahead)
        assert device.running == 0
        device.fails_to_start = device.fails_to_end = None
        assert device.run(is_ahead=is_ahead) == [0, 1, 2, 3, 4]
