"""What every engine promises of files: collected, shared, bound."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from environments.engine import ServiceStatus
from environments.spec import FileSpec, Mount, MountKind
from tests.contract.conftest import Place
from tests.contract.services import FOREVER, python, service, spec_of

FILES = """
import os
for path in ("a.xml", "b.txt", "deep/c.xml", "deep/er/d.xml", "deep/er/.hidden.xml"):
    path = os.path.join(os.environ["OUT"], path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(path.rsplit("/", 1)[1])
os.symlink("a.xml", os.path.join(os.environ["OUT"], "link.xml"))
"""


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "ended"])
def test_files_are_collected_by_glob(place: Place, is_running: bool) -> None:
    out = f"/tmp/itdash-out-{place.ref.name}"
    program = FILES + ("print('written', flush=True)" + FOREVER if is_running else "")
    place.up(spec_of(service("one", program, environment={"OUT": out})))
    if is_running:
        place.until_said("one", "written")
    else:
        place.until_ended("one")

    def collected(*patterns: str) -> dict[str, bytes]:
        files = place.engine.collect(place.ref, "one", [f"{out}{pattern}" for pattern in patterns])
        return {file.path.removeprefix(out): file.stream.read() for file in files}

    assert collected("/**/*.xml") == {
        "/a.xml": b"a.xml",
        "/deep/c.xml": b"c.xml",
        "/deep/er/d.xml": b"d.xml",
        "/deep/er/.hidden.xml": b".hidden.xml",
        "/link.xml": b"a.xml",
    }
    assert collected("/*.txt", "/deep/*.xml") == {"/b.txt": b"b.txt", "/deep/c.xml": b"c.xml"}
    assert collected("/b.txt") == {"/b.txt": b"b.txt"}
    assert sorted(collected("/deep/**")) == ["/deep/c.xml", "/deep/er/.hidden.xml", "/deep/er/d.xml"]
    assert collected("/none/**/*.xml", "/nothing.txt") == {}


def test_a_collection_that_is_broken_off_leaves_the_service_usable(place: Place) -> None:
    out = f"/tmp/itdash-big-{place.ref.name}"
    program = f"""
import os
os.makedirs("{out}")
for n in range(3):
    open(f"{out}/{{n}}.bin", "wb").write(bytes(20_000_000))
print("written", flush=True)
{FOREVER}"""
    place.up(spec_of(service("one", program)))
    place.until_said("one", "written")

    files = place.engine.collect(place.ref, "one", [f"{out}/*.bin"])
    first = next(iter(files))
    assert first.size == 20_000_000
    assert len(first.stream.read(100)) == 100
    del first, files

    began = time.monotonic()
    assert place.state("one").status is ServiceStatus.RUNNING
    place.engine.stop_service(place.ref, "one", grace_seconds=3)
    assert time.monotonic() - began < 10


def test_services_share_a_volume(place: Place) -> None:
    mount = Mount(MountKind.VOLUME, "/shared", "data")
    writer = service("writer", "open('/shared/note', 'w').write('from writer')", mounts=(mount,))
    reader = service("reader", "print(open('/shared/note').read())", mounts=(mount,))
    place.create(spec_of(writer, reader, volumes=("data",)))
    place.start(writer)
    assert place.until_ended("writer").exit_code == 0, place.texts("writer")
    place.start(reader)
    place.until_ended("reader")

    assert place.texts("reader") == ["from writer"]


def test_a_folder_and_a_file_of_the_checkout_are_seen_inside(place: Place, tmp_path: Path) -> None:
    (tmp_path / "suite" / "deep").mkdir(parents=True)
    (tmp_path / "suite" / "deep" / "data.txt").write_text("from the checkout")
    (tmp_path / "settings.ini").write_text("[one]")
    mounts = (
        Mount(MountKind.BIND, "/suite", str(tmp_path / "suite"), read_only=True),
        Mount(MountKind.BIND, "/etc/itdash/settings.ini", str(tmp_path / "settings.ini"), read_only=True),
    )
    program = "print(open('/suite/deep/data.txt').read(), open('/etc/itdash/settings.ini').read())"
    place.up(spec_of(service("one", program, mounts=mounts), directory=tmp_path))
    place.until_ended("one")

    assert place.texts("one") == ["from the checkout [one]"]


def test_services_share_what_they_write_to_a_folder_of_the_checkout(place: Place, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    mount = Mount(MountKind.BIND, "/results", str(tmp_path / "results"))
    writer = service("writer", "open('/results/one.xml', 'w').write('<a/>')", mounts=(mount,))
    reader = service("reader", "print(open('/results/one.xml').read())", mounts=(mount,))
    place.create(spec_of(writer, reader, directory=tmp_path))
    place.start(writer)
    place.until_ended("writer")
    place.start(reader)
    place.until_ended("reader")

    assert place.texts("reader") == ["<a/>"]
    assert [file.path for file in place.engine.collect(place.ref, "writer", ["/results/**/*.xml"])] == [
        "/results/one.xml"
    ]


GIVEN = """
import os, stat, sys
for path in sys.argv[1:]:
    facts = os.stat(path)
    print(open(path).read(), oct(stat.S_IMODE(facts.st_mode)), flush=True)
"""


def test_configs_and_secrets_are_there_before_the_program_starts(place: Place) -> None:
    files = (
        FileSpec("/run/secrets/token", b"s3cr3t", is_secret=True),
        FileSpec("/app.conf", b"debug=1", mode=0o640),
        FileSpec("/etc/itdash-test/deep/x.conf", b"deep", mode=0o755),
    )
    one = service("one", command=(*python(GIVEN), *(file.target for file in files)), files=files)

    place.up(spec_of(one))
    place.until_ended("one")

    assert place.texts("one") == ["s3cr3t 0o444", "debug=1 0o640", "deep 0o755"]


def test_configs_and_secrets_stand_below_what_is_mounted(place: Place, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "own.conf").write_text("own")
    files = (
        FileSpec("/run/secrets/token", b"s3cr3t", is_secret=True),
        FileSpec("/conf/given.conf", b"given"),
        FileSpec("/data/given.conf", b"kept"),
    )
    asked = ("/run/secrets/token", "/conf/given.conf", "/data/given.conf", "/conf/own.conf")
    one = service(
        "one",
        command=(
            *python("import sys\nfor path in sys.argv[1:]: print(open(path).read(), flush=True)"),
            *asked,
        ),
        read_only=True,
        mounts=(
            Mount(MountKind.TMPFS, "/run"),
            Mount(MountKind.BIND, "/conf", str(tmp_path / "conf"), read_only=True),
            Mount(MountKind.VOLUME, "/data", "data"),
        ),
        files=files,
    )

    place.up(spec_of(one, volumes=("data",), directory=tmp_path))
    place.until_ended("one")

    assert place.texts("one") == ["s3cr3t", "given", "kept", "own"]
