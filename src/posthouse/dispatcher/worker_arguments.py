"""The command line of a worker process, as the Dispatcher writes it: pairs of an option and its value.

    --instance DIR --service NAME --channel CHANNEL --fd N [--stacksize BYTES] [--debug MASK]
    [--tls-certificate FILE] [--tls-key FILE] [--tls-authorities FILE] [--tls-require-client 1]

Anything else is refused with ValueError.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from posthouse.config.tls_files import TlsFiles


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the command line says."""

    instance: Path
    service: str
    channel: str
    fd: int
    stacksize: int
    debug: int
    tls: TlsFiles | None

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "Arguments":
        """Read it. Raises ValueError."""
        known = {
            "--instance": "",
            "--service": "",
            "--channel": "",
            "--fd": "",
            "--stacksize": "0",
            "--debug": "0",
            "--tls-certificate": "",
            "--tls-key": "",
            "--tls-authorities": "",
            "--tls-require-client": "",
        }
        if len(argv) % 2:
            raise ValueError("options come in pairs")
        for name, value in zip(argv[::2], argv[1::2], strict=True):
            if name not in known:
                raise ValueError(f"unknown option {name}")
            known[name] = value
        if not known["--instance"] or not known["--fd"]:
            raise ValueError("--instance and --fd are needed")
        return cls(
            instance=Path(known["--instance"]),
            service=known["--service"],
            channel=known["--channel"],
            fd=int(known["--fd"]),
            stacksize=int(known["--stacksize"]),
            debug=int(known["--debug"]),
            tls=_tls_files(known),
        )


def _tls_files(known: Mapping[str, str]) -> TlsFiles | None:
    certificate, key, authorities = (known[f"--tls-{name}"] for name in ("certificate", "key", "authorities"))
    if not certificate:
        return None
    return TlsFiles(
        Path(certificate),
        Path(key) if key else None,
        Path(authorities) if authorities else None,
        require_client=bool(known["--tls-require-client"]),
    )
