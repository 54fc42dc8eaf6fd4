"""Which notices the postmaster gets a copy of: keywords of the channel a message waited on (imta-cnf 3.2).

    sendpost always   copysendpost where there is a sender   errsendpost where there is none to be told   nosendpost never
    warnpost, copywarnpost, errwarnpost, nowarnpost          the same for warnings
    postheadonly      with the message's header only         postheadbody with all of it, as the sender gets it

Without a keyword there are none (decision 96). Notices of success and what an operator drops are never copied.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from posthouse.relay.notices.dsn import Kind


class Post(Enum):
    """When a copy goes out."""

    NEVER = "no"
    ALWAYS = ""
    SENDER = "copy"
    """the message has a sender"""
    NO_SENDER = "err"
    """it has none"""


@dataclass(frozen=True, slots=True)
class PostPolicy:
    """What one channel's keywords say."""

    returned: Post = Post.NEVER
    warned: Post = Post.NEVER
    header_only: bool = False

    @classmethod
    def of(cls, has: Callable[[str], bool]) -> "PostPolicy":
        """The policy; `has` says whether a keyword counts for the channel."""
        return cls(_first("sendpost", has), _first("warnpost", has), has("postheadonly"))

    def wants(self, kind: Kind, sender: str) -> bool:
        """Whether the postmaster hears of it, too."""
        if kind.is_success:
            return False
        post = self.warned if kind is Kind.DELAYED else self.returned
        return post is Post.ALWAYS or post is (Post.SENDER if sender else Post.NO_SENDER)


NO_COPIES = PostPolicy()


def _first(stem: str, has: Callable[[str], bool]) -> Post:
    return next((post for post in Post if has(post.value + stem)), Post.NEVER)
