"""A name service in memory: the answers are given, nothing is asked of anybody."""

from collections.abc import Mapping, Sequence

from posthouse.relay.names.name_service import Absent, Addresses, Exchanger, Exchangers, Unknown


class MemoryNames:
    """Answers from two tables; a name in neither is absent.

    Args:
        exchangers: domain to `(preference, host)` pairs.
        addresses: host to addresses of both families.
    """

    def __init__(
        self,
        exchangers: Mapping[str, Sequence[tuple[int, str]]] | None = None,
        addresses: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.mx = dict(exchangers or {})
        self.hosts = dict(addresses or {})
        self.failing: set[str] = set()
        """names nobody can say anything of"""
        self.asked: list[str] = []
        """every question: `MX name`, `A name`"""

    async def exchangers(self, domain: str) -> Exchangers | Absent | Unknown:
        """What the table says."""
        key = domain.lower().rstrip(".")
        self.asked.append(f"MX {key}")
        if key in self.failing:
            return Unknown(f"{key}: failing")
        if key in self.mx:
            return Exchangers(tuple(Exchanger(preference, host) for preference, host in self.mx[key]))
        return Exchangers(()) if key in self.hosts else Absent(f"{key}: no such domain")

    async def addresses(self, host: str) -> Addresses | Absent | Unknown:
        """What the table says."""
        key = host.lower().rstrip(".")
        self.asked.append(f"A {key}")
        if key in self.failing:
            return Unknown(f"{key}: failing")
        if key in self.hosts:
            every = self.hosts[key]
            return Addresses(tuple(each for each in every if ":" in each), tuple(each for each in every if ":" not in each))
        return Addresses() if key in self.mx else Absent(f"{key}: no such domain")
