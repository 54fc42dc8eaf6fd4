"""Pigeonhole's `sieve-test` as a second opinion: the actions it performs on a message, in a form ours can be compared with.

["keep", "fileinto Lists/a (\\seen)", "redirect x@y.test", "discard", "reject", "vacation"]     None: it does not compile
"""

import os
import shutil
import subprocess
from pathlib import Path

from posthouse.cli.store.dovecot_versions import installed_version
from posthouse.relay.filtering.actions import Action, Discard, FileInto, Keep, Redirect, Reject, Vacation
from posthouse.relay.filtering.compiler import compile_script
from posthouse.relay.filtering.fault import ScriptError
from posthouse.relay.filtering.message import Envelope, Message
from posthouse.relay.filtering.run import Surroundings, folder_of

SIEVE_TEST = shutil.which("sieve-test")
VERSION = installed_version()
SENDER, RECIPIENT = "alice@outside.test", "john.doe+work@example.com"
_CONFIGS = {
    "2.3": """mail_home = {home}
mail_location = maildir:{home}/Maildir
log_path = /dev/stderr
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
ssl = no
plugin {{
  sieve_extensions = +imap4flags +vacation-seconds
  sieve_redirect_envelope_from = sender
}}
""",
    "2.4": """dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
mail_home = {home}
mail_driver = maildir
mail_path = {home}/Maildir
log_path = /dev/stderr
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
ssl = no
sieve_extensions {{
  vacation-seconds = yes
}}
sieve_redirect_envelope_from = sender
""",
}


class Oracle:
    """sieve-test with a configuration of its own, as nobody when we are root."""

    def __init__(self, folder: Path) -> None:
        assert SIEVE_TEST is not None, "sieve-test is missing: tests/setup/debian-packages installs dovecot-sieve"
        self._folder = folder
        home = folder / "home"
        home.mkdir(parents=True)
        for each in (folder, home):
            each.chmod(0o777)
        self._config = folder / "dovecot.conf"
        self._config.write_text(_CONFIGS[VERSION].format(home=home))
        self._prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []

    def actions(self, script: str, message: bytes) -> list[str] | None:
        """What Pigeonhole does with the message."""
        source, mail = self._folder / "script.sieve", self._folder / "mail"
        source.write_bytes(script.encode())
        mail.write_bytes(message)
        (self._folder / "script.svbin").unlink(missing_ok=True)
        done = subprocess.run(
            [*self._prefix, str(SIEVE_TEST), "-c", str(self._config), "-f", SENDER, "-r", RECIPIENT, "-a", RECIPIENT,
             str(source), str(mail)],
            capture_output=True, timeout=20, check=False, env={"PATH": os.environ["PATH"], "USER": "nobody", "HOME": "/"},
        )  # fmt: skip
        self.said = done.stderr.decode("utf-8", "replace")
        if "Fatal: failed to compile" in self.said or "Fatal: failed to open sieve script" in self.said:  # 2.3, 2.4
            return None
        if "resolved with successful implicit keep" in self.said:
            return ["keep"]
        return _read(done.stdout.decode("utf-8", "replace"))


def _read(output: str) -> list[str]:
    found: list[str] = []
    quiet = False
    for line in output.splitlines():
        if line.startswith(("START MESSAGE", "END MESSAGE")):
            quiet = line.startswith("START")
        elif quiet:
            continue
        elif line.startswith(" * store message in folder: "):
            name = line.partition(": ")[2]
            found.append("keep" if name.upper() == "INBOX" else f"fileinto {name}")
        elif line.startswith("        + add IMAP flags: "):
            found[-1] += _flags(line.partition(": ")[2].split())
        elif line.startswith(" * redirect message to: "):
            found.append(f"redirect {line.partition(': ')[2].strip('<>')}")
        elif line.startswith(" * "):
            found.append(line.split()[1].replace("send", "vacation"))
    return sorted(set(found))


def _flags(flags: list[str]) -> str:
    return f" ({' '.join(sorted(flag.lower() for flag in flags))})" if flags else ""


def ours(script: str, message: bytes, now: float = 0.0) -> list[str] | None:
    """What we do with it, in the same form."""
    try:
        compiled = compile_script(script)
    except ScriptError:
        return None
    outcome = compiled.evaluate(Message(message, len(message)), Envelope(SENDER, RECIPIENT), Surroundings(now))
    return sorted({_shown(action) for action in outcome.actions})


def _shown(action: Action) -> str:
    match action:
        case Keep() | FileInto():
            name = folder_of(action)
            return ("keep" if name == "INBOX" else f"fileinto {name}") + _flags(list(action.flags))
        case Redirect():
            return f"redirect {action.address}"
        case Discard():
            return "discard"
        case Reject():
            return "reject"
        case Vacation():
            return "vacation"
