"""The steps of the model: of users, workers, the reaper, the server and of faults."""

from collections.abc import Callable, Iterator
from functools import partial

from model.explorer import Step
from model.faults import faults
from model.protocol import (
    LEASE_TICKS,
    Chat,
    Life,
    Message,
    Phase,
    Rules,
    State,
    Statement,
    Task,
    Worker,
    canonical,
    send,
)
from model.rows import applied, ended, first, marked, moved, reaped, target

from chatd.domain.chat import IDLE, BusyBehavior, Status
from chatd.domain.transitions import Transition, target_status

Steps = Iterator[Step[State]]


def start(rules: Rules) -> State:
    """Return the state in which each chat has one message that waits for an answer."""
    chats = tuple(
        Chat(
            Status.PENDING, None, 0, 0, (Message.UNANSWERED, *(Message.UNSENT,) * actions), actions
        )
        for actions in rules.user_actions
    )
    tasks = (None,) * len(chats)
    worker = Worker(Life.UP, True, True, LEASE_TICKS, False, 0, tasks)
    return State(chats, (worker, worker), frozenset(), rules.faults)


def steps(rules: Rules, state: State) -> Steps:
    """Yield every step that can come next."""
    for step in _steps(rules, state):
        yield Step(step.name, canonical(step.state), step.is_fault, step.violation)


def _steps(rules: Rules, state: State) -> Steps:
    for number in range(len(state.chats)):
        yield from _user_steps(state, number)
        if rules.wakes_parked_chats:
            yield from _wake(state, number)
    for number in range(len(state.workers)):
        yield from _worker_steps(rules, state, number)
        yield from _reaper_steps(rules, state, number)
    for statement in state.statements:
        yield from _execution(rules, state, statement)
    yield from _tick(state)
    if state.faults_left:
        faulty = state._replace(faults_left=state.faults_left - 1)
        for name, after in faults(faulty):
            yield Step(name, after, is_fault=True)


def all_steps(rules: Rules) -> Callable[[State], Steps]:
    """Return ``steps`` of ``rules``."""
    return partial(steps, rules)


# -- users ------------------------------------------------------------------------------------


def _user_steps(state: State, number: int) -> Steps:
    chat = state.chats[number]
    if not chat.actions_left:
        return
    acted = chat._replace(actions_left=chat.actions_left - 1)
    for name, after in _user_actions(acted):
        yield Step(f"user: {name} in chat {number}", state.with_chat(number, after))


def _user_actions(chat: Chat) -> Iterator[tuple[str, Chat]]:
    if (unsent := first(chat, Message.UNSENT)) is not None:
        for busy in (BusyBehavior.QUEUE, BusyBehavior.INTERRUPT):
            status = target(Transition.SEND, chat, busy=busy)
            kind = Message.UNANSWERED if chat.status in IDLE else Message.QUEUED
            yield f"send ({busy})", moved(marked(chat, unsent, kind), status)
        replaced = chat._replace(
            messages=tuple(m if m is Message.UNSENT else Message.REPLACED for m in chat.messages)
        )
        edited = marked(replaced, unsent, Message.UNANSWERED)
        status = target(Transition.EDIT, chat)
        yield "edit", moved(edited, status)._replace(epoch=chat.epoch + 1, recoveries=0)
    status = target_status(Transition.INTERRUPT, chat.status, has_queue=chat.has_queue)
    if (status is not None and status is not chat.status) or chat.status is Status.PENDING:
        stopped = chat if status is Status.INTERRUPTING else ended(chat, Message.STOPPED)
        yield "interrupt", moved(stopped, status)


# -- workers ----------------------------------------------------------------------------------


