"""Errors that have a name of their own."""


class FileFormatError(ValueError):
    """A file is damaged, foreign, of another version, or names what is not trusted.

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
