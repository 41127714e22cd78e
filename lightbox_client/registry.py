"""The calls that change which versions of a model a service has, and which of them answers."""

import time
from collections.abc import Callable
from urllib.parse import quote

from lightbox_client.contract import CanaryChoice, ModelVersions, NoChoice, ShadowChoice, VersionChoice, WireModel
from lightbox_client.errors import ServiceTimeoutError
from lightbox_client.transport import Transport, read

_POLL_S = 0.25
_UNDER_WAY = ("LOADING", "UNLOADING")


class RegistryCalls:
    """Calls of `Client` that change versions and routing.

    Each takes a model as `name`, `name:version` (a version's first characters will do) or `name@alias`, and returns the
    desired state at once; `wait_until_done` waits for the workers. Each raises `ProblemError` where it is refused.
    """

    _transport: Transport
    _sleep: Callable[[float], None]

    def versions(self, name: str) -> ModelVersions:
        """Return the desired state of a model, how far the workers are, and the last changes."""
        return read(self._transport.get(f"/v1/models/{quote(name)}/versions"), ModelVersions)

    def load_model(self, model: str) -> ModelVersions:
        """Load a version; without one, that which was stored last. The first one of a model answers to its name."""
        return self._change(model, "load", VersionChoice())

    def unload_model(self, model: str) -> ModelVersions:
        """Unload a version, once its last request is answered; without one, the whole model."""
        return self._change(model, "unload", VersionChoice())

    def promote_model(self, model: str) -> ModelVersions:
        """Let a version answer to the bare name; without one, the challenger, else that which was stored last."""
        return self._change(model, "promote", VersionChoice())

    def roll_back_model(self, name: str) -> ModelVersions:
        """Let the former champion answer to the bare name again."""
        return self._change(name, "rollback", NoChoice())

    def set_shadow(self, model: str, share: float) -> ModelVersions:
        """Run this share of the images on a version too, and compare the answers; 0 ends it."""
        return self._change(model, "shadow", ShadowChoice.model_construct(share=share))

    def set_canary(self, model: str, share: float, *, header: str | None = None) -> ModelVersions:
        """Let a version answer this share of the requests for the bare name; 0 ends it.

        Requests are chosen by the hash of a header, or of the image.
        """
        return self._change(model, "canary", CanaryChoice.model_construct(share=share, header=header))

    def wait_until_done(self, name: str, *, timeout_s: float = 120.0) -> ModelVersions:
        """Return once every worker has done what was asked for; the state is then READY, FAILED or UNLOADED.

        Raises:
            ServiceTimeoutError: It took longer than `timeout_s`.
        """
        end_s = time.monotonic() + timeout_s
        while (versions := self.versions(name)).state in _UNDER_WAY:
            if time.monotonic() >= end_s:
                raise ServiceTimeoutError(
                    f"{name} is still {versions.state} after {timeout_s:g} s: {versions.workers_done} of "
                    f"{versions.workers} workers are done"
                )
            self._sleep(_POLL_S)
        return versions

    def _change(self, model: str, action: str, choice: WireModel) -> ModelVersions:
        # The service checks the values, and says what it allows.
        body = choice.model_dump_json(exclude_none=True).encode()
        path = f"/v1/models/{quote(model, safe='/:@')}/{action}"
        return read(self._transport.post(path, {}, body=body, media_type="application/json"), ModelVersions)
