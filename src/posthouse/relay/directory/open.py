"""Opens the directory an instance is configured for.

LDAP_LDIF_FILE names an LDIF file; otherwise LDAP_HOST names servers. Neither: a fault.
python-ldap is imported only when LDAP is what is wanted.
"""

from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.layout import read_layout
from posthouse.relay.directory.ldif_directory import LdifDirectory


def open_directory(configuration: Configuration) -> Directory:
    """The directory; call its `start` before asking.

    Raises:
        ConfigurationError: options are wrong, or python-ldap is not installed.
    """
    options = configuration.options
    layout = read_layout(options)
    if configuration.ldif_file is not None:
        return LdifDirectory(layout, configuration.ldif_file)
    reasons = []
    if not options.text("LDAP_HOST"):
        reasons.append("neither LDAP_HOST nor LDAP_LDIF_FILE is set: there is no directory (local.ugldaphost of configutil)")
    if not layout.domain_root:
        reasons.append("neither LDAP_USER_ROOT nor LDAP_DOMAIN_ROOT is set: where users are is not known (local.ugldapbasedn)")
    if reasons:
        raise ConfigurationError([Fault("config/option.dat", 0, reason) for reason in reasons])
    try:
        from posthouse.relay.directory.ldap_directory import open_ldap
    except ImportError as problem:
        reason = f"LDAP_HOST needs python-ldap ({problem}): pip install 'posthouse[ldap]', or set LDAP_LDIF_FILE"
        raise ConfigurationError([Fault("config/option.dat", 0, reason)]) from None
    return open_ldap(configuration, layout)
