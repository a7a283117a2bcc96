"""Tables of mixed columns: frames to arrays and back."""

from typing import TYPE_CHECKING

from probgen._lazy import lazy_names

if TYPE_CHECKING:
    from probgen.preprocessing.table_encoder import TableEncoder

__all__ = ["TableEncoder"]
_HOMES = {"TableEncoder": "preprocessing.table_encoder"}

__getattr__, _ = lazy_names("probgen", _HOMES)
