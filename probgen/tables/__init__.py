"""Tables of mixed columns: frames to arrays and back."""

from typing import TYPE_CHECKING

from probgen._lazy import lazy_names

if TYPE_CHECKING:
    from probgen.preprocessing.table_encoder import TableEncoder
    from probgen.tables.table import Table

__all__ = ["Table", "TableEncoder"]
_HOMES = {"Table": "tables.table", "TableEncoder": "preprocessing.table_encoder"}

__getattr__, _ = lazy_names("probgen", _HOMES)
