"""The names of Lightbox's environment variables, so that each process can warn of unknown ones.

Service and dashboard import nothing of each other, and each has to know the names that the other reads.
"""

import difflib
import re
from collections.abc import Callable, Mapping, MutableMapping

PREFIX = "LIGHTBOX_"
SERVICE_NAMES = frozenset(
    {
        "ALLOW_ANONYMOUS",
        "ALLOW_INEXACT",
        "CACHE_BYTES",
        "CACHE_URL",
        "CORS_ORIGINS",
        "DASHBOARD_HOST",
        "DASHBOARD_PORT",
        "DATA_DIR",
        "DECODE_THREADS",
        "DEFAULT_MODEL",
        "DEVICE",
        "DRAIN_TIMEOUT_S",
        "ENGINE",
        "HEARTBEAT_DIR",
        "HOST",
        "JOURNAL_BUFFER_ROWS",
        "JOURNAL_MAX_ROWS",
        "JOURNAL_RETENTION_DAYS",
        "JOURNAL_URL",
        "LANES",
        "LOG_LEVEL",
        "MAX_IMAGES",
        "MAX_IMAGE_BYTES",
        "MAX_INFLIGHT_BYTES",
        "MAX_PIXELS",
        "MAX_QUEUE_ITEMS",
        "MAX_RECEIVING_REQUESTS",
        "MAX_REQUEST_BYTES",
        "MODELS",
        "MODEL_CONTROL",
        "MODEL_STORE",
        "PORT",
        "PRECISION",
        "RECEIVE_TIMEOUT_S",
        "SCALED_DECODING",
        "TARGET_P99_MS",
        "TORCH_COMPILE",
        "WORKERS",
    }
)
DASHBOARD_NAMES = frozenset(
    {
        "DASHBOARD_CONNECT_TIMEOUT_S",
        "DASHBOARD_MAX_FILES",
        "DASHBOARD_MAX_TOTAL_BYTES",
        "DASHBOARD_READ_TIMEOUT_S",
        "PUBLIC_URL",
        "URL",
    }
)
DEPLOYMENT_NAMES = frozenset(
    {
        "API_CPUS",
        "API_MEMORY",
        "BIND",
        "DASHBOARD_IMAGE",
        "GPU_IMAGE",
        "GRAFANA_PORT",
        "IMAGE",
        "MODELS_DIR",
        "NGINX_DASHBOARD_PORT",
        "NGINX_PORT",
        "RESOLVE_IMAGE",
        "STACK",
    }
)
"""Read by Compose and by `deploy/swarm/deploy`."""
INTERNAL_NAMES = frozenset({"MASTER_ID", "NAMES_CHECKED", "PROCESS_MARK"})
"""Set by Lightbox for the processes that it starts."""

_CHECKED = f"{PREFIX}NAMES_CHECKED"
_OF_KUBERNETES = re.compile(
    r"\w*(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)=.*|\w*PORT=(tcp|udp|sctp)://.*"
)
"""What Kubernetes sets for a service that is named lightbox-…, unless a pod has `enableServiceLinks: false`."""


def strip_values(given: Mapping[str, object]) -> dict[str, object]:
    """Return settings without white space around them; what is then empty counts as not given."""
    stripped = {name: value.strip() if isinstance(value, str) else value for name, value in given.items()}
    return {name: value for name, value in stripped.items() if value != ""}


def warn_of_unknown(environment: MutableMapping[str, str], warn: Callable[[str], None]) -> None:
    """Warn of each unknown variable, once for this process and those that inherit its environment."""
    if environment.get(_CHECKED):
        return
    environment[_CHECKED] = "1"
    for warning in describe_unknown(environment):
        warn(warning)


def describe_unknown(environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each unknown variable with our prefix, with the nearest known name."""
    choices = SERVICE_NAMES | DASHBOARD_NAMES | DEPLOYMENT_NAMES
    warnings: list[str] = []
    for variable, value in sorted(environment.items()):
        # Settings are found in capitals and in small letters.
        name = variable.upper().removeprefix(PREFIX)
        is_ours = variable.upper().startswith(PREFIX)
        if not is_ours or name in choices | INTERNAL_NAMES or _OF_KUBERNETES.fullmatch(f"{name}={value}"):
            continue
        nearest = difflib.get_close_matches(name, sorted(choices), n=1)
        advice = f" Did you mean {PREFIX}{nearest[0]}?" if nearest else ""
        warnings.append(f"{variable} has no effect: Lightbox reads no variable of that name.{advice}")
    return warnings
