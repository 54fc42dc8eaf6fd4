"""`posthouse check`: every fault of the configuration, one a line, and warnings on stderr.

Silent and 0 when good; 78 when something is wrong; with --strict a warning counts as well.
"""

import asyncio
import os
import sys
from typing import Annotated

from cyclopts import App, Parameter

from posthouse.cli.check_entries import check_entries
from posthouse.cli.check_mappings import check_mappings
from posthouse.cli.check_pipe import check_pipe
from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.loading import BAD_CONFIGURATION
from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError, Fault, Severity
from posthouse.config.tailor import NAMES as TAILOR_FILES
from posthouse.dispatcher.programs import IMAGES, check_services
from posthouse.relay.directory.open import open_directory
from posthouse.relay.job_controller import programs
from posthouse.relay.routing import rules
from posthouse.relay.scripts import channel_scripts
from posthouse.store.lmtp_server import settings
from posthouse.store.native import settings as native_settings

app = App(name="check", help="Find every fault of the configuration.")


@app.default
def check(*, instance: InstanceOption = None, strict: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Print them.

    Args:
        instance: the instance's folder.
        strict: end with 78 for a warning too.
    """
    found: tuple[Fault, ...]
    try:
        found = load(here(instance), *CHECKS).warnings
    except ConfigurationError as error:
        found = error.faults
    worst = 0
    for fault in found:
        warning = fault.severity is Severity.WARNING
        (sys.stderr if warning else sys.stdout).write(f"{fault}\n")
        if strict or not warning:
            worst = BAD_CONFIGURATION
    raise SystemExit(worst)


def check_user(configuration: Configuration) -> list[Fault]:
    """A warning to root when nothing says whom the processes are to run as."""
    if os.geteuid() != 0 or configuration.tailor.user is not None:
        return []
    folder = configuration.instance.config
    name = next((each for each in TAILOR_FILES if (folder / each).exists()), TAILOR_FILES[0])
    reason = "IMTA_USER is not set: started as root, every process runs as root"
    return [Fault(configuration.instance.name_of(folder / name), 0, reason, Severity.WARNING)]


def check_relay(configuration: Configuration) -> list[Fault]:
    """Rewrite rules, delivery options, programs and directory, on an instance that relays: one with a channel l."""
    if configuration.imta.local is None:
        return []
    return [
        *rules.check(configuration), *programs.check(configuration), *channel_scripts.check(configuration),
        *_directory_faults(configuration), *_default_domain(configuration), *check_entries(configuration),
    ]  # fmt: skip


def _default_domain(configuration: Configuration) -> list[Fault]:
    """Without it every mailbox has another name than it had: the product kept it in configutil."""
    if configuration.options.text("LDAP_DEFAULT_DOMAIN"):
        return []
    reason = "LDAP_DEFAULT_DOMAIN is not set (service.defaultdomain of configutil): the mailbox of every user is uid@domain"
    return [Fault(configuration.instance.name_of(configuration.tailor.option_dat), 0, reason, Severity.WARNING)]


def _directory_faults(configuration: Configuration) -> tuple[Fault, ...]:
    """What is wrong with the directory's options and, where it is a file, with the file. No server is asked."""
    if configuration.ldif_file is None and configuration.options.text("LDAP_LDIF_FILE"):
        return ()  # the file does not exist: a fault already

    async def look() -> None:
        directory = open_directory(configuration)
        if configuration.ldif_file is not None:
            await directory.start()
        await directory.close()

    try:
        asyncio.run(look())
    except ConfigurationError as error:
        return error.faults
    return ()


def check_programs(configuration: Configuration) -> tuple[Fault, ...]:
    """Services whose program is not part of this version, or that lack what they need to start."""
    try:
        check_services(configuration, IMAGES)
    except ConfigurationError as error:
        return error.faults
    return ()


def check_store(configuration: Configuration) -> list[Fault]:
    """What is wrong with the store's services."""
    return settings.check(configuration)


CHECKS = (check_mappings, check_user, check_programs, check_relay, check_pipe, check_store, native_settings.check)
