"""Sequences as rows: lists, concatenated sequences and long series to rows, and back."""

from probgen.sequences.conversion import from_lengths, from_list, to_lengths, to_list, windows

__all__ = ["from_lengths", "from_list", "to_lengths", "to_list", "windows"]