def _worker_steps(rules: Rules, state: State, me: int) -> Steps:
    worker = state.workers[me]
    if worker.life is Life.PAUSED:
        yield Step(f"worker {me} goes on", state.with_worker(me, life=Life.UP))
    if worker.life is not Life.GONE and not worker.connected:
        yield Step(f"the network of worker {me} heals", state.with_worker(me, connected=True))
    if worker.life is not Life.UP:
        return
    if worker.acts:
        after = _beat(rules, state, me)
        if after != state:
            yield Step(f"worker {me} beats", after)
    for number, task in enumerate(worker.tasks):
        if task is not None:
            yield from _task_steps(state, me, number, task)
        elif worker.acts and worker.locked and worker.trusts_its_lease:
            yield from _claim(state, me, number)


def _claim(state: State, me: int, number: int) -> Steps:
    chat = state.chats[number]
    if (status := target(Transition.CLAIM, chat)) is None or chat.step is None:
        return
    claimed = chat._replace(status=status, holder=me, epoch=chat.epoch + 1)
    after = state.with_chat(number, claimed)
    task = Task(claimed.epoch, chat.step, Phase.CALLING)
    yield Step(f"worker {me} claims chat {number}", after.with_task(me, number, task))
    if state.faults_left:
        lost = after._replace(faults_left=state.faults_left - 1)
        yield Step(f"worker {me} claims chat {number}, response lost", lost, is_fault=True)


def _task_steps(state: State, me: int, number: int, task: Task) -> Steps:
    worker, chat = state.workers[me], state.chats[number]
    where = f"worker {me}, chat {number}"
    if not worker.trusts_its_lease:
        if task.phase is not Phase.DEAF:
            yield Step(f"{where}: the private deadline", state.with_task(me, number, None))
        return
    match task.phase:
        case Phase.CALLING:
            yield Step(
                f"{where}: the model answers",
                send(state, me, number, task, Transition.FINISH_TURN),
            )
        case Phase.UNKNOWN if worker.acts:
            yield Step(
                f"{where}: reads what became of it", _reconciled(state, me, number, task, chat)
            )


def _reconciled(state: State, me: int, number: int, task: Task, chat: Chat) -> State:
    """Go on after a statement whose response was lost, by reading the chat."""
    if (chat.holder, chat.epoch) != (me, task.epoch):
        return state.with_task(me, number, None)
    if chat.step is not None and chat.step != task.step:  # it was stored, and the queue goes on
        return state.with_task(me, number, Task(task.epoch, chat.step, Phase.CALLING))
    assert task.storing is not None
    stopping = chat.status is Status.INTERRUPTING
    transition = Transition.FINISH_INTERRUPT if stopping else task.storing
    return send(state, me, number, task, transition)


def _beat(rules: Rules, state: State, me: int) -> State:
    """Renew the worker's lease, take its lock, and hear of each of its chats."""
    state = state.with_worker(me, locked=True, lease=LEASE_TICKS, silent=False, looks=0)
    for number, chat in enumerate(state.chats):
        task = state.workers[me].tasks[number]
        mine = chat.holder == me and (task is None or task.epoch == chat.epoch)
        if task is None:
            if mine and rules.returns_unknown_claims:
                state = state.with_chat(number, reaped(chat, by_its_worker=True))
        elif task.phase is Phase.DEAF:
            if rules.gives_up_deaf_tasks:
                state = state.with_task(me, number, None)
                if mine:
                    state = state.with_chat(number, reaped(chat, by_its_worker=True))
        elif task.phase is Phase.CALLING:
            if not mine:
                state = state.with_task(me, number, None)
            elif chat.status is Status.INTERRUPTING:
                state = send(state, me, number, task, Transition.FINISH_INTERRUPT)
    return state


# -- the server -------------------------------------------------------------------------------


