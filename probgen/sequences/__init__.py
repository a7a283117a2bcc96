"""Sequences as rows: lists, concatenated sequences and long series to rows, and back."""

from typing import TYPE_CHECKING

from probgen._lazy import lazy_names

if TYPE_CHECKING:
    from probgen.sequences.conversion import (
        from_lengths,
        from_list,
        to_lengths,
        to_list,
        windows,
    )

__all__ = ["from_lengths", "from_list", "to_lengths", "to_list", "windows"]
_HOMES = dict.fromkeys(__all__, "conversion")

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
