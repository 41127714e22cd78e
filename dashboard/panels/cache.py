"""The cache of the worker that answers."""

from collections.abc import Mapping

import streamlit as st

from dashboard import wording
from dashboard.panels.figures import Figure, show_row


def show_cache(cache: Mapping[str, float], *, is_fresh: bool) -> None:
    """Show hits, misses and size; `cache` is empty where the cache is off."""
    st.subheader(
        "The cache",
        anchor=False,
        help="Answers by the image's bytes and the model's version. Counted since the worker started.",
    )
    if not cache:
        st.caption(
            ":material/do_not_disturb_on: It is off: each image is computed anew. "
            "`LIGHTBOX_CACHE_BYTES` above 0 switches it on."
        )
        return
    show_row(_figures(cache), is_fresh=is_fresh)
    entries = int(cache.get("entries", 0))
    answers = "1 answer" if entries == 1 else f"{entries:,} answers"
    kept = f"{answers} in {wording.size(cache.get('bytes', 0.0))} of the worker's memory"
    if "redis_reachable" not in cache:
        st.caption(f":material/memory: Keeps {kept}.")
    elif cache["redis_reachable"]:
        st.caption(f":material/database: Keeps {kept}, and all that the workers share in Redis.")
    else:
        st.caption(f":material/cloud_off: Redis does not answer; until it does there is only what is here, {kept}.")


def _figures(cache: Mapping[str, float]) -> list[Figure]:
    count = {name: int(cache.get(name, 0)) for name in ("hit", "shared", "miss")}
    is_asked = count["hit"] + count["shared"] + count["miss"] > 0
    rate = wording.percent(cache.get("recent_hit_rate", 0.0)) if is_asked else "–"
    return [
        ("Hit rate", rate, "The share of the latest lookups that spared a computation."),
        ("Hits", f"{count['hit']:,}", "Answers that were kept from an earlier request."),
        ("Shared", f"{count['shared']:,}", "Requests that took the answer of an identical one in flight."),
        ("Misses", f"{count['miss']:,}", "Images that were looked up, not found, computed and kept."),
    ]
