"""The faults of the model: of processes, tasks, connections, statements and clocks."""

from collections.abc import Iterator
from functools import partial

from model.protocol import Life, Phase, State, Statement, Worker, send

from chatd.domain.transitions import Transition


def faults(state: State) -> Iterator[tuple[str, State]]:
    """Yield each fault that can happen, and the state after it."""
    for number, worker in enumerate(state.workers):
        if worker.life is not Life.GONE:
            yield from _process_faults(state, number, worker)
            yield from _task_faults(state, number, worker)
    yield (
        "the clock of the server jumps",
        state._replace(workers=tuple(worker._replace(lease=0) for worker in state.workers)),
    )
    for statement in state.statements:
        yield from _statement_faults(state, statement)


def _process_faults(state: State, number: int, worker: Worker) -> Iterator[tuple[str, State]]:
    change = partial(state.with_worker, number)
    if all(each.life is not Life.GONE for each in state.workers):  # somebody must be left to go on
        gone = partial(change, life=Life.GONE, connected=True, tasks=(None,) * len(state.chats))
        yield f"worker {number} is killed", gone(locked=False)
        yield f"the host of worker {number} vanishes", gone()
    if worker.life is Life.UP:
        yield f"worker {number} is paused", change(life=Life.PAUSED, silent=True)
    if worker.connected:
        yield f"worker {number} is cut off", change(connected=False, silent=True)
        if worker.locked:
            yield f"the session of worker {number} is reset", change(locked=False)


def _task_faults(state: State, number: int, worker: Worker) -> Iterator[tuple[str, State]]:
    for chat, task in enumerate(worker.tasks):
        if task is not None and task.phase is Phase.CALLING:
            deaf = task._replace(phase=Phase.DEAF)
            yield f"a task of worker {number} goes deaf", state.with_task(number, chat, deaf)
            if worker.trusts_its_lease:  # as at the end of a process, or for a long backoff
                released = send(state, number, chat, task, Transition.RELEASE)
                yield f"worker {number} releases chat {chat}", released
                parked = send(state, number, chat, task, Transition.PARK)
                yield f"worker {number} has chat {chat} wait for others", parked


def _statement_faults(state: State, statement: Statement) -> Iterator[tuple[str, State]]:
    task = state.workers[statement.worker].tasks[statement.chat]
    if statement.late or task is None or task.phase is not Phase.STORING:
        return
    unknown = state.with_task(statement.worker, statement.chat, task._replace(phase=Phase.UNKNOWN))
    others = state.statements - {statement}
    yield "a statement is lost", unknown._replace(statements=others)
    late = statement._replace(late=True)
    yield "a connection breaks before its statement", unknown._replace(statements=others | {late})
