from posthouse.relay.routing.host_part import Place
from posthouse.relay.routing.rewrite_template import parse_template
from posthouse.relay.routing.rule_table import FORWARD_ENVELOPE, REMEMBERED_HOSTS, Rule, RuleTable


def table(*rules: tuple[str, str]) -> RuleTable:
    return RuleTable([Rule(pattern, parse_template(template), "f", 1) for pattern, template in rules], lambda _: False)


def test_what_the_host_decides_is_decided_once() -> None:
    rules = table(("$*", "$A$E$F$U%$H$V$H@here"), (".b", "$B$U%$H@x"), (".b", "$U%$H@x"), (".", "${M,$U}$U%y@z"))
    first = rules.choices("a.b", Place.AT, FORWARD_ENVELOPE, "")
    assert first is rules.choices("a.b", Place.AT, FORWARD_ENVELOPE, "")
    ready = [choice.ready for choice in first]
    assert ready[0] is not None
    assert ready[0].asks == (("V", "a.b"),)
    assert ready[1] is not None
    assert (ready[1].host, ready[1].tag, ready[1].user) == ("a", "x", None)
    assert ready[2] is None
    assert len(ready) == 3


def test_strangers_hosts_do_not_fill_the_memory() -> None:
    rules = table((".", "$U%$H@x"))
    for number in range(2 * REMEMBERED_HOSTS + 1):
        rules.choices(f"h{number}", Place.AT, FORWARD_ENVELOPE, "")
    assert len(rules._choices) <= REMEMBERED_HOSTS
