"""Outbox: the tasks that were intended, carried to the CRM, each exactly once.

``sending`` is stored before the CRM is called and ``open`` after its answer. Whatever is found
in ``sending`` later had no answer: it is looked for by its marker before it is made again, and
stays *doubtful* until nothing of it shows up twice any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from itertools import chain
from typing import Any

import sqlalchemy as sa

from plugin.errors import CrmError, CrmUnavailable
from plugin.manifest import LANGUAGES
from plugin.pipeline.apart import apart
from plugin.pipeline.lanes import Lane
from plugin.ports import CreatedTasks, CrmTask, Failure, Session, TaskDraft, TaskUpdate
from plugin.referral.model import Priority
from plugin.storage import hints, tasks
from plugin.storage.accounts import Account, put_off_until
from plugin.storage.among import among
from plugin.storage.database import Database
from plugin.storage.hints import HintKind
from plugin.storage.tables import task as table
from plugin.storage.tasks import PENDING, TaskState, key_in, marker
from plugin.texts import withdrawal_note
from plugin.texts.tasks import WITHDRAWALS

log = logging.getLogger(__name__)

BATCH = 100
SETTLE = 5_000  # milliseconds a request without an answer gets before its task is looked for
DOUBTFUL_FOR = 24 * 3_600_000  # milliseconds
DUE_TIME = time(17, 0)


class Outbox:
    """Works for one account, within its lane."""

    def __init__(
        self,
        database: Database,
        account: Account,
        session: Session,
        lane: Lane,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._account = account
        self._session = session
        self._lane = lane
        self._now_ms = now_ms

    def work(self) -> bool:
        """Carry everything that can go now to the CRM; False where there was nothing."""
        worked = False
        after = 0
        while True:
            with self._database.read() as connection:
                rows = tasks.in_state(
                    connection, self._account.id, PENDING, limit=BATCH, after=after
                )
            if not rows:
                return worked
            after = rows[-1].id
            worked |= self._round(rows)

    def _round(self, rows: Sequence[sa.Row[Any]]) -> bool:
        def those(state: TaskState) -> list[sa.Row[Any]]:
            return [row for row in rows if row.state == state]

        lost = [row for row in those(TaskState.SENDING) if self._is_settled(row)]
        again = self._look_for(lost) if lost else []
        fresh = those(TaskState.INTENDED)
        if fresh or again:
            self._create([*fresh, *again])
        withdrawing = [
            row
            for row in those(TaskState.WITHDRAWING)
            if row.crm_id is not None or self._is_settled(row)
        ]
        if withdrawing:
            self._withdraw(withdrawing)
        if reopening := those(TaskState.REOPENING):
            self._reopen(reopening)
        return bool(lost or fresh or withdrawing or reopening)

    def _is_settled(self, row: sa.Row[Any]) -> bool:
        now = self._now_ms()
        return settled_at(row.sent_at or 0, now) <= now

    # ------------------------------------------------------------------------ creating

    def _create(self, rows: Sequence[sa.Row[Any]]) -> None:
        now = self._now_ms()
        with self._lane.write() as connection:
            for doubtful in (False, True):
                tasks.save(
                    connection,
                    [row.id for row in rows if (row.state == TaskState.SENDING) is doubtful],
                    state=TaskState.SENDING,
                    sent_at=now,
                    **({"doubtful": True} if doubtful else {}),
                )
        try:
            created = self._session.create_tasks([self._draft(row) for row in rows])
        except CrmUnavailable as error:
            if error.outcome_unknown:
                raise  # they stay in ``sending`` and are looked for first
            self._not_made(rows)
            raise
        except CrmError:
            self._not_made(rows)
            raise
        self._note_created(rows, created)
        if created.stopped:
            raise created.stopped

    def _note_created(self, rows: Sequence[sa.Row[Any]], created: CreatedTasks) -> None:
        """Those whose answer is missing stay in ``sending`` and are looked for first."""
        failed = {failure.item: failure for failure in created.failures}
        unsent = []
        with self._lane.write() as connection:
            made = created.crm_ids
            _now_open(connection, {row.id: made[row.key] for row in rows if row.key in made})
            for row in rows:
                if row.key in made:
                    continue
                if row.key in failed:
                    tasks.save(
                        connection,
                        [row.id],
                        state=TaskState.REFUSED,
                        reason=failed[row.key].reason[:500],
                    )
                elif created.stopped and row.key not in created.unknown:
                    unsent.append(row)
            _not_sent(connection, unsent)

    def _not_made(self, rows: Sequence[sa.Row[Any]]) -> None:
        with self._lane.write() as connection:
            _not_sent(connection, rows)

    def _draft(self, row: Any) -> TaskDraft:
        return TaskDraft(
            key=row.key,
            marker=marker(row.kind, row.key),
            subject=row.subject,
            body=row.body,
            contact_ids=(row.target_id, *(one for one in row.also_on if one != row.target_id)),
            deal_id=row.deal_id,
            owner_id=row.owner_id,
            due_at=self._due_at(row.due_on),
            priority=Priority(row.priority),
        )

    def _due_at(self, day: date) -> datetime:
        return datetime.combine(day, DUE_TIME, self._account.zone).astimezone(UTC)

    # ----------------------------------------------------------------------- looking for

    def _look_for(self, rows: Sequence[sa.Row[Any]]) -> list[sa.Row[Any]]:
        """Adopt those that exist; returns the others. Where the CRM tells of a contact's tasks what
        nobody can read, it is not known whether one exists: it is not made again."""
        found, odd = self._found(rows)
        with self._lane.write() as connection:
            for row in rows:
                if row.target_id in odd:
                    _unreadable(connection, row, odd[row.target_id])
            there = {row.id: found[row.key][0].crm_id for row in rows if row.key in found}
            _now_open(connection, there, doubtful=True)
            done = [row for row in rows if any(one.done for one in found.get(row.key, ()))]
            self._look_again(connection, done)
        self._remove_doubles(rows, found)
        return [row for row in rows if row.key not in found and row.target_id not in odd]

    def _found(
        self, rows: Iterable[sa.Row[Any]]
    ) -> tuple[dict[str, list[CrmTask]], dict[str, str]]:
        """Key → tasks with that marker, the oldest first; and contact → why its tasks cannot be
        read."""
        targets = sorted({row.target_id for row in rows})
        found: dict[str, list[CrmTask]] = {}
        odd: dict[str, str] = {}
        for start in range(0, len(targets), BATCH):
            answers, unread = apart(targets[start : start + BATCH], self._session.find_tasks)
            odd |= unread
            for one in chain.from_iterable(answers):
                if key := key_in(one.body):
                    found.setdefault(key, []).append(one)
        for same in found.values():
            same.sort(key=lambda one: (len(one.crm_id), one.crm_id))
        return found, odd

    def check_doubtful(self, subject_ids: Sequence[str] | None = None) -> None:
        """Look whether a task that once had no answer now exists twice, and remove the double."""
        if self._account.observing:
            return
        chosen = [
            table.c.account_id == self._account.id,
            table.c.doubtful.is_(True),
            table.c.state.not_in((TaskState.INTENDED, TaskState.SENDING, TaskState.REFUSED)),
        ]
        if subject_ids is not None:
            chosen.append(among(table.c.subject_id, subject_ids))
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).where(*chosen)).all()
        if not rows:
            return
        self._remove_doubles(rows, self._found(rows)[0])
        now = self._now_ms()
        with self._lane.write() as connection:
            over = [row.id for row in rows if now - (row.sent_at or 0) > DOUBTFUL_FOR]
            tasks.save(connection, over, doubtful=False)

    def _remove_doubles(
        self, rows: Sequence[sa.Row[Any]], found: Mapping[str, Sequence[CrmTask]]
    ) -> None:
        extra = []
        for row in rows:
            same = found.get(row.key, ())
            keep = _kept(row, same)
            extra += [one.crm_id for one in same if one is not keep]
            if keep is None or keep.crm_id == row.crm_id:
                continue
            values = {"crm_id": keep.crm_id}
            if row.state == TaskState.WITHDRAWN and not keep.done:
                values["state"] = TaskState.WITHDRAWING  # only now can it be closed
            with self._lane.write() as connection:
                tasks.save(connection, [row.id], **values)
        if extra:
            log.warning("removing %s tasks that were made twice", len(extra))
            self._session.delete_tasks(extra)

    # ------------------------------------------------------------ withdrawing, reopening

    def _withdraw(self, rows: Sequence[sa.Row[Any]]) -> None:
        rows, present = self._read(self._known(rows))
        updates = []
        gone = [row for row in rows if row.crm_id not in present]
        done = []
        for row in rows:
            now = present.get(row.crm_id)
            if now is None:
                continue
            note = withdrawal_note(row.reason, self._account.language)
            if not now.done:
                body = _noted(now.body, note)
                updates.append(TaskUpdate(crm_id=row.crm_id, done=True, body=body))
            elif not _taken_back(now.body):
                done.append((row, now))  # a person was quicker
        failed = self._update(updates)
        self._now_in(TaskState.WITHDRAWN, rows, gone=gone, done=done, failed=failed)

    def _known(self, rows: Sequence[sa.Row[Any]]) -> list[sa.Row[Any]]:
        """Those the CRM has; one whose making had no answer is looked for first."""
        unknown = [row for row in rows if row.crm_id is None]
        if not unknown:
            return list(rows)
        found, odd = self._found(unknown)
        with self._lane.write() as connection:
            for row in unknown:
                if same := found.get(row.key):
                    tasks.save(connection, [row.id], crm_id=same[0].crm_id, doubtful=True)
                elif row.target_id in odd:
                    _unreadable(connection, row, odd[row.target_id])
                else:
                    tasks.save(connection, [row.id], state=TaskState.WITHDRAWN, doubtful=True)
        return [row for row in rows if row.crm_id is not None]

    def _reopen(self, rows: Sequence[sa.Row[Any]]) -> None:
        rows, present = self._read(rows)
        updates = []
        gone = [row for row in rows if row.crm_id not in present]
        done = []
        for row in rows:
            now = present.get(row.crm_id)
            if now is None:
                continue
            if now.done and not _taken_back(now.body):
                done.append((row, now))  # a person has done it meanwhile
                continue
            body, due_at = _without_note(now.body), self._due_at(row.due_on)
            updates.append(TaskUpdate(crm_id=row.crm_id, done=False, body=body, due_at=due_at))
        failed = self._update(updates)
        self._now_in(TaskState.OPEN, rows, gone=gone, done=done, failed=failed)

    def _read(
        self, rows: Sequence[sa.Row[Any]]
    ) -> tuple[Sequence[sa.Row[Any]], dict[str, CrmTask]]:
        """These as they are in the CRM now, by id; what nobody can read is left as it is there."""
        present, odd = self._present(rows)
        if odd:
            with self._lane.write() as connection:
                for row in rows:
                    if row.crm_id in odd:
                        _unreadable(connection, row, odd[row.crm_id])
        return [row for row in rows if row.crm_id not in odd], present

    def _present(self, rows: Sequence[sa.Row[Any]]) -> tuple[dict[str, CrmTask], dict[str, str]]:
        """The tasks that the CRM has, by id; and id → why, of those nobody can read."""
        answers, odd = apart([row.crm_id for row in rows], self._session.read_tasks)
        return {crm_id: one for each in answers for crm_id, one in each.items()}, odd

    def _update(self, updates: Sequence[TaskUpdate]) -> dict[str, Failure]:
        """Change tasks; what failed, by id."""
        if not updates:
            return {}
        return {failure.item: failure for failure in self._session.update_tasks(updates)}

    def _now_in(
        self,
        state: TaskState,
        rows: Sequence[sa.Row[Any]],
        *,
        gone: Sequence[sa.Row[Any]],
        done: Sequence[tuple[sa.Row[Any], CrmTask]],
        failed: Mapping[str, Failure],
    ) -> None:
        """Store what came of these: all are in ``state`` now, but for those gone, done, or not
        changed by the CRM."""
        with self._lane.write() as connection:
            tasks.save(connection, [row.id for row in rows], state=state)
            tasks.save(connection, [row.id for row in gone], state=TaskState.DELETED)
            for row in rows:
                if failure := failed.get(row.crm_id):
                    now = TaskState.DELETED if failure.gone else TaskState.REFUSED
                    tasks.save(connection, [row.id], state=now, reason=failure.reason[:500])
            for row, seen in done:
                day = self._day(seen)
                tasks.save(connection, [row.id], state=TaskState.DONE, done_on=day, reason=None)
            self._look_again(connection, [row for row, _ in done])

    def _look_again(self, connection: sa.Connection, rows: Iterable[sa.Row[Any]]) -> None:
        """What a person did may change the decisions about these contacts."""
        subjects = {row.subject_id for row in rows}
        mine = self._account.id
        hints.mark(connection, mine, HintKind.CONTACT, subjects, due_at=self._now_ms())

    # --------------------------------------------------------------------- reading back

    def read_back(self, rows: Sequence[sa.Row[Any]], *, look_again: bool) -> int:
        """What became of these open tasks; returns for how many contacts something did.

        ``look_again``: they are marked in the same transaction; else they are just being looked at.
        """
        changed: set[str] = set()
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            present, odd = self._present(part)
            gone = [row for row in part if row.crm_id not in present and row.crm_id not in odd]
            done = [row for row in part if row.crm_id in present and present[row.crm_id].done]
            if not (gone or done):
                continue
            with self._lane.write() as connection:
                tasks.save(connection, [row.id for row in gone], state=TaskState.DELETED)
                for row in done:
                    day = self._day(present[row.crm_id])
                    tasks.save(connection, [row.id], state=TaskState.DONE, done_on=day)
                if look_again:
                    self._look_again(connection, [*gone, *done])
            changed |= {row.subject_id for row in (*gone, *done)}
        return len(changed)

    def _day(self, one: CrmTask) -> date:
        at = one.done_at or one.created_at
        return self._account.day(at) if at else self._account.day(datetime.now(UTC))


def settled_at(sent_at: int, now: int) -> int:
    """When a task whose making had no answer is looked for; now, where it was sent so far ahead
    that nobody can have meant it: then the clock was set back."""
    return put_off_until(sent_at + SETTLE, now)


def _not_sent(connection: sa.Connection, rows: Iterable[sa.Row[Any]]) -> None:
    """Intended as before; but what may exist from an earlier call stays in ``sending``."""
    first = [row.id for row in rows if row.state == TaskState.INTENDED]
    tasks.save(connection, first, state=TaskState.INTENDED, sent_at=None)


def _unreadable(connection: sa.Connection, row: sa.Row[Any], reason: str) -> None:
    """Nobody knows whether it exists: if it is wanted again it is looked for first."""
    tasks.save(connection, [row.id], state=TaskState.REFUSED, reason=reason[:500], doubtful=True)


def _now_open(
    connection: sa.Connection, crm_ids: Mapping[int, str], *, doubtful: bool | None = None
) -> None:
    """The CRM has these now: their words are there and need not be kept here."""
    if not crm_ids:
        return
    values: dict[str, Any] = {"crm_id": sa.bindparam("crm_id_"), "subject": None, "body": None}
    if doubtful is not None:
        values["doubtful"] = doubtful
    connection.execute(
        sa.update(table)
        .where(table.c.id == sa.bindparam("id_"))
        .values(state=TaskState.OPEN, **values),
        [{"id_": one, "crm_id_": crm_id} for one, crm_id in crm_ids.items()],
    )


def _kept(row: sa.Row[Any], same: Sequence[CrmTask]) -> CrmTask | None:
    """Of the tasks with one marker, the oldest first, the one that stays: one that is done, else
    the one we know, else the oldest; none where a person had completed or deleted the task."""
    done = next((one for one in same if one.done), None)
    if done or not same or row.state in (TaskState.DONE, TaskState.DELETED):
        return done
    return next((one for one in same if one.crm_id == row.crm_id), same[0])


def _noted(body: str, note: str) -> str:
    """The note above the marker line, below whatever people wrote."""
    kept, found, rest = body.rpartition("[spiral:")
    return f"{kept.rstrip()}\n\n{note}\n\n{found}{rest}" if found else f"{body}\n\n{note}"


def _notes() -> Iterator[str]:
    """Whatever the plugin may have written when it took a task back."""
    for text in WITHDRAWALS.values():
        yield from (text[language] for language in LANGUAGES)


def _taken_back(body: str) -> bool:
    """Whether a completed task was completed by us: the note is a line of its own, as no name or
    quoted word ever is."""
    return not {line.strip() for line in body.splitlines()}.isdisjoint(_notes())


def _without_note(body: str) -> str:
    """The text as it was before the task was taken back."""
    notes = frozenset(_notes())
    kept: list[str] = []
    for line in body.split("\n"):
        if line.strip() not in notes:
            kept.append(line)
            continue
        while kept and not kept[-1].strip():
            kept.pop()
    return "\n".join(kept)
