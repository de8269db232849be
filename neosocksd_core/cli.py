"""The command ``neosocksd``: parses, picks the subcommand, and turns errors into one line and an exit status.

Without a subcommand it serves. Only this module, :mod:`~neosocksd_core.invocation` and :mod:`~neosocksd_core.serving` know
arguments, environment and signals.
"""

import os
import sys
from collections.abc import Sequence

from neosocksd_core import commands
from neosocksd_core.errors import ConfigurationError, NeosocksdError, PluginError
from neosocksd_core.invocation import Invocation
from neosocksd_core.process import hold_standard_streams

START_ERROR = 1
USAGE_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 for an error at the start, 2 for one in the configuration."""
    hold_standard_streams()
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except (ConfigurationError, PluginError) as error:
        return _fail(error, USAGE_ERROR)
    except NeosocksdError as error:
        return _fail(error, START_ERROR)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # Standard output takes no more; what Python flushes at the exit is to raise nothing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):  # a pager that has been left knows
            print("neosocksd:", error.strerror or error, file=sys.stderr)
        return START_ERROR
    return status


def _run(argv: Sequence[str]) -> int:
    invocation = Invocation(argv, os.environ)
    parser = commands.build_parser(invocation)
    commands.check_flags(invocation, parser)
    arguments = parser.parse_args(invocation.rest, invocation.arguments)
    run = getattr(arguments, "run", None)
    if run is None:
        command = getattr(arguments, "chosen_command", None)
        if command is not None:  # serving is not what was asked for
            raise PluginError(
                f"the command {command!r} has nothing to run (set_defaults is missing)"
            )
        from neosocksd_core.serving import serve

        return serve(invocation)
    status: object = run(arguments)
    if status is not None and not isinstance(status, int):
        kind = type(status).__name__
        raise PluginError(f"the command's function gave {kind}, expected an exit status")
    return int(status or 0)


def _fail(error: NeosocksdError, status: int) -> int:
    print("neosocksd:", " ".join(str(error).split()), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
