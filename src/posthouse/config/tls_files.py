"""The certificate of a service: TLS_CERTIFICATE and the options beside it in dispatcher.cnf (dispatcher-cnf 3).

    TLS_CERTIFICATE=file        PEM: the certificate and its chain, with the key if TLS_KEY names none
    TLS_KEY=file                PEM: the key, without a passphrase
    TLS_CA_FILE=file            PEM: authorities; clients are asked for a certificate, which must be signed by one of them
    TLS_REQUIRE_CLIENT=1        a client without a certificate is refused, too

Files are relative to the configuration's folder. TLS 1.2 is the least. What cannot be used is an error with the option's line;
a key that others may read and a certificate that has expired or soon will are warned about. The files are read again whenever
the configuration is. `load_for_client` is for channels that go out: what it cannot use it names.
"""

import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from posthouse.config.certificate_dates import dates, told
from posthouse.config.sections import Option, Values
from posthouse.config.source import Source
from posthouse.config.tailor import Tailor


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a server's TLS is made of."""

    certificate: Path
    key: Path | None = None
    authorities: Path | None = None
    require_client: bool = False

    def context(self) -> ssl.SSLContext:
        """A server's context, from the files as they are now.

        Raises:
            OSError: one of them cannot be used; `ssl.SSLError` is one.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key, password=_no_passphrase)
        if self.authorities is not None:
            context.load_verify_locations(self.authorities)
            context.verify_mode = ssl.CERT_REQUIRED if self.require_client else ssl.CERT_OPTIONAL
        return context


def read_tls_files(values: Values, source: Source, tailor: Tailor) -> TlsFiles | None:
    """The options of one service; None when it has no certificate."""
    certificate, key, authorities = (values.option(name) for name in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CA_FILE"))
    require = values.integer("TLS_REQUIRE_CLIENT", 0) != 0
    if certificate is None or not certificate.text:
        for option in (key, authorities):
            if option is not None:
                source.faults.error(option.file, option.line, f"{option.name} needs a TLS_CERTIFICATE")
        return None
    if require and authorities is None:
        option = values.option("TLS_REQUIRE_CLIENT")
        assert option is not None
        source.faults.error(option.file, option.line, "TLS_REQUIRE_CLIENT needs a TLS_CA_FILE")
        require = False
    files = TlsFiles(tailor.path(certificate.text, tailor.table), _path(key, tailor), _path(authorities, tailor), require)
    _check(files, certificate, key, authorities, source)
    return files


def _path(option: Option | None, tailor: Tailor) -> Path | None:
    return tailor.path(option.text, tailor.table) if option is not None and option.text else None


def _check(files: TlsFiles, certificate: Option, key: Option | None, authorities: Option | None, source: Source) -> None:
    faults = source.faults
    for option, path in ((certificate, files.certificate), (key, files.key), (authorities, files.authorities)):
        if option is None or path is None:
            continue
        try:
            path.read_bytes()
        except OSError as error:
            faults.error(option.file, option.line, f"{option.name}: {option.text}: {error.strerror}")
            return
    try:
        TlsFiles(files.certificate, files.key).context()
    except OSError as error:
        faults.error(certificate.file, certificate.line, f"TLS_CERTIFICATE cannot be used: {reason(error)}")
        return
    if words := told(dates_in(files.certificate), time.time()):
        faults.warn(certificate.file, certificate.line, f"TLS_CERTIFICATE: {certificate.text}: {words}")
    try:
        files.context()
    except OSError as error:
        assert authorities is not None
        faults.error(authorities.file, authorities.line, f"TLS_CA_FILE cannot be used: {reason(error)}")
    secret = key or certificate
    if (files.key or files.certificate).stat().st_mode & 0o077:
        faults.warn(secret.file, secret.line, f"{secret.name}: the key in {secret.text} may be read by others: chmod 600")


def dates_in(certificate: Path) -> tuple[float, float] | None:
    """Unix times between which the first certificate of a file is good; None where it cannot be read."""
    try:
        return dates(certificate.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None


def load_for_client(context: ssl.SSLContext, authorities: Path | None, certificate: Path | None, key: Path | None) -> None:
    """Have a client's context believe these authorities and show this certificate.

    Raises:
        OSError: which file cannot be used, and why.
    """
    file = f"{authorities}"
    try:
        if authorities is not None:
            context.load_verify_locations(authorities)
        file = f"{certificate}" if key is None else f"{certificate} with {key}"
        if certificate is not None:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
    except OSError as error:
        raise OSError(f"{file}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """What is wrong, in words for an operator."""
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    if not error.reason:  # "[SSL] PEM lib": what OpenSSL says of a file without the object it was opened for
        return "no PEM certificate, or no key"
    return error.reason.replace("_", " ").lower()


def _no_passphrase() -> str:
    return ""  # never ask the terminal
