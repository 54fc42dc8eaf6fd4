"""The `posthouse` command. Each subcommand is one module, imported only when it is asked for.

Exit codes are those of sysexits(3): 0 done, 64 wrong usage, 69 not running, 75 try again, 78 bad configuration.
"""

import sys

COMMANDS = {
    "init": "posthouse.cli.init:app",
    "start": "posthouse.cli.start:app",
    "stop": "posthouse.cli.stop:app",
    "reload": "posthouse.cli.reload:app",
    "status": "posthouse.cli.status:app",
    "check": "posthouse.cli.check:app",
    "route": "posthouse.cli.route:app",
    "mapping": "posthouse.cli.mapping:app",
    "trace": "posthouse.cli.trace:app",
    "queue": "posthouse.cli.queue:app",
    "store": "posthouse.cli.store:app",
    "demo": "posthouse.cli.demo.command:app",
}
"""name -> module and its `App`"""

EX_USAGE = 64


def main() -> None:
    """Run the command of `sys.argv`; ends with its exit code."""
    from cyclopts import App
    from cyclopts.exceptions import CycloptsError

    from posthouse import __version__

    app = App(name="posthouse", help="Mail delivery in two tiers: relays that queue, stores that hear LMTP.", version=__version__)
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for name in [asked] if asked in COMMANDS else COMMANDS:  # the others are looked at only to help somebody who is lost
        app.command(COMMANDS[name], name=name)
    try:
        app(exit_on_error=False)
    except CycloptsError:
        raise SystemExit(EX_USAGE) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
