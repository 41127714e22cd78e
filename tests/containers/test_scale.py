"""Two replicas behind nginx, as `--profile scale` runs them: one is killed or stopped, and nobody notices."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.chromium import open_chromium, open_page
from tests.containers.clients import NOTICED_S, PATIENT, load
from tests.containers.compose import ANY_FREE_PORT, Project, project
from tests.containers.docker_cli import CAT, CHELSEA, Container, docker, wait_for_healthy, wait_until
from tests.containers.entry_proxy import API_PORT, EntryProxy, address_of

# Several waits in each, and the first test's time includes that of the containers to come up.
pytestmark = pytest.mark.timeout(2400)
REPLICAS = 2
UP = ("up", "-d", "--scale", f"api={REPLICAS}", "--scale", f"dashboard={REPLICAS}")
VISITORS = 32
VISITS = 3


def wait_for_both(running: Project, service: str = "api") -> list[Container]:
    labels = (f"com.docker.compose.project={running.name}", f"com.docker.compose.service={service}")
    return wait_for_healthy(REPLICAS, *labels)


@pytest.fixture(scope="module")
def lightbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    settings = {
        "COMPOSE_PROFILES": "scale",
        "LIGHTBOX_MODELS": "efficientnet_lite0",
        "LIGHTBOX_URL": "http://nginx:8080",
        "LIGHTBOX_NGINX_PORT": ANY_FREE_PORT,
        "LIGHTBOX_NGINX_DASHBOARD_PORT": ANY_FREE_PORT,
        **PATIENT,
    }
    with project(tmp_path_factory.mktemp("scale"), **settings) as running:
        running.run(*UP)
        yield running


@pytest.fixture(scope="module")
def proxy(lightbox: Project, jpegs: list[Path]) -> EntryProxy:
    """Both replicas of the service behind it, and both of the dashboard: another one would move visitors."""
    nginx = lightbox.container("nginx")
    nginx.wait_health("healthy")
    proxy = EntryProxy(nginx)
    dashboards = {address_of(replica, 8501) for replica in wait_for_both(lightbox, "dashboard")}
    wait_until(lambda: proxy.replicas_in_use("dashboard") == dashboards, "nginx has found both dashboards")
    proxy.wait_open(wait_for_both(lightbox), jpegs)
    return proxy


@pytest.fixture
def replicas(lightbox: Project, proxy: EntryProxy, jpegs: list[Path]) -> list[Container]:
    """Both of them, each with a share of the requests."""
    both = wait_for_both(lightbox)
    with load(proxy.url, jpegs) as asking:
        proxy.wait_for(both, asking)
    assert asking.failures() == []
    return both


@pytest.mark.usefixtures("replicas")
def test_a_batch_of_megabytes_is_passed_on_whole(proxy: EntryProxy, jpegs: list[Path]) -> None:
    images = [("images", (path.name, path.read_bytes())) for path in jpegs[:60]]

    answer = requests.post(f"{proxy.url}/v1/classify/batch", files=images, headers={"Priority": "u=7"}, timeout=120)

    assert sum(len(content) for _, (_, content) in images) > 2_000_000
    assert [item["filename"] for item in answer.json()["results"]] == [path.name for path in jpegs[:60]]
    assert [item["error"] for item in answer.json()["results"] if item["error"]] == []


def test_nginx_refuses_what_is_too_large_in_the_services_words(proxy: EntryProxy) -> None:
    refused = requests.post(f"{proxy.url}/v1/classify", data=bytes(21_000_000), timeout=60)

    assert refused.status_code == 413
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert (refused.json()["code"], refused.json()["status"]) == ("image_too_large", 413)
    assert refused.json()["request_id"] == refused.headers["X-Request-ID"]
    assert "server" not in refused.json()["detail"]


@pytest.mark.browser
def test_the_dashboard_behind_nginx_works_over_its_web_socket(proxy: EntryProxy) -> None:
    sockets: list[str] = []
    assert requests.get(f"{proxy.dashboard_url}/_stcore/health", timeout=30).status_code == 200

    with open_chromium() as browser, open_page(browser, "about:blank") as page:
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(proxy.dashboard_url)
        page.locator("input[type=file]").set_input_files(CHELSEA)
        expect(page.get_by_role("heading", name=CAT)).to_be_visible()
        cookies = [cookie["name"] for cookie in page.context.cookies() if cookie["name"] == "lightbox_visitor"]

    # One that broke on a busy machine is followed by another.
    assert set(sockets) == {f"{proxy.dashboard_url.replace('http', 'ws')}/_stcore/stream"}
    assert cookies == ["lightbox_visitor"]


def visit(proxy: EntryProxy, visitor: requests.Session, name: str) -> None:
    """A page is opened: a request, and a websocket of which it is enough that it begins. Each on a new connection."""
    upgrade = {
        "Connection": "upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",  # the example of RFC 6455
    }
    for path, headers, status in (("/", {}, 200), ("/_stcore/stream", upgrade, 101)):
        answer = visitor.get(proxy.dashboard_url + path, headers={**headers, "X-Request-ID": name}, timeout=30)
        visitor.close()
        assert answer.status_code == status


def test_a_visitor_stays_with_one_replica_and_visitors_share_both(lightbox: Project, proxy: EntryProxy) -> None:
    addresses = {address_of(replica, 8501) for replica in wait_for_both(lightbox, "dashboard")}
    # Their first request has no cookie yet and goes anywhere; so many do not all go to one.
    run = uuid.uuid4().hex[:8]

    for number in range(VISITORS):
        with requests.Session() as visitor:
            for _ in range(VISITS):
                visit(proxy, visitor, f"{run}-{number}")

    def answers() -> list[list[str]]:
        return list(proxy.answered_by(run).values())

    wait_until(lambda: [len(its) for its in answers()] == [2 * VISITS] * VISITORS, "nginx has written its log")
    replicas_of_each = [set(its) for its in answers()]
    assert [len(replicas) for replicas in replicas_of_each] == [1] * VISITORS
    assert set.union(*replicas_of_each) == addresses


def kill(replica: Container) -> None:
    """At once, network and all: nobody is left to refuse a connection."""
    docker("kill", replica.name)


def crash(replica: Container) -> None:
    """Its master dies, and the engine starts it anew."""
    master = replica.run("sh", "-c", "cat /proc/1/task/1/children").split()[0]
    replica.run("sh", "-c", f"kill -9 {master}", is_checked=False)


@pytest.mark.parametrize("end", [kill, crash, Container.stop])
def test_a_replica_that_ends_under_load_costs_no_request(
    end: Callable[[Container], None], lightbox: Project, proxy: EntryProxy, replicas: list[Container], jpegs: list[Path]
) -> None:
    started = replicas[0].inspect()["State"]["StartedAt"]
    with load(proxy.url, jpegs, timeout_s=NOTICED_S) as asking:
        wait_until(lambda: asking.count() > 50, "the load is running")
        end(replicas[0])
        answered = asking.count()
        wait_until(lambda: asking.count() > answered + 100, "the other replica answers")
        if end is not crash:
            lightbox.run(*UP)
        wait_until(lambda: replicas[0].inspect()["State"]["StartedAt"] != started, "it is started anew")
        proxy.wait_for(wait_for_both(lightbox), asking)

    asking.assert_nobody_noticed()


def test_the_log_of_nginx_names_each_request_as_the_journal_does(proxy: EntryProxy, replicas: list[Container]) -> None:
    name = Container(proxy.container.name, API_PORT).classify()["request_id"]

    wait_until(lambda: f'"request_id":"{name}"' in proxy.container.logs(), "nginx has written its log")
    wait_until(lambda: name in replicas[0].journal(), "the replica that answered has written its journal")
