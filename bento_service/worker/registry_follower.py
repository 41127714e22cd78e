"""Keeps what one worker serves at what the registry wants (docs/adr/0037-registry.md)."""

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from bento_service.domain.registry import (
    CHAMPION,
    Deployment,
    LoadState,
    VersionStatus,
    WorkerReport,
)
from bento_service.errors import JournalUnavailableError, LightboxError
from bento_service.models.comparisons import WaitingComparisons
from bento_service.models.registry import RegistryStore
from bento_service.pipeline.model_control import ModelControl
from bento_service.worker.registry_routing import (
    States,
    applied_revision,
    list_ready,
    restrict,
    routing_of,
    versions_in_use,
)

logger = logging.getLogger(__name__)

POLL_S = 0.5
"""Two polls and a swap are within the two seconds in which all workers are to follow a change."""
_REPORT_S = 3.0
"""A report is repeated this often; it is valid for `models.registry.REPORT_VALID_S`."""
_ACTOR = "start"


class RegistryFollower:
    """Polls the registry, and has versions loaded, routed and unloaded. Used on one event loop.

    Loads run one at a time, beside the polls: a promotion of a loaded version waits for no load of another. Routing
    names only versions that are READY here: a promoted version that is not loaded yet is loaded first, and what served
    goes on until then. While the database is out of reach, everything stays as it is.
    """

    def __init__(
        self,
        registry: RegistryStore,
        control: ModelControl,
        comparisons: WaitingComparisons,
        *,
        served: Mapping[str, str],
        missing: Mapping[str, str],
        on_states: Callable[[States], None] = lambda states: None,
        poll_s: float = POLL_S,
    ) -> None:
        """Do nothing yet.

        Args:
            registry: Closed together with the follower.
            control: Loads, routes and unloads.
            comparisons: Written to the registry at each poll.
            served: The version of each model that was loaded at the start, which answers to its name.
            missing: Why a model of the settings is not served, by its name.
            on_states: Called with the state of each version at each poll.
            poll_s: Pause between two polls.
        """
        self._registry = registry
        self._control = control
        self._comparisons = comparisons
        self._missing = missing
        self._on_states = on_states
        self._poll_s = poll_s
        self._worker_id = uuid.uuid4().hex
        self._host = socket.gethostname()
        self._wanted: Mapping[str, Deployment] = {}
        self._routed = {name: Deployment(name, (version,), {CHAMPION: version}) for name, version in served.items()}
        self._refused: dict[str, Deployment] = {}
        self._seen_revision: int | None = None
        self._failed_at: dict[tuple[str, str], int] = {}
        self._load: asyncio.Task[None] | None = None
        self._unloads: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._reported: WorkerReport | None = None
        self._reported_s = 0.0
        self._is_cut_off = False
        self._following: asyncio.Task[None] | None = None

    def deployments(self) -> Mapping[str, Deployment]:
        """Return how each model is routed here, by name."""
        return dict(self._routed)

    def states(self) -> States:
        """Return the state of each version here; a model without any version has the empty one."""
        found = dict(self._control.states())
        names = {name for name, _ in found}
        missing = {name: reason for name, reason in self._missing.items() if name not in names}
        return found | {(name, ""): VersionStatus(LoadState.FAILED, reason) for name, reason in missing.items()}

    async def start(self) -> None:
        """Come to the state that the registry wants, then follow it in the background.

        A version that cannot be loaded is FAILED, and a database that is out of reach is no reason to wait.
        """
        await self._step()
        while not self._is_cut_off and (self._load is not None or self._unloads or self._changed.is_set()):
            await self._changed.wait()
            await self._step()
        self._following = asyncio.create_task(self._follow())

    def stop_following(self) -> None:
        """Change nothing any more; a load that runs is given up."""
        for task in (self._following, self._load, *self._unloads.values()):
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        """Stop, take the worker's report back, and close the registry."""
        self.stop_following()
        try:
            await asyncio.to_thread(self._registry.withdraw, self._worker_id)
        except JournalUnavailableError:
            logger.info("The registry cannot be told that this worker ends; its report expires.")
        await asyncio.to_thread(self._registry.close)

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
            try:
                await self._step()
            # A defect in one step must not end the following.
            except Exception:
                logger.exception("A change of the registry could not be followed; trying again.")
                await asyncio.sleep(self._poll_s)

    async def _step(self) -> None:
        self._changed.clear()
        try:
            if self._is_cut_off:
                await asyncio.to_thread(self._registry.migrate)
            await self._read()
            if self._is_cut_off:
                logger.info("The registry is within reach again.")
            self._is_cut_off = False
        except JournalUnavailableError as error:
            self._note_outage(error)
        self._reconcile()
        states = self.states()
        self._on_states(states)
        if not self._is_cut_off:
            try:
                await self._write(states)
            except JournalUnavailableError as error:
                self._note_outage(error)

    async def _read(self) -> None:
        revision = await asyncio.to_thread(self._registry.revision)
        if revision == self._seen_revision:
            return
        wanted = await asyncio.to_thread(self._registry.deployments)
        # What serves and nobody has written down yet; all of it, if the database was lost.
        states = self._control.states()
        unknown = {name: routed for name, routed in self._routed.items() if name not in wanted and not routed.is_empty}
        for name, routed in unknown.items():
            loaded = list_ready(name, states)
            served = replace(routed, versions=tuple(dict.fromkeys((*routed.versions, *loaded))))
            begun = await asyncio.to_thread(
                self._registry.change,
                name,
                partial(_begin, served),
                action="start",
                version=served.champion,
                actor=_ACTOR,
            )
            wanted = {**wanted, name: begun}
        self._wanted, self._seen_revision = wanted, None if unknown else revision

    def _reconcile(self) -> None:
        states = self._control.states()
        for deployment in self._wanted.values():
            self._route(deployment, states)
            self._unload_unwanted(deployment, states)
        if self._load is None:
            self._load = self._begin_load(states)

    def _route(self, wanted: Deployment, states: States) -> None:
        routed = self._routed.get(wanted.name)
        possible = restrict(wanted, states, routed)
        if possible is None or any(
            known is not None and routing_of(known) == routing_of(possible)
            for known in (routed, self._refused.get(wanted.name))
        ):
            return
        try:
            self._control.set_deployment(possible)
        except LightboxError as error:
            logger.warning("%s stays as it is: %s", wanted.name, error.message)
            # The next poll would not change that.
            self._refused[wanted.name] = possible
        else:
            self._refused.pop(wanted.name, None)
            self._routed[wanted.name] = possible

    def _unload_unwanted(self, wanted: Deployment, states: States) -> None:
        routed = self._routed.get(wanted.name)
        in_use = versions_in_use(routed) if routed is not None else set()
        for (name, version), status in states.items():
            is_unwanted = name == wanted.name and version not in wanted.versions and version not in in_use
            is_idle = status.state in {LoadState.READY, LoadState.FAILED} and (name, version) not in self._unloads
            if is_unwanted and is_idle:
                self._unloads[name, version] = asyncio.create_task(self._run_unload(name, version))

    async def _run_unload(self, name: str, version: str) -> None:
        try:
            await self._control.unload(name, version)
        except LightboxError as error:
            logger.warning("%s:%s stays loaded: %s", name, version, error.message)
        finally:
            del self._unloads[name, version]
            self._changed.set()

    def _begin_load(self, states: States) -> "asyncio.Task[None] | None":
        for deployment in self._wanted.values():
            # The champion first: the bare name waits for it.
            champion = deployment.aliases.get(CHAMPION)
            for version in sorted(deployment.versions, key=lambda one: one != champion):
                if self._is_due(deployment, version, states):
                    return asyncio.create_task(self._run_load(deployment, version))
        return None

    def _is_due(self, deployment: Deployment, version: str, states: States) -> bool:
        """Whether a wanted version is to be loaded. One that has failed is tried again at the model's next change."""
        key = (deployment.name, version)
        if self._failed_at.get(key) == deployment.revision or key in self._unloads:
            return False
        return key not in states or states[key].state is LoadState.FAILED

    async def _run_load(self, deployment: Deployment, version: str) -> None:
        name = deployment.name
        known = [one.reason for key, one in self.states().items() if key in {(name, version), (name, "")}]
        try:
            await self._control.load(name, version, loaded_by=await self._count_loaded(name, version))
            self._failed_at.pop((name, version), None)
        except LightboxError as error:
            self._failed_at[name, version] = deployment.revision
            # Once, and not again at each further change of the model.
            if error.message not in known:
                logger.error("%s:%s cannot be loaded: %s", name, version, error.message)
        # A defect is no reason to try at each poll.
        except Exception:
            self._failed_at[name, version] = deployment.revision
            logger.exception("%s:%s cannot be loaded", name, version)
        finally:
            self._load = None
            self._changed.set()

    async def _count_loaded(self, name: str, version: str) -> int:
        """Return how many other workers of this machine have a version."""
        try:
            workers = await asyncio.to_thread(self._registry.workers)
        except JournalUnavailableError:
            return 0
        others = (one for one in workers if one.host == self._host and one.worker_id != self._worker_id)
        return sum(one.state_of(name, version) is LoadState.READY for one in others)

    async def _write(self, states: States) -> None:
        if waiting := self._comparisons.peek():
            await asyncio.to_thread(self._registry.add_comparisons, waiting)
            self._comparisons.drop(waiting)
        applied = {
            name: applied_revision(wanted, states, self._failed_at, self._routed.get(name))
            for name, wanted in self._wanted.items()
        }
        report = WorkerReport(self._worker_id, self._host, applied, states)
        if report != self._reported or time.monotonic() - self._reported_s >= _REPORT_S:
            await asyncio.to_thread(self._registry.report, report)
            self._reported, self._reported_s = report, time.monotonic()

    def _note_outage(self, error: JournalUnavailableError) -> None:
        if not self._is_cut_off:
            logger.warning("The registry is out of reach; what is served stays as it is: %s", error)
        self._is_cut_off = True


def _begin(served: Deployment, wanted: Deployment | None) -> Deployment:
    return served if wanted is None else wanted
