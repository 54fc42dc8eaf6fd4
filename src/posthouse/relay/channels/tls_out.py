"""TLS of a channel that goes out, by SMTP or LMTP: its keywords and the files of its option file (imta-cnf 3.2).

    maytls musttls notls              and their ...client forms, which count before the others
    TLS_CA_FILE                       PEM file below the configuration's folder, or `system`: whose certificates are believed
    TLS_CERTIFICATE, TLS_KEY          PEM files: our own certificate, for servers that ask for one

With TLS_CA_FILE a `musttls` channel takes only certificates signed by it for the name of the host. Without it, and with `maytls`,
TLS keeps readers out, not impostors.
"""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration
from posthouse.config.option_file import OptionFile
from posthouse.dialogue.upgrade import Tls

HANDSHAKE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class TlsOut:
    """How a channel uses TLS."""

    tls: Tls
    context: ssl.SSLContext | None
    fault: str = ""
    """a file that cannot be used; no mail goes out before it can"""


def tls_out(configuration: Configuration, channel: Channel, options: OptionFile) -> TlsOut | None:
    """The channel's way; None: no TLS."""
    tls = tls_of(channel)
    if tls is Tls.NEVER:
        return None
    try:
        return TlsOut(tls, context_of(configuration, options, tls))
    except OSError as error:
        return TlsOut(tls, None, f"channel {channel.name}: {error}")


def tls_of(channel: Channel) -> Tls:
    """What the channel's keywords want."""
    for end in ("client", ""):
        for word, tls in (("musttls", Tls.MUST), ("maytls", Tls.MAY), ("notls", Tls.NEVER)):
            if channel.has(word + end):
                return tls
    return Tls.NEVER


def context_of(configuration: Configuration, options: OptionFile, tls: Tls) -> ssl.SSLContext:
    """The client's context.

    Raises:
        OSError: a file cannot be used; `ssl.SSLError` is one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities = options.text("TLS_CA_FILE")
    if tls is Tls.MUST and authorities:
        if authorities.lower() == "system":
            context.load_default_certs()
        else:
            context.load_verify_locations(file_of(configuration, authorities))
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = options.text("TLS_CERTIFICATE"), options.text("TLS_KEY")
    if certificate:
        context.load_cert_chain(
            file_of(configuration, certificate), file_of(configuration, key) if key else None, password=lambda: ""
        )
    return context


def file_of(configuration: Configuration, text: str) -> Path:
    """The file an option names."""
    return configuration.tailor.path(text, configuration.tailor.table)


async def shake_hands(
    transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, host: str
) -> asyncio.Transport | str:
    """The transport under TLS, or why there is none; the plain one is cut then."""
    loop = asyncio.get_running_loop()
    try:
        secured = await loop.start_tls(
            transport, protocol, context, server_hostname=host, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
    except (OSError, EOFError) as error:  # ssl.SSLError is an OSError
        transport.abort()
        text = f"certificate: {error.verify_message}" if isinstance(error, ssl.SSLCertVerificationError) else str(error)
        return text or type(error).__name__
    if secured is None or secured.is_closing():
        transport.abort()
        return "connection closed within the handshake"
    return secured
