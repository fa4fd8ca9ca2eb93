"""The state of a service's PostgreSQL, kept as template databases and put back in well under a second.

Everything is done by `psql` inside the service, as its own superuser, so it works wherever the service runs.
A copy needs a database that nobody is connected to: newcomers are kept out while it is made, and who was
connected is disconnected, as by a short restart of the server.
"""

from __future__ import annotations

import secrets
import threading

from environments.engine import Engine, ExecResult
from environments.errors import CommandFailedError, NotPossibleHereError, UnknownNameError
from environments.labels import EnvironmentRef

#: Copying takes a fifth of a second and then some for each 100 MB; more than this is something else.
TIMEOUT_SECONDS = 120.0
#: Snapshots of one environment: each is as large as the databases it was taken of.
MOST_SNAPSHOTS = 20
OUTPUT_CHARACTERS = 2000
_NO_PSQL = 69

#: Every script begins so. PG… is set where the local engine runs it, POSTGRES_… where the image does.
_HEAD = r"""
command -v psql >/dev/null 2>&1 || exit 69
export PGUSER="${PGUSER:-${POSTGRES_USER:-postgres}}"
main="${PGDATABASE:-${POSTGRES_DB:-$PGUSER}}"
export PGDATABASE=template1 PGAPPNAME=itdash PGOPTIONS='-c client_min_messages=warning'
ask() { psql -X -q -A -t -o /dev/null -v ON_ERROR_STOP=1 -v main="$main" -v id="$ITDASH_SNAPSHOT"; }
"""
#: Databases that a service itself has: not PostgreSQL's own, unless they are the service's, and none of ours.
_OWN = r"""datallowconn AND NOT datistemplate AND datname NOT LIKE 'itdash.%'
  AND (datname <> 'postgres' OR datname = :'main')"""
#: A copy is told what a template does not hand on: the settings of the database and who may do what in it.
_HAND_ON = r"""
INSERT INTO pg_db_role_setting (setdatabase, setrole, setconfig)
  SELECT copy.oid, setting.setrole, setting.setconfig
  FROM pg_database copy JOIN pg_database original ON {pair}
  JOIN pg_db_role_setting setting ON setting.setdatabase = original.oid
  WHERE copy.datname LIKE {copies};
UPDATE pg_database copy SET datacl = original.datacl
  FROM pg_database original WHERE {pair} AND copy.datname LIKE {copies} AND original.datacl IS NOT NULL;
"""
_END_CONNECTIONS = r"""
SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS false', {name}) FROM {rows} \gexec
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN (SELECT {name} FROM {rows});
"""
#: Whatever happened: everybody may come in again, and nothing half made stays.
_REOPEN = r"""
SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE datname LIKE 'itdash.fresh.%' \gexec
SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname) FROM pg_database
  WHERE NOT datallowconn AND NOT datistemplate AND datname NOT LIKE 'itdash.%' \gexec
"""

_TAKE = "".join(
    (
        _HEAD,
        r"""
ask <<'SQL' && exit
CREATE TEMP TABLE own AS
  SELECT oid, datname, 'itdash.snapshot.' || :'id' || '.' || oid AS copy, pg_get_userbyid(datdba) AS owner
  FROM pg_database WHERE """,
        _OWN,
        r""";
""",
        _END_CONNECTIONS.format(name="datname", rows="own"),
        r"""
SELECT format('CREATE DATABASE %I TEMPLATE %I OWNER %I ALLOW_CONNECTIONS false', copy, datname, owner)
  FROM own \gexec
SELECT format('COMMENT ON DATABASE %I IS %L', copy, datname) FROM own \gexec
""",
        _HAND_ON.format(
            pair="copy.datname = 'itdash.snapshot.' || :'id' || '.' || original.oid",
            copies=r"'itdash.snapshot.' || :'id' || '.%'",
        ),
        r"""
SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname) FROM own \gexec
SQL
status=$?
ask <<'SQL'
SELECT format('DROP DATABASE %I', datname) FROM pg_database
  WHERE datname LIKE 'itdash.snapshot.' || :'id' || '.%' \gexec
""",
        _REOPEN,
        r"""
SQL
exit "$status"
""",
    )
)

