"""`posthouse metrics`: figures of an instance in the text format of Prometheus, on stdout or by HTTP (logging.md 6).

On stdout for node_exporter's textfile collector, with `--listen` for a scraper. A stopped instance shows what its files say
and `posthouse_ready 0`; exit 0 then, too. 64: no loopback address, no label; 69: its port is taken; 77: the instance is another
user's. `--label` tells instances apart whose texts are read from one folder: of samples alike node_exporter shows one, whose file
comes first, and no trace of the others.
"""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.metrics.facts import collect
from posthouse.cli.metrics.families import families
from posthouse.cli.metrics.http_server import BadAddressError, MetricsServer, loopback
from posthouse.cli.metrics.text_format import BadLabelError, Labels, label_of, render
from posthouse.config.instance import Instance

app = App(name="metrics", help="Show figures for Prometheus.")
EX_USAGE, EX_UNAVAILABLE = 64, 69


@app.default
def metrics(
    *, instance: InstanceOption = None, listen: str | None = None, label: Annotated[tuple[str, ...], Parameter(negative=())] = ()
) -> None:
    """Show them, or serve them until interrupted.

    Args:
        instance: the instance's folder.
        listen: [HOST:]PORT of the loopback interface to serve /metrics at.
        label: NAME=VALUE that every figure gets, to tell instances of one machine apart.
    """
    place, labels = here(instance), _labels(label)
    if listen is None:
        sys.stdout.write(_page(place, labels))
        return
    collect(place)  # another user's ends here, not at the first scrape
    try:
        server = MetricsServer(loopback(listen), lambda: _page(place, labels))
    except BadAddressError as error:
        sys.stderr.write(f"posthouse metrics: --listen {listen}: {error}\n")
        raise SystemExit(EX_USAGE) from None
    except OSError as error:
        sys.stderr.write(f"posthouse metrics: --listen {listen}: {error.strerror}\n")
        raise SystemExit(EX_UNAVAILABLE) from None
    with server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        server.serve_forever()


def _labels(wanted: tuple[str, ...]) -> Labels:
    labels: dict[str, str] = {}
    for text in wanted:
        try:
            name, value = label_of(text)
            if name in labels:
                raise BadLabelError("given twice")
        except BadLabelError as error:
            sys.stderr.write(f"posthouse metrics: --label {text}: {error}\n")
            raise SystemExit(EX_USAGE) from None
        labels[name] = value
    return tuple(labels.items())


def _page(place: Instance, labels: Labels) -> str:
    facts = collect(place)
    for fault in facts.faults:
        sys.stderr.write(f"posthouse metrics: {fault}\n")
    return render(families(facts), labels)
