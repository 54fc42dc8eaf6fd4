"""Two tiers in a folder, as real processes: what the demo runs, for journeys and benches.

`TwoTiers` makes and starts a relay and its stores; `RunningInstance` is one of them; `posthouse` runs a command.
"""

from posthouse.cli.demo.ports import free_port
from posthouse.cli.demo.tiers import RunningInstance, TwoTiers, posthouse

__all__ = ["RunningInstance", "TwoTiers", "free_port", "posthouse"]
