"""The supervisor over workers that die, hang or are stopped."""

import re
import signal
import socket
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.http.byte_client import expect_refusal
from tests.integration.supervised import PATIENCE_S, supervised

BODY_BYTES = 3_000_000
"""More than the kernel takes while nobody reads."""
BEATS = "beat_until_told_to_stop()"
HANGS = "say('ready'); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
IS_KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


def test_early_deaths_in_a_row_end_the_service(tmp_path: Path) -> None:
    with supervised(tmp_path, f"say('loading'); {IS_KILLED}") as service:
        exit_code = service.process.wait(PATIENCE_S)

    *deaths, verdict = service.log.read_text().splitlines()
    how = r"was ended by SIGKILL \(out of memory\?\) \d+ s after its start, before it was ready\."
    assert exit_code == 1
    assert [bool(re.fullmatch(rf"ERROR Worker 1 \(pid \d+\) {how}", death)) for death in deaths] == [True] * 3
    assert verdict.startswith(
        "CRITICAL No worker gets ready: 3 in a row died before, and the last one was ended by SIGKILL"
    )


def test_a_folder_that_cannot_be_written_ends_the_start_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with supervised(tmp_path, BEATS, shared=tmp_path / "file" / "folder") as service:
        assert service.process.wait(PATIENCE_S) == 1
    folder = tmp_path / "file" / "folder"
    assert service.log.read_text() == f"lightbox: cannot write to {folder} (LIGHTBOX_HEARTBEAT_DIR): Not a directory\n"


def test_a_death_is_logged_and_the_worker_replaced(tmp_path: Path) -> None:
    with supervised(tmp_path, f"if is_first():\n    say('ready'); sys.exit(7)\n{BEATS}") as service:
        service.wait_for_line("ended with exit code 7")
        assert "before it was ready" not in service.log.read_text()
        service.wait_until(lambda: service.ready() == [1])
        assert service.stop() == 0


def test_a_worker_that_dies_while_loading_is_restarted_after_a_pause(tmp_path: Path) -> None:
    script = f"if is_first():\n    {BEATS}\nwhile not is_anyone_heard(): time.sleep(0.01)\n{IS_KILLED}"
    with supervised(tmp_path, script, workers=2) as service:
        service.wait_for_line("WARNING Another worker is started in 30 s; the others serve meanwhile.")
        assert service.stop() == 0
    assert service.log.read_text().count("\n") == 2


def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    with supervised(tmp_path, f"if is_first():\n    {HANGS}\n{BEATS}", check_s=0.05) as service:
        service.wait_for_line("hangs: it has not renewed its status for 3 s. It is killed.")
        service.wait_for_line("was killed because it hung")
        service.wait_until(lambda: service.ready() == [1])
        assert service.stop() == 0


def test_a_worker_that_hangs_is_killed_when_the_service_stops(tmp_path: Path) -> None:
    with supervised(tmp_path, HANGS, check_s=0.05) as service:
        service.wait_until(lambda: service.ready() == [1])
        assert service.stop() == 0
    assert "was killed because it hung" in service.log.read_text()


def test_a_suspended_worker_is_continued_when_the_service_stops(tmp_path: Path) -> None:
    with supervised(tmp_path, BEATS, check_s=1) as service:
        service.wait_until(lambda: service.ready() == [1])
        service.worker().suspend()
        assert service.stop() == 0
    assert service.log.read_text() == ""


def test_a_reload_removes_the_status_and_gauges_before(tmp_path: Path) -> None:
    script = f"(folder / 'series' / f'gauge_livesum_{{number}}.db').touch()\n{BEATS}"
    with supervised(tmp_path, script) as service:
        service.wait_until(lambda: service.ready() == [1])
        service.process.send_signal(signal.SIGHUP)
        service.wait_until(lambda: service.ready() == [2])
        service.wait_until(lambda: gauges(tmp_path) == ["gauge_livesum_2.db"])
        assert service.stop() == 0


def test_a_table_that_was_removed_is_written_again(tmp_path: Path) -> None:
    with supervised(tmp_path, BEATS) as service:
        service.wait_until(lambda: service.ready() == [1])
        [table] = tmp_path.glob("lightbox-*/workers")
        table.unlink()
        service.wait_until(table.exists)
        service.worker().kill()
        service.wait_for_line("was ended by SIGKILL")
        service.wait_until(lambda: service.ready() == [1])
        assert service.stop() == 0


def test_unaccepted_connections_get_503_at_a_stop(tmp_path: Path) -> None:
    with supervised(tmp_path, BEATS) as service:
        service.wait_until(lambda: service.ready() == [1])
        with closing(socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S)) as client:
            service.process.terminate()
            client.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES + bytes(BODY_BYTES))
            headers, _ = expect_refusal(client, 503, "draining")
        assert service.process.wait(PATIENCE_S) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S)

    assert headers["retry-after"] == "1"


def test_new_connections_are_refused_when_no_worker_accepts_any_more(tmp_path: Path) -> None:
    script = f"{BEATS[:-2]}(after=lambda: (say('draining', False), time.sleep(600)))"
    with supervised(tmp_path, script, check_s=1) as service:
        service.wait_until(lambda: service.ready() == [1])
        worker = service.worker()
        service.process.terminate()
        service.wait_until(lambda: not is_listening(service.port))
        assert worker.status() == psutil.STATUS_SLEEPING


def gauges(folder: Path) -> list[str]:
    return [file.name for file in folder.glob("lightbox-*/series/gauge_*")]


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    except ConnectionRefusedError:
        return False
    return True