def _execution(rules: Rules, state: State, statement: Statement) -> Steps:
    """Execute a statement. Its task hears of it, if it still waits for it."""
    me, number, epoch, step, transition, late = statement
    state = state._replace(statements=state.statements - {statement})
    chat, task = state.chats[number], state.workers[me].tasks[number]
    matches = (
        chat.holder == me
        and (chat.epoch == epoch or not rules.fence_by_epoch)
        and (chat.step == step or not rules.fence_by_step)
        and target(transition, chat) is not None
    )
    violation = None
    if matches:
        violation = _broken_by(chat, statement)
        chat = applied(transition, chat, me)
        violation = violation or _lost_message(chat)
        state = state.with_chat(number, chat)
    name = f"worker {me}, chat {number}: {transition} is {'stored' if matches else 'refused'}"
    waits = (
        not late
        and task is not None
        and task.phase is Phase.STORING
        and (task.epoch, task.step, task.storing) == (epoch, step, transition)
    )
    if not waits:
        yield Step(name, state, violation=violation)
        return
    unknown = state.with_task(me, number, task._replace(phase=Phase.UNKNOWN))
    if not matches:
        after = unknown
    elif chat.holder == me and chat.step is not None:
        after = state.with_task(me, number, Task(epoch, chat.step, Phase.CALLING))
    else:
        after = state.with_task(me, number, None)
    yield Step(name, after, violation=violation)
    if state.faults_left and matches:
        lost = unknown._replace(faults_left=state.faults_left - 1)
        yield Step(f"{name}, response lost", lost, is_fault=True, violation=violation)


def _broken_by(chat: Chat, statement: Statement) -> str | None:
    """Return the invariant that a stored statement breaks."""
    if chat.epoch != statement.epoch:
        return "one writer"
    if chat.messages[statement.step] is Message.ANSWERED:
        return "no doubled answer"
    if chat.messages[statement.step] is not Message.UNANSWERED:
        return "no answer to a message that needs none"
    return None


def _lost_message(chat: Chat) -> str | None:
    open_messages = {Message.QUEUED, Message.UNANSWERED} & set(chat.messages)
    if chat.status is Status.WAITING and open_messages:
        return "no lost message"
    if chat.status not in IDLE and chat.step is None:
        return "no work without a message"
    return None


def _tick(state: State) -> Steps:
    """Let time pass for those who cannot beat, once everybody else has done so."""
    if any(worker.acts and worker.lease < LEASE_TICKS for worker in state.workers):
        return
    workers = tuple(
        worker if worker.acts else worker._replace(lease=max(0, worker.lease - 1))
        for worker in state.workers
    )
    if workers != state.workers:
        yield Step("time passes", state._replace(workers=workers))


def _wake(state: State, number: int) -> Steps:
    """Wake a chat that waits for others. They come to rest at any time, and any process notices."""
    chat = state.chats[number]
    if (status := target(Transition.WAKE, chat)) is not None:
        yield Step(f"chat {number} is woken", state.with_chat(number, moved(chat, status)))


# -- the reaper -------------------------------------------------------------------------------


def _reaper_steps(rules: Rules, state: State, watched: int) -> Steps:
    """Look at the lock of a worker, and reap what it holds once it is dead."""
    worker = state.workers[watched]
    held = [n for n, chat in enumerate(state.chats) if chat.holder == watched]
    others = [w for n, w in enumerate(state.workers) if n != watched and w.acts]
    if not held or not any(other.locked and other.trusts_its_lease for other in others):
        return
    if not rules.pooled or not rules.lock_needs_proof:
        yield from _look(rules, state, watched)
    dead = worker.looks >= rules.looks_needed or worker.lease == 0 or not rules.needs_evidence
    if not dead:
        return
    for number in held:
        chat = state.chats[number]
        healthy = worker.acts and not worker.silent and worker.lease > 0
        yield Step(
            f"chat {number} of worker {watched} is reaped",
            state.with_chat(number, reaped(chat)),
            violation="a living worker keeps its chats" if healthy else None,
        )


def _look(rules: Rules, state: State, watched: int) -> Steps:
    worker = state.workers[watched]
    free = not worker.locked or rules.pooled
    reconnecting = worker.acts and not worker.locked  # at once: between any two looks
    if free and worker.looks < rules.looks_needed and not (worker.looks and reconnecting):
        after = state.with_worker(watched, looks=worker.looks + 1)
        yield Step(f"the lock of worker {watched} looks free", after)
