"""The entries of an LDIF file in memory, with an index, as a small server for searches.

Equality on an indexed attribute costs the same whatever the number of entries; so do base searches. Other filters look
at every entry below the base: `is_quick` tells which it will be. Built once, never changed.
"""

from collections.abc import Iterable, Iterator, Mapping

from posthouse.relay.directory.dn import is_under, normal_dn, split_dn
from posthouse.relay.directory.filter import And, Compare, Comparison, Filter, Or, fold, matches, parse
from posthouse.relay.directory.layout import Layout
from posthouse.relay.directory.ldif import RawEntry
from posthouse.relay.directory.search import BASE_MISSING, Result, Scope, Search

_ALWAYS_INDEXED = ("mail", "mailalternateaddress", "mailequivalentaddress", "uid", "msgvanitydomain")


def indexed_attributes(layout: Layout) -> frozenset[str]:
    """The attributes that questions search by, lower case."""
    wanted = {"sunpreferreddomain", "associateddomain"}
    domain = (name for name, defaults in layout.domain_renames.items() if not wanted.isdisjoint(defaults))
    return frozenset({*_ALWAYS_INDEXED, *(name.lower() for name in layout.mail_attributes), *domain})


class LdifTree:
    """Entries by name and by the values of some attributes.

    A base that has no entry of its own but entries below it counts as there.

    Args:
        entries: by normal form of their names (what `read_ldif` returns).
        indexed: lower-case names of the attributes to index.
    """

    def __init__(self, entries: Mapping[str, RawEntry], indexed: Iterable[str]) -> None:
        self._entries = entries
        self._places = {""}
        self._index: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in indexed}
        for name, entry in entries.items():
            place = name
            while place not in self._places:
                self._places.add(place)
                place = place.partition(",")[2]  # normal names hold no comma but the separators
            for attribute, index in self._index.items():
                for value in entry.attributes.get(attribute, ()):
                    key = fold(value)
                    index[key] = (*index[key], name) if key in index else (name,)

    def __len__(self) -> int:
        return len(self._entries)

    def passwords(self, dn: str) -> tuple[str, ...]:
        """The userPassword values of an entry; none when it is not there."""
        entry = self._entries.get(normal_dn(dn))
        return entry.attributes.get("userpassword", ()) if entry is not None else ()

    def is_quick(self, search: Search) -> bool:
        """Whether an index answers the search."""
        return search.scope is Scope.BASE or self._candidates(parse(search.filter)) is not None

    def search(self, search: Search) -> Result:
        """What a server would find; attributes that were not asked for may come along.

        Raises:
            FilterError: the search's filter is none.
        """
        wanted = parse(search.filter)
        base = normal_dn(search.base)
        if base not in self._places:
            return BASE_MISSING
        found: list[RawEntry] = []
        for name in self._in_scope(search.scope, base, wanted):
            entry = self._entries[name]
            if matches(wanted, entry.attributes):
                found.append(entry)
        return tuple(found)

    def _in_scope(self, scope: Scope, base: str, wanted: Filter) -> Iterator[str]:
        if scope is Scope.BASE:
            return iter((base,) if base in self._entries else ())
        candidates = self._candidates(wanted)
        names = self._entries if candidates is None else candidates
        if scope is Scope.SUB:
            return (name for name in names if is_under(name, base))
        depth = len(split_dn(base)) + 1
        return (name for name in names if is_under(name, base) and len(split_dn(name)) == depth)

    def _candidates(self, wanted: Filter) -> tuple[str, ...] | None:
        """Names of all entries that can match, or None where the index does not know."""
        match wanted:
            case Compare(attribute, Comparison.EQUAL, value) if attribute in self._index:
                return self._index[attribute].get(fold(value), ())
            case And(parts):
                known = [found for found in map(self._candidates, parts) if found is not None]
                return min(known, key=len) if known else None
            case Or(parts):
                union: dict[str, None] = {}
                for part in parts:
                    found = self._candidates(part)
                    if found is None:
                        return None
                    union.update(dict.fromkeys(found))
                return tuple(union)
            case _:
                return None
