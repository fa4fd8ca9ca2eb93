"""Real questions to the servers of presets, asked by this process: a login and a query, a PING."""

from __future__ import annotations

import socket

import psycopg

from environments.engine import ExecResult
from environments.local_engine.folders import Program, ServiceFolder
from environments.local_engine.ports import LOOPBACK
from environments.local_engine.programs import POSTGRES

#: The answers of a server that is up: it may ask for a password first, and that is an answer.
VALKEY_IS_UP = (b"+PONG", b"-NOAUTH")


def ask(folder: ServiceFolder, program: Program, *, timeout_seconds: float) -> ExecResult:
    """Ask the preset's server whether it is ready, as a health check's result."""
    port = next(iter(program.own_ports.values()))
    if program.preset == POSTGRES:
        return _ask_postgres(folder, program, port, timeout_seconds)
    return _ask_valkey(port, timeout_seconds)


def _ask_postgres(folder: ServiceFolder, program: Program, port: int, timeout_seconds: float) -> ExecResult:
    if not folder.prepared.exists():
        return ExecResult(1, "its data is being prepared")
    variables = program.environment
    try:
        with psycopg.connect(
            host=LOOPBACK,
            port=port,
            user=variables["POSTGRES_USER"],
            password=variables["POSTGRES_PASSWORD"],
            dbname=variables["POSTGRES_DB"],
            connect_timeout=max(2, int(timeout_seconds)),
            autocommit=True,
        ) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        return ExecResult(1, str(error).strip())
    return ExecResult(0, "SELECT 1 was answered")


def _ask_valkey(port: int, timeout_seconds: float) -> ExecResult:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_seconds) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(128)
    except OSError as error:
        return ExecResult(1, str(error))
    return ExecResult(0 if answer.startswith(VALKEY_IS_UP) else 1, answer.decode(errors="replace").strip())
