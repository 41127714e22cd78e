"""Check within seconds whether weights can be downloaded."""

import http.client
import urllib.error
import urllib.request

from bento_service.domain.model_names import BUNDLED_NAMES
from bento_service.errors import ModelLoadError
from lightbox_client.proxies import find_proxy

_TIMEOUT_S = 5.0


def check_reachable(url: str, *, model: str, cache_dir: str) -> None:
    """Check that the host of a model's weights responds, with any status, through the environment's proxies.

    Without a network huggingface_hub 2.4 retries for 47 s, also with HF_HUB_ETAG_TIMEOUT=4, and torch.hub has no
    time-out. The model's name and the library's cache of weights are for the error.

    Raises:
        ModelLoadError: There was no response within five seconds.
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
    """Return the error for weights that could not be downloaded."""
    return ModelLoadError(
        f"The weights of {model!r} could not be downloaded ({reason}). Models that need no network: "
        f"{', '.join(BUNDLED_NAMES)}. To use this one, prepare it once with a network "
        f"(`lightbox models prepare {model}`), or copy its weights into the cache at {cache_dir}.",
        model=model,
        bundled=BUNDLED_NAMES,
    )
