"""Find out in seconds, before a download starts, that there is no network for it."""

import http.client
import urllib.error
import urllib.request

from bento_service.errors import ModelLoadError
from bento_service.preparation.sources.bundled import BUNDLED_NAMES
from lightbox_client.proxies import find_proxy

_TIMEOUT_S = 5.0


def check_reachable(url: str, *, model: str, cache_dir: str) -> None:
    """Pass if the host of a model's weights answers at all.

    The libraries that download weights retry for up to a minute, or wait for ever, where the host cannot be reached.

    Args:
        url: Where the weights are, or any address on that host. Proxies come from the environment, as usual.
        model: The name asked for, for the error.
        cache_dir: Where the library looks for weights before it downloads them, for the error.

    Raises:
        ModelLoadError: Nothing answered within five seconds.
    """
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the address comes from timm or torchvision
    try:
        urllib.request.urlopen(request, timeout=_TIMEOUT_S).close()  # noqa: S310
    except urllib.error.HTTPError:
        return
    except (OSError, http.client.HTTPException) as error:
        proxy = find_proxy(url)
        reason = f"{error}, through the proxy {proxy}" if proxy else str(error)
        raise no_weights(model, cache_dir=cache_dir, reason=reason) from error


def no_weights(model: str, *, cache_dir: str, reason: str) -> ModelLoadError:
    """Make the error for weights that could not be downloaded."""
    return ModelLoadError(
        f"The weights of {model!r} could not be downloaded ({reason}). Models that need no network: "
        f"{', '.join(BUNDLED_NAMES)}. To use this one, prepare it once with a network "
        f"(`lightbox models prepare {model}`), or copy its weights into the cache at {cache_dir}.",
        model=model,
        bundled=BUNDLED_NAMES,
    )
