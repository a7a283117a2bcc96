"""The command `probgen`."""

import gc
import sys


def main():
    """Run the command, or name the package to install if click or rich is missing."""
    try:
        from probgen.cli.commands import program

        program(prog_name="probgen")
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in {"click", "rich"}:
            raise
        print(
            f"The command probgen needs {package}; install it with `pip install 'probgen[cli]'`.",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:  # before the program has begun
        sys.exit(130)
    finally:
        gc.freeze()  # Without it, the exit looks at every object of torch, for a second or more.
