"""Running a sweep: points that are not in its table yet go to an executor, their rows to the table as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from math import ceil
from pathlib import Path
from typing import NamedTuple

from uarch.errors import InputError
from uarch.files.writing import check_output
from workloads.running.workers import available_processors, worker_pool
from workloads.settings.choices import Fidelity
from workloads.sweep.design import Design, Point
from workloads.sweep.evaluation import Job, Row, broken_constraint, run_job
from workloads.sweep.names import needs_runs
from workloads.sweep.optimisation import Search
from workloads.sweep.promotion import costs_of, promoted
from workloads.sweep.sampling import given_points, planned_points
from workloads.sweep.schema import Sweep
from workloads.sweep.sweep_file import load_sweep
from workloads.sweep.table import SweepTable, read_sweep, resumed_rows, write_table

_WRITE_SECONDS = 1.0
"""Time between two writes of the table, at least."""
_WRITE_SHARE = 20
"""Time between two writes, in times of a write: the table takes 5 % of the time at most."""


class Progress(NamedTuple):
    """How far a sweep is."""

    done: int
    total: int
    """Points in all, with those that later fidelities will have as far as that is known."""
    best: str
    """Best value of the first objective so far, and where; empty as long as there is none."""


def run_sweep(
    sweep: Sweep | str,
    output: str | Path,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    resume: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> SweepTable:
    """Run every point of a sweep that its table does not have yet.

    The table is the same to the bit however the points are distributed, and however often the run was interrupted.

    Parameters
    ----------
    sweep
        Sweep, or the name of a preset or the path of a TOML file.
    output
        HDF5 file of the table. It is replaced as a whole every few seconds, and can be read at any time.
    workers
        New processes that run points, by default one for each available processor; 1: this process.
    executor
        Executor that is used instead, such as that of a cluster.
    resume
        Whether rows that are in the file already are kept; if not, the file is replaced.
    progress
        Function to call after each point.

    Returns
    -------
    SweepTable
        Table that is in the file now.

    Raises
    ------
    InputError
        Something in the sweep is wrong, no point satisfies its constraints, or the file is another sweep's.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import uarch
    >>> table = uarch.run_sweep("decode-bandwidth", "sweep.h5", workers=1)
    >>> bool(table.done().all())
    True
    """
    loaded, path = (load_sweep(sweep) if isinstance(sweep, str) else sweep), Path(output)
    check_output(path)
    known = resumed_rows(path, loaded) if resume else []
    run = _Run(loaded, path, {row.key: row for row in known}, workers, executor, progress)
    try:
        run.search() if loaded.sampling.method == "optimise" else run.sample()
    finally:
        run.write()
    return read_sweep(path)


class _Run:
    """Rows that are known, and the way to more of them."""

    def __init__(
        self,
        sweep: Sweep,
        path: Path,
        rows: dict[tuple[int, Fidelity], Row],
        workers: int | None,
        executor: Executor | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.sweep, self.path, self.rows = sweep, path, rows
        self.workers, self.executor, self.progress = workers, executor, progress
        self.total = 0
        self._best: Row | None = None
        self._next_write = time.monotonic() + _WRITE_SECONDS
        for row in rows.values():
            self._note(row)

    def sample(self) -> None:
        """Run all planned points with the first fidelity, and with each next one the best of those before."""
        points = planned_points(self.sweep)
        if not any(row.status == "done" for row in self.rows.values()):
            check_satisfiable(self.sweep, points)
        for place, fidelity in enumerate(self.sweep.fidelities):
            self.total = sum(key[1] != fidelity for key in self.rows) + len(points)
            found = self.run(points, fidelity)
            if place + 1 < len(self.sweep.fidelities):
                points = promoted(self.sweep, points, found)

    def search(self) -> None:
        """Run the listed points, then batches that the search proposes from all before."""
        fidelity, listed = self.sweep.fidelities[0], given_points(self.sweep)
        wanted, batch = self.sweep.sampling.points or 0, self.sweep.sampling.batch
        self.total = len(listed) + wanted
        self.run(listed, fidelity)
        search = Search(self.sweep)
        for number in range(ceil(wanted / batch)):
            points = search.propose(len(listed) + number * batch, min(batch, wanted - number * batch))
            search.tell(self.run(points, fidelity))

    def run(self, points: Sequence[Point], fidelity: Fidelity) -> list[Row]:
        """Rows of some points, in their order; those that are not known yet are run."""
        jobs = [Job(self.sweep, point, fidelity) for point in points if (point.number, fidelity) not in self.rows]
        self._show()
        for row in finished_rows(jobs, self.workers, self.executor):
            self.rows[row.key] = row
            self._note(row)
            self._show()
            if time.monotonic() >= self._next_write:
                self.write()
        return [self.rows[point.number, fidelity] for point in points]

    def write(self) -> None:
        """Write the table as it is now."""
        begin = time.monotonic()
        write_table(self.path, self.sweep, self.rows.values())
        end = time.monotonic()
        self._next_write = end + max(_WRITE_SECONDS, _WRITE_SHARE * (end - begin))

    def _note(self, row: Row) -> None:
        """Remember the row with the lowest first cost, of those with the last fidelity that there is."""
        rank = self.sweep.fidelities.index
        if row.status != "done":
            return
        best = self._best
        if best is None or (-rank(row.fidelity), costs_of(self.sweep, row)) < (
            -rank(best.fidelity),
            costs_of(self.sweep, best),
        ):
            self._best = row

    def _show(self) -> None:
        if self.progress is not None:
            self.progress(Progress(len(self.rows), max(self.total, len(self.rows)), self._best_text()))

    def _best_text(self) -> str:
        if self._best is None:
            return ""
        objective = self.sweep.objective[0]
        where = ", ".join(f"{name} = {_short(value)}" for name, value in self._best.inputs.items())
        return f"best {objective.column} = {_short(self._best.outputs[objective.column])} at {where}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def check_satisfiable(sweep: Sweep, points: Iterable[Point]) -> None:
    """Raise :class:`InputError` if every point breaks a constraint that needs no run, or has no chip at all."""
    broken: dict[str, int] = {}
    if all(needs_runs(sweep, text) for text in sweep.constraints):
        return
    for point in points:
        try:
            text = broken_constraint(Design(sweep, point), before_runs=True)
        except InputError as error:
            text = str(error)
        if text is None:
            return
        broken[text] = broken.get(text, 0) + 1
    count, most = sum(broken.values()), max(broken, key=lambda text: broken[text])
    raise InputError(
        f"sweep {sweep.name}: none of {count} points satisfies the constraints; {broken[most]} break {most!r}"
    )


def finished_rows(jobs: Sequence[Job], workers: int | None = None, executor: Executor | None = None) -> Iterator[Row]:
    """Run jobs and yield the row of each as it ends, whatever happens to the processes that run them.

    If a process dies, new ones take its place. The first of the jobs that are left then runs alone: if its process dies once
    more, it is the job that kills processes, and its row says so.
    """
    if workers == 1 and executor is None:
        yield from map(run_job, jobs)
        return
    left = {(job.point.number, job.fidelity): job for job in jobs}
    while left:
        for row in _until_broken(left.values(), min(workers or available_processors(), len(left)), executor):
            del left[row.key]
            yield row
        if left:
            row = _alone(next(iter(left.values())))
            del left[row.key]
            yield row


def _until_broken(jobs: Iterable[Job], workers: int, executor: Executor | None) -> Iterator[Row]:
    """Rows of jobs as they end; fewer than jobs if a process of the pool dies."""
    with worker_pool(workers, executor) as pool:
        running: dict[Future[Row], Job] = {pool.submit(run_job, job): job for job in jobs}
        try:
            for future in as_completed(running):
                error = _error_of(future)
                if isinstance(error, BrokenExecutor):
                    return
                yield future.result() if error is None else _killed(running[future], error)
        finally:
            for future in running:
                future.cancel()


def _error_of(future: Future[Row]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        raise InputError(
            "scheduler: lost, and with it the points that were not done; run the same command to go on"
        ) from error


def _alone(job: Job) -> Row:
    with worker_pool(1) as pool:
        future = pool.submit(run_job, job)
        error = future.exception()
        return future.result() if error is None else _killed(job, error)


def _killed(job: Job, error: BaseException) -> Row:
    return Row(
        job.point.number, job.fidelity, "failed", f"its process died: {type(error).__name__}", dict(job.point.values)
    )
