"""The `posthouse` command. Each subcommand is one module, imported only when it is asked for.

Exit codes are those of sysexits(3): 0 done, 64 wrong usage, 69 not running, 74 the disk failed or is full (that of stdout, too),
75 try again, 78 bad configuration; 130 is that of a command that was interrupted (SIGINT).
"""

import errno
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts.exceptions import MissingArgumentError

COMMANDS = {
    "init": ("posthouse.cli.init:app", "Make an instance folder."),
    "check": ("posthouse.cli.check:app", "Find every fault of the configuration."),
    "start": ("posthouse.cli.start:app", "Run an instance until it is stopped; prints `ready`."),
    "status": ("posthouse.cli.status:app", "Show processes and listeners."),
    "reload": ("posthouse.cli.reload:app", "Read the configuration again."),
    "stop": ("posthouse.cli.stop:app", "Drain an instance and wait for its end."),
    "route": ("posthouse.cli.route:app", "Show where mail for an address would go."),
    "sieve": ("posthouse.cli.sieve:app", "Find a Sieve script's faults, show what it does with a message."),
    "program": ("posthouse.cli.program:app", "List the programs mail may be given to, and try one."),
    "mapping": ("posthouse.cli.mapping:app", "Show what a mapping table answers."),
    "queue": ("posthouse.cli.queue:app", "Show what waits; hold, release, return, drop or retry it."),
    "counters": ("posthouse.cli.counters:app", "Show what was counted of each channel, or begin anew."),
    "metrics": ("posthouse.cli.metrics.command:app", "Show figures for Prometheus."),
    "trace": ("posthouse.cli.trace:app", "Show one message's time line."),
    "store": ("posthouse.cli.store.command:app", "Mailboxes of a store."),
    "demo": ("posthouse.cli.demo.command:app", "Start a relay and two stores, send sample mail, show where it went."),
}
"""name -> its `App`, imported when asked for, and what it does"""

EX_USAGE = 64
EX_IOERR = 74
EX_INTERRUPTED = 130
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


def main() -> None:
    """Run the command of `sys.argv`; ends with its exit code."""
    from cyclopts import App, Parameter
    from cyclopts.exceptions import CycloptsError, MissingArgumentError

    from posthouse import __version__

    _give_standard_files()
    app = App(
        name="posthouse",
        help="Mail delivery in two tiers: relays that queue, stores that hear LMTP.",
        version=__version__,
        default_parameter=Parameter(show_default=lambda value: str(value) if value else None),  # not `[default: ()]`
    )
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for name in [asked] if asked in COMMANDS else COMMANDS:  # the others are looked at only to help somebody who is lost
        path, purpose = COMMANDS[name]
        app.command(path, name=name, help=purpose)
    try:
        app(exit_on_error=False)
    except MissingArgumentError as error:
        _tell_needs(error)
        raise SystemExit(EX_USAGE) from None
    except CycloptsError:
        raise SystemExit(EX_USAGE) from None
    except KeyboardInterrupt:
        sys.stderr.write("posthouse: interrupted\n")
        raise SystemExit(EX_INTERRUPTED) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
    except OSError as error:
        if error.errno not in _DISK:
            raise
        sys.stderr.write(f"posthouse: {error.strerror}\n")
        os._exit(EX_IOERR)  # what could not be written out would be tried once more


def _tell_needs(error: "MissingArgumentError") -> None:
    """All that the command cannot do without: the error names the first thing only."""
    command = error.app[-1] if isinstance(error.app, list | tuple) else error.app
    if command is None:
        return
    needs = [argument.name for argument in command.assemble_argument_collection() if argument.required and argument.name != "*"]
    chain = " ".join(("posthouse", *(error.command_chain or ())))
    sys.stderr.write(f"{chain} needs {', '.join(needs)}; `{chain} --help` tells of each\n")


def _give_standard_files() -> None:
    """Who calls us may have closed some of 0, 1 and 2: without them a lock or a socket gets the number, and is written to."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
