"""`posthouse start` with echo workers instead of the servers: the same supervisor, Dispatcher and worker runtime.

python echo_instance.py --instance DIR              the supervisor
python echo_instance.py dispatcher --instance DIR   its Dispatcher
python echo_instance.py jobs --instance DIR         a job controller that does nothing but live, answer and end
"""

import asyncio
import signal
import sys
from pathlib import Path

from posthouse.dispatcher import control, process, supervisor
from posthouse.dispatcher.family import Parent, ignore_interrupt
from posthouse.dispatcher.programs import instance_of

HERE = Path(__file__).resolve()
ECHO = (sys.executable, str(HERE.with_name("echo_worker.py")))
IMAGES = {"tcp_smtp_server": ECHO, "tcp_lmtp_server": ECHO}


async def well(_: control.Answer) -> control.Answer:
    return {"started": "just now"}


async def jobs(words: list[str]) -> None:
    server = control.ControlServer(control.bind_unix(instance_of(words, "jobs").run / control.JOB_CONTROLLER), well)
    await server.start()
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    parent = Parent.from_environment()
    parent.watch(loop, over.set)
    parent.announce(ready=True)
    await over.wait()
    server.close()


if __name__ == "__main__":
    if sys.argv[1] == "dispatcher":
        sys.exit(process.main(sys.argv[2:], images=IMAGES))
    if sys.argv[1] == "jobs":
        ignore_interrupt()
        asyncio.run(jobs(sys.argv[2:]))
    else:
        ours = (sys.executable, str(HERE))
        sys.exit(supervisor.main(dispatcher=(*ours, "dispatcher"), job_controller=(*ours, "jobs"), images=IMAGES))
