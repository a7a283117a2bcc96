"""Values as JSON and arrays, and back: what a file may hold, and what it may build.

A plain number, text or None stands for itself. Anything else is a JSON object whose first key is its kind, such as
{"tuple": [1, 2]}; one that is met again is marked with an "id" and stands as {"ref": id} in the other places. Nothing
is ever called that a file names: an object is made empty, by `__new__` of a class that is allowed, and given its state.
"""

from probgen._codec.decoding import decode
from probgen._codec.encoding import encode

__all__ = ["decode", "encode"]
