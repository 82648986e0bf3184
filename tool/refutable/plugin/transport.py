"""Records as plain data, so that reports can carry them between processes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pydantic import TypeAdapter

T = TypeVar("T")


@cache
def _adapter(kind: type[T]) -> TypeAdapter[T]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def plain(record: object) -> dict[str, Any]:
    """Return a record as JSON-ready data; NaN and infinity become ``None``."""
    data: dict[str, Any] = _adapter(cast("Hashable", type(record))).dump_python(record, mode="json")
    return data


def restore(kind: type[T], data: dict[str, Any]) -> T:
    """Return the record that `plain` made the data from."""
    record: T = _adapter(cast("Hashable", kind)).validate_python(data)
    return record
