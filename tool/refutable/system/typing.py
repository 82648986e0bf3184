"""Types that several folders name. Imported where types are checked, never at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | None
"""One value of JSON, and of a label along a dimension."""

Json: TypeAlias = "Scalar | Sequence[Json] | Mapping[str, Json]"
"""Whatever JSON or TOML holds."""
