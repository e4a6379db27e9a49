"""The record in PostgreSQL, against a real server on the loopback address."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.gateway.conftest import CHAT, Live, post
from tests.record.test_store import ENTRY

from headway.cli.report import report
from headway.errors import InputError
from headway.record.entry import COLUMNS, OPEN, RecordError
from headway.record.postgres import PostgresRecord, hide_password
from headway.record.store import Store, open_store, read_entries
from headway.record.trace import recorded_trace
from headway.report.report import Report


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs; Debian keeps them off the path."""
    found = [Path(p).resolve().parent for name in ("initdb",) if (p := shutil.which(name))]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "pg_ctl").exists()), None)


class Server:
    """A PostgreSQL of our own, which can be stopped and started."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self._bin, self._folder = bin_folder, folder / "data"
        # It refuses to run as root; Debian's package comes with a user for it.
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user:
            for place in (folder, *folder.parents):
                if place.stat().st_uid == 0 and not place.stat().st_mode & 0o001:
                    place.chmod(place.stat().st_mode | 0o011)
            shutil.chown(folder, self._user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._run("initdb", "--auth=trust", "--no-sync", "--username=headway", "--encoding=UTF8")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://headway:secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k '' -c fsync=off"
        self._run("pg_ctl", "--wait", "--options", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "--wait", "--mode", "immediate", "stop")

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / name, "-D", self._folder, *arguments], user=self._user, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", timeout=60,
        )  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("asyncpg", reason="pip install 'headway[postgres]'")
    found = programs()
    if found is None:
        pytest.skip("there is no PostgreSQL server here: apt-get install postgresql")
    made = Server(tmp_path_factory.mktemp("postgres"), found)
    yield made
    with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):  # gone already
        made.stop()


@pytest.fixture
def url(server: Server) -> str:
    """The address of an empty record."""
    import asyncio

    import asyncpg  # type: ignore[import-untyped]  # ships no types

    async def empty() -> None:
        connection = await asyncpg.connect(server.url)
        await connection.execute("DROP TABLE IF EXISTS headway_request")
        await connection.close()

    asyncio.run(empty())
    return server.url


def test_what_was_put_is_read_back(url: str) -> None:
    store = open_store(url)
    store.add(ENTRY)
    store.add(replace(ENTRY, id="hw-0", arrival_s=99.0, prompt="a\0b \N{GREEK SMALL LETTER ALPHA}"))
    store.close()
    first, second = read_entries(url)
    assert second == ENTRY
    assert first.prompt == "a\ufffdb \N{GREEK SMALL LETTER ALPHA}"


def test_a_later_entry_replaces_an_open_one(url: str) -> None:
    store = open_store(url)
    store.add(replace(ENTRY, status=OPEN))
    assert store.flush()
    store.add(ENTRY)
    store.close()
    assert list(read_entries(url)) == [ENTRY]


def test_gateways_write_side_by_side_and_give_up_only_what_the_dead_left(url: str) -> None:
    dead, living = open_store(url), open_store(url)
    dead.add(replace(ENTRY, id="hw-dead", status=OPEN))
    living.add(replace(ENTRY, id="hw-living", status=OPEN))
    assert dead.flush()
    assert living.flush()
    dead.close()  # as the kernel closes it when it is killed: without a word about what is open
    open_store(url).close()
    found = {e.id: (e.status, e.reason) for e in read_entries(url)}
    assert found == {"hw-dead": ("failed", "gateway_killed"), "hw-living": (OPEN, "")}
    living.add(replace(ENTRY, id="hw-living"))
    living.close()
    assert {e.id: e.status for e in read_entries(url)}["hw-living"] == "done"


def test_a_database_that_restarts_loses_no_record(server: Server, url: str) -> None:
    store = open_store(url)
    store.add(replace(ENTRY, id="hw-before"))
    assert store.flush()
    server.stop()
    store.add(replace(ENTRY, id="hw-during"))
    assert not store.flush()
    assert store.trouble
    assert "secret" not in store.trouble
    assert store.unwritten == 1
    server.start()
    for _ in range(100):
        if store.flush():
            break
        time.sleep(0.05)
    store.close()
    assert [e.id for e in read_entries(url)] == ["hw-before", "hw-during"]


def run_sql(url: str, *statements: str) -> None:
    import asyncio

    import asyncpg

    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


SLOW = """
CREATE OR REPLACE FUNCTION slow() RETURNS trigger AS
$$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE TRIGGER slow BEFORE INSERT ON headway_request FOR EACH ROW EXECUTE FUNCTION slow();
"""


def test_a_statement_is_not_waited_for_long_and_a_slow_database_gets_smaller_ones(url: str) -> None:
    database = PostgresRecord(url, statement_s=0.2)
    run_sql(url, SLOW)
    with pytest.raises(RecordError):
        database.write([_row(f"hw-{number}") for number in range(300)])

    store = Store(database)
    for number in range(300):  # takes longer than that in one
        store.add(replace(ENTRY, id=f"hw-{number}"))
    for _ in range(100):
        if store.flush():
            break
    store.close()
    assert len(list(read_entries(url))) == 300


def _row(name: str) -> tuple[object, ...]:
    entry = replace(ENTRY, id=name)
    return tuple(getattr(entry, column) for column in COLUMNS)


def test_what_a_database_did_not_take_is_kept_and_read_at_the_next_start(
    server: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(url)
    store.add(ENTRY)
    server.stop()
    store.close()
    (spill,) = tmp_path.glob("*.unwritten")
    assert "secret" not in spill.name + spill.read_text()
    server.start()
    open_store(url).close()
    assert list(read_entries(url)) == [ENTRY]
    assert not spill.exists()


def test_a_table_of_other_columns_is_refused(url: str) -> None:
    open_store(url).close()
    run_sql(url, "ALTER TABLE headway_request DROP COLUMN tenant")
    with pytest.raises(InputError, match="another Headway: tenant differs"):
        open_store(url)


def test_gateways_share_the_secret_of_their_hashes(url: str) -> None:
    first, second = PostgresRecord(url), PostgresRecord(url)
    assert first.hash_key == second.hash_key
    first.close()
    second.close()


def test_a_gateway_records_there_and_its_record_is_reported_and_replayed(
    live: Live, url: str
) -> None:
    port = live.gateway(live.engine(), database=PostgresRecord(url))
    for _ in range(5):
        assert post(port, {**CHAT, "stream": True})[0] == 200
    live.until(lambda: len(live.gateways[0].scheduler.ledger.recent) == 5)
    store = live.gateways[0].scheduler.ledger.store
    assert store is not None
    assert store.flush()
    assert [e.status for e in read_entries(url)] == ["done"] * 5
    result = CliRunner().invoke(report, [url, "--json", "-"], catch_exceptions=False)
    assert Report.from_json(result.stdout).rows[0].requests == 5
    assert "secret" not in result.output
    trace = recorded_trace(url)
    assert len(trace) == 5
    assert "secret" not in trace.name


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://headway:secret@127.0.0.1:1/postgres",
        "postgresql://headway:secret@127.0.0.1:x/postgres",
        "postgresql://headway:sec/ret@127.0.0.1/postgres",
    ],
)
def test_a_database_that_cannot_be_had_is_refused_without_its_password(url: str) -> None:
    pytest.importorskip("asyncpg", reason="pip install 'headway[postgres]'")
    for use in (open_store, lambda url: list(read_entries(url))):
        with pytest.raises(InputError) as caught:
            use(url)
        assert "secret" not in str(caught.value)
        assert "ret@" not in str(caught.value)


def test_a_database_without_a_record_is_refused(server: Server, url: str) -> None:
    with pytest.raises(InputError, match="headway_request"):
        list(read_entries(url))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:5/d?password=q", "postgresql://u@h:5/d"),
        ("postgres://h/d", "postgres://h/d"),
        ("postgresql:///d?host=/tmp&password=q", "postgresql:/d"),
    ],
)
def test_an_address_is_shown_without_what_is_secret(url: str, expected: str) -> None:
    assert hide_password(url).replace("///", "/") == expected
