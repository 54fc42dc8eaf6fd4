"""Flags that cannot act in their access table are told of."""

import pytest

from posthouse.mapping.access_flags import idle_flags

SENT = "the sender was settled at MAIL FROM; FROM_ACCESS can replace it"
NO_MESSAGE = "a connection has no message yet"


@pytest.mark.parametrize(
    ("table", "template", "said"),
    [
        ("FROM_ACCESS", "$Ja@b|c@d|X:$ y$K$A$S$Y$D$H$B$X", {}),
        ("send_access", "$A$S$D$H$B$X$<$>$N$F$Y", {}),
        ("ORIG_MAIL_ACCESS", "$Ja@b$Y", {"J": SENT}),
        ("ORIG_SEND_ACCESS", "$Ka@b$Y", {"K": SENT}),
        ("MAIL_ACCESS", "$T$Y", {"T": "there are no tags before subjects"}),
        ("FROM_ACCESS", "$I$G", {"G": "there are no conversion tags", "I": "there are no group checks"}),
        ("SEND_ACCESS", "$Ua|b$Y", {"U": "it means nothing"}),
        ("PORT_ACCESS", "$T$N$<$>$F$Y", {}),
        ("PORT_ACCESS", "$HSo$D", {"D": NO_MESSAGE, "H": NO_MESSAGE}),
        ("SEND_ACCESS", "$C$R$E$L$|OTHER;$0|$0", {}),
        ("MINE", "$J$Q", {}),
        ("SEND_ACCESS", "$J$", {}),
    ],
)
def test_what_has_no_effect(table: str, template: str, said: dict[str, str]) -> None:
    expected = [f"${flag} has no effect in {table}: {reason}" for flag, reason in said.items()]
    assert list(idle_flags(table, template)) == expected
