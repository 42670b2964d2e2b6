from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import terrarium
from terrarium import Terrarium
from terrarium.testing import make_pool, read, write


def points(tm: Terrarium, name: str = "web") -> tuple[terrarium.RestorePoint, ...]:
    return next(one.points for one in tm.list() if one.name == name)


def test_a_snapshot_is_restored_undone_and_restored_as_new(tm: Terrarium) -> None:
    expires = datetime.now(timezone.utc) + timedelta(days=30)
    (point,) = tm.snapshot("web", alias="before", expires=expires)
    assert (point.alias, point.kind, point.live) == ("before", "on-demand", True)
    assert point.created.tzinfo is timezone.utc
    assert point.expires is not None and abs(point.expires - expires) < timedelta(seconds=2)
    write(tm, "web", "note", "two")
    report = tm.restore("web", "before")
    assert report is not None and report.title.startswith("rewind web to snap-")
    assert read(tm, "web", "note") == "one"
    tm.undo("web")
    assert read(tm, "web", "note") == "two"
    tm.restore_as_new("web", "web-then", "before")
    assert (read(tm, "web-then", "note"), read(tm, "web", "note")) == ("one", "two")
    assert [one.name for one in tm.list()] == ["db", "web", "web-then"]


def test_several_are_taken_at_one_moment_and_only_they_are_returned(tm: Terrarium) -> None:
    tm.snapshot("web")
    taken = tm.snapshot("web", "db")
    assert len(taken) == 2
    assert len({point.to_dict()["createtxg"] for point in taken}) == 1
    assert (len(points(tm)), len(points(tm, "db"))) == (2, 1)


def test_results_are_frozen_and_become_dictionaries(tm: Terrarium) -> None:
    (point,) = tm.snapshot("web")
    with pytest.raises(AttributeError):
        point.name = "other"  # type: ignore[misc]
    assert point.to_dict()["guid"] == point.guid
    assert "_raw" not in repr(point) and point.name in repr(point)
    assert tm.list()[1].to_dict()["instance"] == "web"


def test_errors_are_of_their_class(tm: Terrarium, tmp_path: Path) -> None:
    with pytest.raises(terrarium.RefusedError) as refused:
        tm.restore("web", "nonsense")
    assert refused.value.help is not None
    for call in (
        lambda: tm.snapshot(),
        lambda: tm.snapshot("../web"),
        lambda: tm.snapshot("web", alias=""),
        lambda: tm.snapshot("web", expires=datetime(2030, 1, 1)),
        lambda: tm.restore("web", stop_timeout=-1),
        lambda: tm.restore("web", stop_timeout=float("nan")),
        lambda: Terrarium(pool_file="pool", lxd_socket="socket"),
    ):
        with pytest.raises(terrarium.UsageError):
            call()
    with pytest.raises(terrarium.RefusedError):
        tm.snapshot("nobody")
    with pytest.raises(terrarium.RefusedError):
        Terrarium(pool_file=tmp_path / "nothing").list()
    with pytest.raises(terrarium.RefusedError):
        make_pool(tmp_path / "pool", "web")
    with pytest.raises(terrarium.Error):
        tm.restore("web", start=True)


def test_a_machine_without_lxd_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(terrarium.UnavailableError) as unavailable:
        Terrarium(lxd_socket=tmp_path / "socket").list()
    assert "LXD" in str(unavailable.value)
    program = tmp_path / "terrarium-zpool"
    with pytest.raises(terrarium.UnavailableError):
        file = tmp_path / "pool"
        file.write_bytes(bytes(1 << 20))
        Terrarium(pool_file=file, zpool_program=program).list()


def test_a_closed_one_is_closed(tm: Terrarium) -> None:
    with tm as inside:
        inside.list()
    with pytest.raises(terrarium.UsageError, match="closed"):
        tm.list()


