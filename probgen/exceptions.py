"""Errors of this package."""


class FileFormatError(ValueError):
    """A file is damaged, foreign or of another version, or names a class that is not trusted.

    Examples
    --------
    >>> import tempfile, pathlib, probgen
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "notes.probgen"
    >>> _ = path.write_text("no model")
    >>> probgen.load(path)
    Traceback (most recent call last):
        ...
    probgen.exceptions.FileFormatError: ...notes.probgen' is not a file that probgen wrote, or not
    all of it: ...
    """
