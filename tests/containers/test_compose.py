"""`docker-compose up -d` in a fresh checkout: the service and the dashboard, with nothing set but free ports."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import open_chromium, open_page
from tests.containers.compose import Project, project
from tests.containers.docker_cli import CAT, CHELSEA, Container, docker, wait_until

# The first test's time includes that of the containers to come up.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def lightbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with project(tmp_path_factory.mktemp("compose")) as running:
        running.run("up", "-d")
        yield running


@pytest.fixture
def api(lightbox: Project) -> Container:
    return lightbox.container("api")


@pytest.fixture
def dashboard(lightbox: Project) -> Container:
    return lightbox.container("dashboard", port=8501)


def test_the_dashboard_starts_once_the_service_is_healthy(api: Container, dashboard: Container) -> None:
    until = ("--since", api.inspect()["Created"], "--until", dashboard.inspect()["State"]["StartedAt"])
    of_the_service = ("--filter", f"container={api.name}", "--filter", "event=health_status")

    events = docker("events", *until, *of_the_service, "--format", "{{.Status}}")

    assert events.splitlines()[-1:] == ["health_status: healthy"]


def test_a_photograph_is_classified_and_the_dashboard_answers(api: Container, dashboard: Container) -> None:
    assert CAT.search(api.classify()["predictions"][0]["label"])
    dashboard.wait_health("healthy")

    dashboard.wait_ready("/_stcore/health")


@pytest.mark.browser
def test_a_photograph_dropped_on_the_dashboard_is_classified(dashboard: Container) -> None:
    dashboard.wait_health("healthy")

    with open_chromium() as browser, open_page(browser, dashboard.url) as page:
        page.locator("input[type=file]").set_input_files(CHELSEA)
        expect(page.get_by_role("heading", name=CAT)).to_be_visible()
        expect(page.get_by_text(re.compile(r"1,000 classes · 224 × 224 px · openvino"))).to_be_visible()
        page.get_by_role("link", name="Performance").click()
        expect(page.get_by_test_id("stMetric").filter(has_text="Requests").first).to_be_visible()


def test_nobody_reaches_it_from_another_machine(lightbox: Project) -> None:
    ports = [running.inspect()["NetworkSettings"]["Ports"] for running in lightbox.containers()]
    published = [binding["HostIp"] for bindings in ports for to in bindings.values() if to for binding in to]

    assert published == ["127.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize("service", ["api", "dashboard"])
def test_a_container_has_no_rights_and_bounds_on_all_that_it_uses(lightbox: Project, service: str) -> None:
    running = lightbox.container(service)
    host = running.inspect()["HostConfig"]

    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert set(re.findall(r"Cap\w+:\s*(\w+)", running.run("cat", "/proc/self/status"))) == {"0" * 16}
    assert re.search(r"NoNewPrivs:\s*1", running.run("cat", "/proc/self/status"))
    assert running.run("id", "-u") == "1034"
    assert min(host["Memory"], host["NanoCpus"], host["PidsLimit"]) > 0


def test_the_history_outlives_down_and_up(lightbox: Project) -> None:
    request_id = lightbox.container("api").classify()["request_id"]

    lightbox.run("down")
    lightbox.run("up", "-d")

    api = lightbox.container("api")
    wait_until(lambda: request_id in api.journal(), "the journal that was kept is read")
