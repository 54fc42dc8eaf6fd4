"""`posthouse status`: the processes and listeners of an instance.

With --json one object:

    {"ready": bool, "state": "starting"|"running"|"stopping"|"stopped", "instance": path,
     "processes": [{"pid", "role", "service", "state", "active", "served", "since"}],
     "listeners": [{"service", "address", "port", "tls"}], "services": {name: {counter: number}},
     "queue": null or {"waiting", "held", "segments", "alarms": [{"time", "text"}], ...},
     "disk": null or {"free": octets, "files": number or null, "low": bool},
     "troubles": [{"what", "since", "text"}]}

`queue` is the job controller's on a relay; its alarms are what a person must know. A process in state `silent` lives and does not
answer; after a minute or two of that it is killed and started again. `disk` is what is free below `data/`; `files` is null where
there is no limit, and `low` says that mail may soon be refused for want of room. `troubles` is what is wrong now, as
workers and job controller know it, and files that the running processes have otherwise than they are on disk; `what` is one of
`trouble.WHATS`. It is away when it is over, and does not change the exit code.
Exit 0 when ready, 75 while it starts, stops or a part of it is being restarted, 69 when it is not running, 77 when it
belongs to another user.
"""

import os
import sys
import time
from typing import Any

import msgspec
from cyclopts import App

from posthouse.cli.edited import edited
from posthouse.cli.installed import TEXT, changed_since
from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.supervisor_call import ask_supervisor
from posthouse.config.instance import Instance
from posthouse.dispatcher import control, lock
from posthouse.relay.job_controller.client import ControllerDown, request
from posthouse.relay.job_controller.local_socket import NAME

app = App(name="status", help="Show processes and listeners.")
EX_UNAVAILABLE, EX_TEMPFAIL = 69, 75
LITTLE_ROOM, FEW_FILES = 256 << 20, 10_000
"""below these a person is told: a worker's journal needs 64 MiB, a message that waits or is stored a file"""
_NOT_WELL = ("silent", "dead", "starting")


@app.default
def status(*, instance: InstanceOption = None, as_json: Json = False) -> None:
    """Show it.

    Args:
        instance: the instance's folder.
        as_json: print one JSON object.
    """
    place = here(instance)
    answer = processes(place)
    queue = _queue(place, answer)
    facts = {**answer, "queue": queue, "disk": room(place), "troubles": _troubles(answer, queue or {})}
    if as_json:
        print_json(facts)
    else:
        _table(facts)
    if facts["state"] == "stopped":
        sys.stderr.write("not running\n")
        raise SystemExit(EX_UNAVAILABLE)
    if not facts["ready"]:
        sys.stderr.write(f"not ready: {'; '.join(_faults(facts)) or facts['state']}\n")
        raise SystemExit(EX_TEMPFAIL)


def processes(place: Instance, seconds: float = 10.0) -> dict[str, Any]:
    """What the supervisor says within so many seconds: state, processes, listeners, services, troubles."""
    answer = ask_supervisor(place, "status", seconds)
    if answer is not None:
        ours = map(msgspec.structs.asdict, edited(place, answer.pop("files", {})))
        return {**answer, "troubles": [*answer.get("troubles", ()), *_version(answer), *ours]}
    state = "stopping" if lock.is_held(place.data / "lock") else "stopped"
    rows = _hung_supervisor(place) if state == "stopping" else []
    state = "running" if rows else state
    return {"ready": False, "state": state, "instance": str(place.root), "processes": rows, "listeners": [], "services": {}}


def _hung_supervisor(place: Instance) -> list[dict[str, Any]]:
    """The supervisor that lives and does not answer, if there is one: its pid counts only if that process holds the lock."""
    path = place.run / control.PID_FILE
    try:
        pid, since = int(path.read_text(encoding="ascii")), path.stat().st_mtime
    except (OSError, ValueError):
        return []
    if pid not in lock.holders(place.data / "lock"):
        return []
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    nothing = {"service": "", "active": None, "served": None}
    return [{"pid": pid, "role": "supervisor", "state": "silent", "since": began, **nothing}]


def _troubles(*told: dict[str, Any]) -> list[dict[str, Any]]:
    """What the workers and the job controller say is wrong, the oldest first."""
    found = sorted((each for one in told for each in one.pop("troubles", ())), key=lambda each: float(each["since"]))
    return [{**each, "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(each["since"]))} for each in found]


def _version(answer: dict[str, Any]) -> list[dict[str, Any]]:
    changed = changed_since(answer["processes"])
    return [] if changed is None else [{"what": "version", "since": changed, "text": TEXT}]


def room(place: Instance) -> dict[str, Any] | None:
    """What is free below `data/`."""
    try:
        found = os.statvfs(place.data)
    except OSError:
        return None
    free, files = found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None
    return {"free": free, "files": files, "low": free < LITTLE_ROOM or (files is not None and files < FEW_FILES)}


def _queue(place: Instance, answer: dict[str, Any]) -> dict[str, Any] | None:
    """What the job controller says of itself, where there is one."""
    if not any(process["role"] == "job_controller" and process["state"] == "ready" for process in answer["processes"]):
        return None
    try:
        return request(place.run / NAME, "status", timeout=5)
    except ControllerDown:
        return None


def _faults(facts: dict[str, Any]) -> list[str]:
    """What is not as it should be while the instance is to serve."""
    words = {"silent": "{role} {pid} does not answer", "dead": "{role} is dead and will be started again"}
    seen = facts["processes"] if facts["state"] == "running" else []
    return [words.get(each["state"], "{role} {pid} is starting").format(**each) for each in seen if each["state"] in _NOT_WELL]


def _table(facts: dict[str, Any]) -> None:
    out = sys.stdout.write
    out(f"{facts['instance']}: {'ready' if facts['ready'] else facts['state']}\n")
    row = "{:>8}  {:<14} {:<14} {:<9} {:>6} {:>8}  {}\n".format
    if facts["processes"]:
        out(row("pid", "role", "service", "state", "active", "served", "since"))
    for process in facts["processes"]:
        numbers = ["" if process[name] is None else process[name] for name in ("active", "served")]
        out(row(process["pid"], process["role"], process["service"], process["state"], *numbers, process["since"]))
    for listener in facts["listeners"]:
        tls = " (TLS)" if listener["tls"] else ""
        out(f"{listener['service']} listens on {listener['address']}, port {listener['port']}{tls}\n")
    queue = facts["queue"]
    if queue is not None:
        out(f"{queue['waiting']} copies wait, {queue['held']} are held\n")
        for alarm in queue["alarms"]:
            out(f"alarm {alarm['time']}: {alarm['text']}\n")
    for trouble in facts["troubles"]:
        out(f"trouble since {trouble['since']}: {trouble['text']}\n")
    disk = facts["disk"]
    if disk is not None and disk["low"]:
        files = "" if disk["files"] is None else f" and room for {disk['files']} files"
        out(f"data/ has {disk['free'] >> 20} MiB{files} free: mail is refused when that is used up\n")
