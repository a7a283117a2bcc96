"""The command `probgen`: generators at the shell."""

import sys


def main():
    """Run the command; without click and rich, say what to install."""
    try:
        from probgen.cli.commands import program
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in {"click", "rich"}:
            raise
        sys.exit(
            _say(
                f"The command probgen needs {package}; install it with `pip install"
                " 'probgen[cli]'`."
            )
        )
    program(prog_name="probgen")


def _say(sentence):
    """Print to standard error; return the exit code of bad input."""
    print(sentence, file=sys.stderr)
    return 2
