"""Names that are addresses already: nobody has to be asked about them."""

import ipaddress


def literal(name: str) -> tuple[str, ...]:
    """The address that the name itself is, with or without brackets; empty when it is none."""
    try:
        return (str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]").removeprefix("ipv6:"))),)
    except ValueError:
        return ()
