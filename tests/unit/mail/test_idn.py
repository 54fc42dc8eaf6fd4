"""RFC 5890: U-labels and A-labels of one domain."""

import pytest

from posthouse.mail.idn import other_form


@pytest.mark.parametrize(
    ("domain", "other"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("straße.bu\u0308cher.example", "xn--strae-oqa.xn--bcher-kva.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("example.com", ""),
        ("xn--99999999999.example", ""),
        ("xn--.example", ""),
        ("xn--example-.com", ""),
        ("xn--qi7cjb.example", ""),
        ("xn--bcher-2pa.example", ""),
        ("\udcff.example", ""),
        ("xn--1c0c.example", ""),
    ],
)
def test_other_form(domain: str, other: str) -> None:
    assert other_form(domain) == other
