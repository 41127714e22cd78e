"""Content negotiation by the header `Accept` (RFC 9110, 12.5.1)."""

from email.message import Message


def prefers(accept: str, offered: str, default: str) -> bool:
    """Tell whether a request asks for the media type `offered` rather than `default`, which it gets in every doubt.

    Both are whole types, such as `image/png`. A weight that is no number counts as 1.
    """
    weights = dict(_read_range(part) for part in accept.split(",") if part.strip())
    return _weigh(weights, offered) > _weigh(weights, default)


def _weigh(weights: dict[str, float], media_type: str) -> float:
    """Return the weight of the most specific range that has the type; 0 where none has."""
    kind = media_type.partition("/")[0]
    found = [weights[one] for one in (media_type, f"{kind}/*", "*/*") if one in weights]
    return found[0] if found else 0.0


def _read_range(part: str) -> tuple[str, float]:
    header = Message()
    header["Content-Type"] = part.strip()
    try:
        weight = float(str(header.get_param("q", "1")))
    except ValueError:
        weight = 1.0
    return part.partition(";")[0].strip().lower(), weight
