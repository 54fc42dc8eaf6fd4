"""`posthouse init relay|store|full DIR`: makes an instance folder with the chapter's files, commented.

    relay   SMTP in, a queue, LMTP (or --deliver-by smtp) to the stores
    store   LMTP in, mailboxes
    full    a whole MTA with a store below it, channel ims-ms; --lmtp puts the LMTP service beside it, --deliver-by says
            how mail gets to the other stores (docs/deployments.md)

    DIR/config/   imta.cnf option.dat mappings dispatcher.cnf job_controller.cnf imta_tailor, with mailboxes store.conf,
                  with a queue aliases, hosts where --resolve was given, general.txt where --lmtp-store was
    DIR/data/{queue,journal,store}  DIR/log  DIR/run
    with --native the folder of the UNIX mailboxes too, where it is missing

A folder that is not empty is refused (73) unless --force is given; then the configuration is written over and everything
below data/ is left as it is. Bad arguments end with 64, files that are missing with 66, and write nothing.
"""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from posthouse.cli.init_arguments import address_pattern, apart, interface_line, listener_of, refuse
from posthouse.cli.init_native import native_words
from posthouse.cli.init_options import Machine, Mta, Several, Unix, Way
from posthouse.cli.init_stores import lmtp_service, relays_only, store_channels
from posthouse.cli.instance_files import FILES, Plan, write_instance

app = App(name="init", help="Make an instance folder.")
_UNIX, _WAY = Unix(), Way()


@app.command
def store(
    folder: Path,
    /,
    *,
    lmtp: str,
    allow: Annotated[list[str], Parameter(negative=())],
    machine: Machine,
    unix: Unix = _UNIX,
) -> None:
    """Make a store: LMTP in, mailboxes.

    Args:
        folder: the instance folder.
        lmtp: ADDRESS:PORT to listen on.
        allow: address or block of a relay that may connect; may be repeated.
        machine: this one.
        unix: UNIX mailboxes.
    """
    listener = listener_of(lmtp, "--lmtp")
    service = unix.service()
    apart([("--lmtp", listener), ("--native", service.listener if service else None)])
    ports = [listener.port, *([service.listener.port] if service else [])]
    entries = [f"  TCP|*|{port}|{address_pattern(relay)}|*      $Y" for relay in allow for port in ports]
    words = {
        **native_words(service),
        **machine.words(),
        "port": str(listener.port),
        "interface": interface_line(listener),
        "allow": "\n".join(entries),
    }
    folders = service.folders if service else ()
    files = tuple(f"store/{each}" for each in (*FILES, "store.conf"))
    write_instance(Plan(folder, words, files, user=machine.user, folders=folders), force=machine.force)


@app.command
def relay(folder: Path, /, *, mta: Mta, machine: Machine, way: Way = _WAY) -> None:
    """Make a relay: SMTP in, a durable queue, LMTP (or --deliver-by smtp) out to the stores.

    Args:
        folder: the instance folder.
        mta: SMTP, directory, clients.
        machine: this one.
        way: to the stores.
    """
    apart(mta.listeners)
    known = machine.words()
    stores = way.parse(known["host"], otherwise="lmtp")
    words = {
        **native_words(None),
        **known,
        **stores.words(),
        **mta.words(machine, stores.smtp_port),
        **way.words(),
        "kind": "relay",
        "store_channels": "",
        "lmtp_service": lmtp_service(None),
        "port_access": "  TCP|*|*|*|*      $Y",
    }
    files = tuple(f"relay/{each}" for each in (*FILES, "aliases"))
    write_instance(Plan(folder, words, files, mta.hosts, stores.general, machine.user), force=machine.force)


@app.command
def full(
    folder: Path,
    /,
    *,
    mta: Mta,
    machine: Machine,
    lmtp: str | None = None,
    allow: Several = None,
    unix: Unix = _UNIX,
    way: Way = _WAY,
) -> None:
    """Make a whole MTA with a store of its own: SMTP in, a queue, channel ims-ms, mailboxes; LMTP beside it where wanted.

    Args:
        folder: the instance folder.
        mta: SMTP, directory, clients.
        machine: this one.
        lmtp: ADDRESS:PORT of the LMTP service; without it mail comes by SMTP only.
        allow: address or block of a relay that may connect to it; may be repeated.
        unix: UNIX mailboxes.
        way: to the other stores.
    """
    known, lmtp_listener = machine.words(), listener_of(lmtp, "--lmtp") if lmtp is not None else None
    if (lmtp_listener is None and unix.native is None) == bool(allow):
        raise refuse("--allow ADDRESS goes with --lmtp or --native: only relays may connect there")
    service = unix.service()
    apart([*mta.listeners, ("--lmtp", lmtp_listener), ("--native", service.listener if service else None)])
    stores = way.parse(known["host"], otherwise="smtp")
    ports = [each.port for each in (lmtp_listener, service.listener if service else None) if each is not None]
    words = {
        **native_words(service),
        **known,
        **stores.words(here=True),
        **mta.words(machine, stores.smtp_port),
        **way.words(),
        "kind": "full MTA",
        "store_channels": store_channels(lmtp=lmtp_listener is not None, native=service is not None),
        "lmtp_service": lmtp_service(lmtp_listener),
        "port_access": relays_only([address_pattern(each) for each in allow or []], ports),
    }
    files = (*(f"relay/{each}" for each in (*FILES, "aliases")), "store/store.conf")
    folders = service.folders if service else ()
    write_instance(Plan(folder, words, files, mta.hosts, stores.general, machine.user, folders), force=machine.force)