#: The new database is made beside the old one, so that a full disk leaves the old one as it was.
_RESTORE = "".join(
    (
        _HEAD,
        r"""
ask <<'SQL' && exit
CREATE TEMP TABLE kept AS
  SELECT oid, datname AS copy, 'itdash.fresh.' || oid AS fresh, pg_get_userbyid(datdba) AS owner,
    shobj_description(oid, 'pg_database') AS datname
  FROM pg_database WHERE datname LIKE 'itdash.snapshot.' || :'id' || '.%';
SELECT count(*) = 0 AS is_gone FROM kept \gset
\if :is_gone
  \echo the snapshot is gone: the server has begun anew since, with empty data
  SELECT 1 / 0;
\endif
SELECT format('CREATE DATABASE %I TEMPLATE %I OWNER %I', fresh, copy, owner) FROM kept \gexec
""",
        _HAND_ON.format(
            pair="copy.datname = 'itdash.fresh.' || original.oid",
            copies=r"'itdash.fresh.%'",
        ),
        r"""
CREATE TEMP TABLE old AS SELECT datname FROM pg_database JOIN kept USING (datname);
""",
        _END_CONNECTIONS.format(name="datname", rows="old"),
        r"""
SELECT format('DROP DATABASE %I', datname) FROM old \gexec
SELECT format('ALTER DATABASE %I RENAME TO %I', fresh, datname) FROM kept \gexec
SQL
status=$?
ask <<'SQL'
""",
        _REOPEN,
        r"""
SQL
exit "$status"
""",
    )
)


class Snapshots:
    """The snapshots of one environment. They end with it."""

    def __init__(self, engine: Engine, environment: EnvironmentRef) -> None:
        self._engine = engine
        self._environment = environment
        self._lock = threading.Lock()
        self._services: dict[str, str] = {}

    def take(self, service: str) -> str:
        """Keep the state of the service's databases; return the snapshot's id.

        Raises `NotPossibleHereError` for what is no PostgreSQL, `CommandFailedError` with what it said.
        """
        snapshot = secrets.token_hex(4)
        with self._lock:
            if len(self._services) >= MOST_SNAPSHOTS:
                message = f"There are {MOST_SNAPSHOTS} snapshots already; restore one of them instead."
                raise NotPossibleHereError(message)
            self._services[snapshot] = service
        try:
            self._run(service, _TAKE, snapshot, "The snapshot could not be taken")
        except BaseException:
            with self._lock:
                del self._services[snapshot]
            raise
        return snapshot

    def service(self, snapshot: str) -> str:
        """The service it was taken of. Raises `UnknownNameError`."""
        with self._lock:
            known = dict(self._services)
        if snapshot not in known:
            message = f"There is no snapshot '{snapshot}' in this environment."
            raise UnknownNameError(message, known=known)
        return known[snapshot]

    def restore(self, snapshot: str) -> None:
        """Put the databases back as they were; a snapshot can be restored again and again."""
        self._run(self.service(snapshot), _RESTORE, snapshot, "The snapshot could not be restored")

    def _run(self, service: str, script: str, snapshot: str, failed: str) -> None:
        result = self._engine.execute(
            self._environment,
            service,
            ["/bin/sh", "-c", script],
            timeout_seconds=TIMEOUT_SECONDS,
            variables={"ITDASH_SNAPSHOT": snapshot},
        )
        if result.timed_out or result.exit_code:
            raise _failure(service, result, failed)


def _failure(service: str, result: ExecResult, failed: str) -> Exception:
    if result.exit_code in {_NO_PSQL, 127}:
        message = f"Snapshots are of PostgreSQL; service '{service}' has no `psql`."
        return NotPossibleHereError(message)
    said = result.output.strip()[-OUTPUT_CHARACTERS:]
    how = f"in {TIMEOUT_SECONDS:g} s" if result.timed_out else f"(exit code {result.exit_code})"
    message = f"{failed} {how}. PostgreSQL said: {said or 'nothing'}"
    return CommandFailedError(message, exit_code=result.exit_code, output=said, timed_out=result.timed_out)
