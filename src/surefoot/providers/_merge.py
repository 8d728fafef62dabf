"""Pieces of a vendor's JSON that came in a stream, put together as the whole answer would have them."""

from __future__ import annotations

from typing import Any

# Text under these names names something: it is repeated, never continued.
NAMES = frozenset(
    {"type", "id", "index", "role", "name", "format", "object", "model", "status", "mime_type", "mimeType", "signature", "url"}
)


def merged(old: Any, new: Any, name: str = "") -> Any:
    """`new` after `old`, values of the field `name`: text goes on, objects are merged field by field, lists item by item.

    Items of lists belong together by their `index`; without one, an item goes on with the last where both are texts of one `type`.
    """
    if old is None or new is None:
        return old if new is None else new
    if isinstance(old, str) and isinstance(new, str):
        return new or old if name in NAMES else old + new
    if isinstance(old, dict) and isinstance(new, dict):
        found = dict(old)
        for key, value in new.items():
            found[key] = merged(found.get(key), value, key)
        return found
    if isinstance(old, list) and isinstance(new, list):
        found_items = list(old)
        for item in new:
            _add(found_items, item)
        return found_items
    return new


def _add(items: list[Any], item: Any) -> None:
    if isinstance(item, dict):
        index = item.get("index")
        same = [at for at, one in enumerate(items) if isinstance(one, dict) and _goes_on(one, item, index, is_last=at == len(items) - 1)]
        if same:
            items[same[-1]] = merged(items[same[-1]], item)
            return
    items.append(item)


def _goes_on(one: dict[str, Any], item: dict[str, Any], index: Any, *, is_last: bool) -> bool:
    if one.get("type") != item.get("type") or (one.get("data") and item.get("data")):  # what is encrypted comes whole
        return False
    if index is not None:
        return bool(one.get("index") == index)
    return (
        is_last
        and (one.get("id") is None or one.get("id") == item.get("id"))
        and any(isinstance(item.get(key), str) for key in ("text", "summary"))
    )
