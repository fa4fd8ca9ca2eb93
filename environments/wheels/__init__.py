"""PostgreSQL and Valkey out of their wheels, run by us: no server class of those packages is used.

Three difficulties are settled here, once, for the embedded servers, the local engine and the tests:

- PostgreSQL refuses to run as root; it then runs as an unprivileged account that exists. That account may
  be unable to walk to the data folder (below `/root`, below a private temporary folder): the server is
  started *in* the folder and told that its data is `/proc/self/cwd`, so nobody's permissions are loosened.
  Its programs are copied once to a readable place when they lie in a private one.
- `initdb` may be killed half-way. It works under another name that is renamed when all is done.
- The path of a Unix socket holds 107 bytes. A data folder with a longer path gets a short socket folder.
"""

from __future__ import annotations

from environments.wheels.accounts import server_account
from environments.wheels.launch import Account, Launch, ProcessPlace, WheelsError
from environments.wheels.postgres import (
    POSTGRES_MAJOR,
    ensure_database,
    initialise_cluster,
    postgres_launch,
    postgres_url,
    wait_for_postgres,
)
from environments.wheels.programs import postgres_programs, valkey_server
from environments.wheels.sockets import (
    POSTGRES_PORT,
    POSTGRES_SOCKET_NAME,
    VALKEY_SOCKET_NAME,
    remove_socket_folder,
    socket_folder,
)
from environments.wheels.valkey import valkey_launch, valkey_url, wait_for_valkey

__all__ = [
    "POSTGRES_MAJOR",
    "POSTGRES_PORT",
    "POSTGRES_SOCKET_NAME",
    "VALKEY_SOCKET_NAME",
    "Account",
    "Launch",
    "ProcessPlace",
    "WheelsError",
    "ensure_database",
    "initialise_cluster",
    "postgres_launch",
    "postgres_programs",
    "postgres_url",
    "remove_socket_folder",
    "server_account",
    "socket_folder",
    "valkey_launch",
    "valkey_server",
    "valkey_url",
    "wait_for_postgres",
    "wait_for_valkey",
]
