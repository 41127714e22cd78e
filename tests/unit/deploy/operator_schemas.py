"""What the Prometheus operator's custom resources may hold, as far as Lightbox uses them.

Names, types and patterns are those of its definitions monitoring.coreos.com/v1 (prometheus-operator 0.84:
example/prometheus-operator-crd). A field that is not here is refused, as `kubectl apply` refuses one that is unknown.
"""

from typing import Any

Schema = dict[str, Any]

DURATION = (
    r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"  # Prometheus's
)


def _object(properties: Schema, *required: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_STRING: Schema = {"type": "string"}
_STRINGS: Schema = {"type": "object", "additionalProperties": _STRING}
_DURATION: Schema = {"type": "string", "pattern": DURATION}
_RULE = _object(
    {
        "alert": _STRING,
        "record": _STRING,
        "expr": {"type": ["string", "integer"]},
        "for": _DURATION,
        "keep_firing_for": _DURATION | {"minLength": 1},
        "labels": _STRINGS,
        "annotations": _STRINGS,
    },
    "expr",
) | {"oneOf": [{"required": ["alert"]}, {"required": ["record"]}]}
_GROUP = _object(
    {
        "name": _STRING | {"minLength": 1},
        "interval": _DURATION,
        "limit": {"type": "integer"},
        "rules": {"type": "array", "items": _RULE},
    },
    "name",
)
_ENDPOINT = _object({"port": _STRING, "path": _STRING, "interval": _DURATION, "scrapeTimeout": _DURATION})

SPECIFICATIONS: dict[str, Schema] = {
    "PrometheusRule": _object({"groups": {"type": "array", "items": _GROUP}}, "groups"),
    "ServiceMonitor": _object(
        {
            "jobLabel": _STRING,
            "selector": _object({"matchLabels": _STRINGS}),
            "endpoints": {"type": "array", "items": _ENDPOINT, "minItems": 1},
        },
        "selector",
        "endpoints",
    ),
}
"""The schema of `spec`, by kind."""
