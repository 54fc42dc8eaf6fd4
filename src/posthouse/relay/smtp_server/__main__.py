"""`tcp_smtp_server`: the worker program the Dispatcher starts for the relay's SMTP services."""

from posthouse.dispatcher.family import leave
from posthouse.dispatcher.worker import run_worker
from posthouse.relay.smtp_server.program import SmtpProgram

if __name__ == "__main__":
    leave(run_worker(SmtpProgram))
