"""The control API: what a suite's own tests may ask of the environment they run in.

Plain HTTP and JSON on the standard library, served by the worker that runs the suite, on the one address
that the environment's services can reach. It holds no engine: it asks `Controls`, which the lifecycle
implements, so that the tests' container never comes near the engine's socket.

    with ControlServer(controls, token=token, address=engine.host_address(environment)) as server:
        variables = {"ITDASH_CONTROL_URL": server.url, "ITDASH_CONTROL_TOKEN": token}
"""

from environments.control.answers import MAX_BODY_BYTES
from environments.control.controls import Controls, MarkPhase, PartitionWish
from environments.control.server import ControlServer

__all__ = ["MAX_BODY_BYTES", "ControlServer", "Controls", "MarkPhase", "PartitionWish"]
