"""A file is a job's argument or result. It is kept as long as a job that names it, and then deleted in bounded steps."""

import hashlib
import pickle
import threading
from collections.abc import Callable

import pandas as pd
import pytest

from jobqueue import DurableHuey, File, FileMissing, FileTooLarge, current_job, every
from jobqueue.consumer.pruner import DAY, Pruner
from jobqueue.execution.current_job import CurrentJob, working_for
from jobqueue.files import WrongOffset, stored
from jobqueue.files.pieces import PIECE
from jobqueue.jobs.handle import JobHandle
from tests.engine.conftest import HueyFactory
from tests.engine.consumers import work
from tests.engine.files.rows import rows
from tests.moved_clock import MovedClock

HOUR = 3600.0
CSV = b"ticker,weight\n" + b"AAPL,0.5\n" * (PIECE // 4)  # a little over two pieces


class Request(CurrentJob):
    """A user's request."""

    def __init__(self, owner: str) -> None:
        super().__init__()
        self.owner = owner


def sweep(huey: DurableHuey) -> int:
    """Prune all jobs and files that are due. Return how many batches that took."""
    return sum(1 for _ in Pruner(huey.ledger.retention, keep_days=30, keep_jobs=None).batches())


def test_a_job_takes_a_file_and_returns_another(huey: DurableHuey) -> None:
    @huey.task()
    def doubled(file: File, title: str) -> File:
        frame = pd.read_csv(file.open())
        with file.path() as path:
            assert path.suffix == ".csv"
            assert path.read_bytes() == CSV
        assert not path.exists()
        return huey.files.save((frame["weight"] * 2).to_csv(index=False).encode(), f"{title}.csv")

    @huey.task()
    def length(file: File) -> int:
        return len(file.open().read())

    file = huey.files.save(CSV, "weights.csv")
    first, then = huey.enqueue(doubled.s(file, "twice").then(length))
    with huey.ledger.database.statement() as tx:
        assert max(len(row["message"]) for row in tx.all("SELECT message FROM jobs")) < 1000
    work(huey)
    result = first.get()
    assert (result.name, result.open().read(11)) == ("twice.csv", b"weight\n1.0\n")
    assert then.get() == result.size
    assert huey.get_job(first.id).args == (file, "twice")


def test_a_file_outside_of_its_queue_says_how_to_open_it(huey: DurableHuey) -> None:
    file = pickle.loads(pickle.dumps(huey.files.save(b"1", "a.csv")))
    with pytest.raises(ValueError, match=r"File\('a.csv', 1 bytes\) does not know its queue. Open huey.files.get"):
        file.open()


def test_a_file_is_kept_as_long_as_a_job_that_names_it(huey: DurableHuey, clock: MovedClock) -> None:
    @huey.task(retries=1)
    def fails_once(file: File) -> int:
        assert current_job().attempt > 1
        return len(file.open().read())

    @huey.task()
    def same(file: File) -> File:
        return file

    file = huey.files.save(CSV, "weights.csv")
    waiting: JobHandle = fails_once.schedule((file,), delay=2 * DAY)
    clock.move(2 * DAY + 1)
    sweep(huey)  # the file is old, and named by a job that has not begun
    work(huey)
    assert waiting.get() == len(CSV)
    again = huey.again(waiting.id)
    returned = same(file)
    work(huey)
    clock.move(20 * DAY)
    for job in (again, returned):
        with huey.ledger.database.statement() as tx:
            tx.run("UPDATE jobs SET ended_at = NOW WHERE id = :id", id=job.id)
    clock.move(20 * DAY)
    sweep(huey)  # of the three jobs, the first is gone
    assert rows(huey)["job_files"] == 2
    assert huey.files.get(file.id).open().read() == CSV
    clock.move(20 * DAY)
    sweep(huey)
    assert set(rows(huey).values()) == {0}


def test_a_file_that_no_job_names_is_deleted_after_a_day(huey: DurableHuey, clock: MovedClock) -> None:
    @huey.task()
    def size(file: File) -> int:
        return file.size

    file = huey.files.save(CSV, "weights.csv")
    clock.move(DAY - HOUR)
    sweep(huey)
    assert huey.files.get(file.id) == file
    clock.move(2 * HOUR)
    sweep(huey)
    assert set(rows(huey).values()) == {0}
    with pytest.raises(FileMissing, match="This file is not stored here any more. Upload it again."):
        huey.files.get(file.id)
    with pytest.raises(FileMissing, match="A file of this job is not stored here any more."):
        size(file)
    assert huey.jobs() == []


def test_an_upload_that_stops_is_deleted_after_an_hour(huey: DurableHuey, clock: MovedClock) -> None:
    file_id = huey.files.begin("weights.csv", len(CSV))
    clock.move(HOUR / 2)
    huey.files.append(file_id, 0, CSV[:PIECE])
    clock.move(HOUR - 60)
    sweep(huey)
    assert huey.files.received(file_id) == PIECE
    clock.move(120)
    sweep(huey)
    assert set(rows(huey).values()) == {0}


def test_a_large_file_is_deleted_in_bounded_steps(
    huey: DurableHuey, monkeypatch: pytest.MonkeyPatch, clock: MovedClock
) -> None:
    monkeypatch.setattr(stored, "PIECE", 1)
    huey.files.save(b"x" * (3 * stored.BATCH + 1), "tiny pieces")
    assert rows(huey)["file_pieces"] == 3 * stored.BATCH + 1
    nothing = sweep(huey)
    clock.move(2 * DAY)
    assert sweep(huey) == nothing + 3
    assert set(rows(huey).values()) == {0}


def test_a_job_that_is_submitted_during_the_sweep_keeps_its_file(
    huey: DurableHuey, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    @huey.task()
    def size(file: File) -> int:
        return len(file.open().read())

    file = huey.files.save(CSV, "weights.csv")
    clock.move(2 * DAY)
    with huey.ledger.database.transaction() as tx:  # the sweep's two looks, and a submit between them
        unused = [row["id"] for row in tx.all(stored.UNUSED_FILES, after=0, last=9, complete=DAY, incomplete=HOUR)]
    assert unused == [file.id]
    job = size(file)
    with huey.ledger.database.transaction() as tx:
        assert tx.all(stored.MARK_UNUSED, ids=unused) == []
    sweep(huey)
    work(huey)
    assert job.get() == len(CSV)


def test_a_shared_run_names_its_file(huey: DurableHuey, clock: MovedClock) -> None:
    @huey.task(unique=True)
    def size(file: File) -> int:
        return len(file.open().read())

    file = huey.files.save(CSV, "weights.csv")
    first, second = size(file), size(huey.files.save(CSV, "weights.csv"))  # files of equal content are equal arguments
    assert first.id != second.id
    clock.move(2 * DAY)
    sweep(huey)
    work(huey)
    assert first.get() == second.get() == len(CSV)
    assert rows(huey)["job_files"] == 1


def test_a_dataset_refuses_a_file(huey: DurableHuey) -> None:
    @huey.dataset(every("day at 7:00"))
    def weights() -> File:
        return huey.files.save(CSV, "weights.csv")

    job = weights.refresh()
    work(huey)
    assert "weights returned a File, which a dataset cannot keep. Return its content." in huey.get_job(job.id).error


# --- uploads in pieces ---


def test_an_upload_comes_in_pieces_that_any_process_takes(huey: DurableHuey, make_huey: HueyFactory) -> None:
    file_id, at = huey.files.begin("../weights.csv", len(CSV)), 0
    while at < len(CSV):
        at = make_huey().files.append(file_id, at, CSV[at : at + 700_000])
    file = huey.files.get(file_id)
    assert (file.name, file.open().read()) == ("weights.csv", CSV)
    assert file.sha256 == hashlib.sha256(CSV).hexdigest()


def test_a_piece_counts_once_and_only_where_the_last_one_ended(huey: DurableHuey) -> None:
    file_id = huey.files.begin("a.txt", 6)
    with pytest.raises(WrongOffset, match="a.txt has 0 bytes here, so a piece at 3 does not fit."):
        huey.files.append(file_id, 3, b"def")
    assert huey.files.append(file_id, 0, b"abc") == 3
    with pytest.raises(WrongOffset) as again:
        huey.files.append(file_id, 0, b"abc")
    assert again.value.received == 3
    with pytest.raises(FileTooLarge, match="a.txt is more than the limit of 6 bytes."):
        huey.files.append(file_id, 3, b"defg")
    with pytest.raises(FileMissing):
        huey.files.get(file_id)
    assert huey.files.append(file_id, 3, b"def") == 6
    with pytest.raises(WrongOffset):
        huey.files.append(file_id, 3, b"def")
    assert huey.files.get(file_id).open().read() == b"abcdef"


@pytest.mark.parametrize("ask", ["received", "append"])
def test_a_file_whose_last_piece_lost_its_process_is_completed_when_the_browser_asks(
    huey: DurableHuey, ask: str
) -> None:
    file_id = huey.files.begin("a.txt", 6)
    huey.ledger.files.append(file_id, 0, b"abcdef")  # and the process dies
    if ask == "received":
        assert huey.files.received(file_id) == 6
    else:
        with pytest.raises(WrongOffset):
            huey.files.append(file_id, 0, b"abcdef")
    assert huey.files.get(file_id).sha256 == hashlib.sha256(b"abcdef").hexdigest()


def test_of_pieces_that_come_at_once_one_is_stored(huey: DurableHuey) -> None:
    def send() -> None:
        barrier.wait()
        try:
            huey.files.append(file_id, 0, b"x" * PIECE)
            answers.append("stored")
        except WrongOffset as error:
            answers.append(str(error.received))

    file_id, answers, barrier = huey.files.begin("a.bin", 2 * PIECE), list[str](), threading.Barrier(4)
    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [str(PIECE)] * 3 + ["stored"]
    assert rows(huey)["file_pieces"] == 1


ACTS: dict[str, Callable[[DurableHuey, str], object]] = {
    "get": lambda huey, file_id: huey.files.get(file_id),
    "append": lambda huey, file_id: huey.files.append(file_id, 3, b"def"),
    "received": lambda huey, file_id: huey.files.received(file_id),
    "finish": lambda huey, file_id: huey.files.finish(file_id),
    "discard": lambda huey, file_id: huey.files.discard(file_id),
}


@pytest.mark.parametrize("act", ACTS)
def test_another_users_file_does_not_exist(huey: DurableHuey, act: str) -> None:
    with working_for(Request("ann")):
        file_id = huey.files.begin("a.txt", 6)
        huey.files.append(file_id, 0, b"abc")
    for stranger in ("ben", ""):
        with working_for(Request(stranger)), pytest.raises(FileMissing, match="^This file is not"):
            ACTS[act](huey, file_id)
    with working_for(Request("ann")):
        assert huey.files.append(file_id, 3, b"def") == 6


@pytest.mark.parametrize("given", ["", "\0", "\ud800", 7, ["a"], {"id": 1}, "../a", "x" * 10_000])
def test_what_is_no_id_is_no_file(huey: DurableHuey, given: object) -> None:
    with pytest.raises(FileMissing):
        huey.files.get(given)


def test_a_discarded_upload_leaves_nothing(huey: DurableHuey) -> None:
    file_id = huey.files.begin("a.txt", 6)
    huey.files.append(file_id, 0, b"abc")
    huey.files.discard(file_id)
    assert set(rows(huey).values()) == {0}