def test_a_guard_leaves_what_goes_well(tm: Terrarium) -> None:
    with tm.guard("web", check=lambda: read(tm, "web", "note") == "two") as guard:
        write(tm, "web", "note", "two")
    assert not guard.rewound and guard.report is None
    assert read(tm, "web", "note") == "two"
    assert [point.name for point in points(tm)] == [guard.point]
    with pytest.raises(terrarium.UsageError):
        guard.__enter__()


@pytest.mark.parametrize("raised", [RuntimeError("no"), KeyboardInterrupt()])
def test_a_guard_rewinds_what_fails_and_raises_it_again(
    tm: Terrarium, raised: BaseException
) -> None:
    with pytest.raises(type(raised)) as again:
        with tm.guard("web") as guard:
            write(tm, "web", "note", "broken")
            raise raised
    assert again.value is raised and guard.rewound and guard.report is not None
    assert read(tm, "web", "note") == "one"
    tm.undo("web")
    assert read(tm, "web", "note") == "broken"


def test_a_guard_rewinds_when_its_check_does_not_pass(tm: Terrarium) -> None:
    with pytest.raises(terrarium.CheckFailedError) as failed:
        with tm.guard("web", check=lambda: False):
            write(tm, "web", "note", "broken")
    assert failed.value.report is not None and failed.value.help is not None
    assert read(tm, "web", "note") == "one"
    # Nothing runs in a pool file: a command cannot pass.
    with pytest.raises(terrarium.Error):
        with tm.guard("web", check="true"):
            write(tm, "web", "note", "broken")
    assert read(tm, "web", "note") == "one"


def test_progress_is_told_and_what_it_raises_puts_everything_back(tm: Terrarium) -> None:
    assert tm.pool_file is not None
    tm.snapshot("web", alias="before")
    write(tm, "web", "note", "two")
    told: list[tuple[int, int, str]] = []

    def progress(step: int, steps: int, text: str) -> None:
        told.append((step, steps, text))
        if "promote demo" in text and step > 4:
            raise LookupError("enough")

    watched = Terrarium(pool_file=tm.pool_file, progress=progress)
    with pytest.raises(LookupError, match="enough"):
        watched.restore("web", "before")
    assert told[0][0] == 1 and all(steps >= step for step, steps, _ in told)
    assert read(tm, "web", "note") == "two"
    tm.restore("web", "before")
    assert read(tm, "web", "note") == "one"


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Whatever runs the tests may have them ignore it: a shell does so in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_puts_everything_back(tm: Terrarium, ctrl_c: None) -> None:
    tm.snapshot("web", alias="before")
    write(tm, "web", "note", "two")

    def progress(step: int, steps: int, text: str) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    watched = Terrarium(pool_file=tm.pool_file, progress=progress)
    with pytest.raises(KeyboardInterrupt):
        watched.restore("web", "before")
    assert read(tm, "web", "note") == "two"


def test_other_threads_run_meanwhile(tm: Terrarium) -> None:
    ticks, done = [0], threading.Event()

    def tick() -> None:
        while not done.wait(0.001):
            ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    tm.snapshot("web")
    done.set()
    thread.join()
    assert ticks[0] > 5


def test_it_may_be_called_from_many_threads_and_from_asyncio(tm: Terrarium) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: tm.snapshot("web"), range(4)))
    assert len({point.guid for point in points(tm)}) == 4

    async def both() -> None:
        loop = asyncio.get_running_loop()
        calls = (loop.run_in_executor(None, tm.snapshot, name) for name in ("web", "db"))
        await asyncio.gather(*calls)

    asyncio.run(both())
    assert (len(points(tm)), len(points(tm, "db"))) == (5, 1)


def test_it_works_after_a_fork(tm: Terrarium) -> None:
    tm.list()
    with tm._lock:
        child = multiprocessing.get_context("fork").Process(target=tm.snapshot, args=("web",))
        child.start()
        child.join(60)
    assert child.exitcode == 0
    assert len(points(tm)) == 1
