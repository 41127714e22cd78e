"""Content negotiation by the header `Accept` (RFC 9110, 12.5.1)."""


def prefers(accept: str, offered: str, default: str) -> bool:
    """Tell whether a request asks for the media type `offered` rather than `default`, which it gets in every doubt.

    Both are whole types, such as `image/png`. A weight that is no number counts as 1. The time is linear in the
    header's length: it is read on the event loop.
    """
    weights = dict(_read_range(part) for part in accept.split(",") if part.strip())
    return _weigh(weights, offered) > _weigh(weights, default)


def _weigh(weights: dict[str, float], media_type: str) -> float:
    """Return the weight of the most specific range that has the type; 0 where none has."""
    kind = media_type.partition("/")[0]
    found = [weights[one] for one in (media_type, f"{kind}/*", "*/*") if one in weights]
    return found[0] if found else 0.0


def _read_range(part: str) -> tuple[str, float]:
    media_type, *parameters = (one.strip().lower() for one in part.split(";"))
    values = [value for name, _, value in (one.partition("=") for one in parameters) if name.rstrip() == "q"]
    try:
        weight = float(values[0]) if values else 1.0
    except ValueError:
        weight = 1.0
    return media_type, weight
