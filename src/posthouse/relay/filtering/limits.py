"""What one script may be and do (RFC 5228 2.10.5): named, so that documents and tests can quote them."""

from typing import Final

SCRIPT_OCTETS: Final = 256 << 10
BLOCK_NESTING: Final = 32
TEST_NESTING: Final = 32
STRING_OCTETS: Final = 64 << 10
"""one string, as written or after its variables are put in"""
LIST_ITEMS: Final = 1024
NODES: Final = 5000
"""commands and tests of one script"""
PROBLEMS: Final = 20
"""faults told of one script"""
NUMBER: Final = (1 << 64) - 1

REGEX_SIZE: Final = 50_000
"""instructions that the regular expressions of one script compile to; each counts as 100 of them at least"""

VARIABLES: Final = 255
VARIABLE_NAME: Final = 64
VARIABLE_CHARACTERS: Final = 4096
"""more is cut off (RFC 5229 6)"""
MATCH_VARIABLES: Final = 32

ACTIONS: Final = 32
REDIRECTS: Final = 4
FLAGS: Final = 64
BUDGET: Final = 400_000
"""units of work of one evaluation: a command or test is some, and so is every group of octets looked at"""
GRAIN: Final = 16
"""octets of a value that are one unit"""

BODY_OCTETS: Final = 256 << 10
"""octets of a body that the test body looks at"""
BODY_PARTS: Final = 100
BODY_NESTING: Final = 10
ADDRESSES: Final = 1000
"""addresses of one header field that are looked at"""
