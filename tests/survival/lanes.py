"""Faults one after another, on the same lives; and lanes of them side by side."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from tests.patterns.nursery import nursery
from tests.survival.arena import Arena, files, side_by_side, stages
from tests.survival.faults import FAULTS, LANES, Fault, now, struck
from tests.survival.life import ENDS, LOST, UNREADY, Life, Verdict, over
from tests.survival.subjects import Subject

Verdicts = dict[str, Verdict]
#: How often those are begun again that ended before their fault began.
TIMES = 3
Change = Callable[[Path], None]


class Lane:
    """The faults that follow each other, on servers of their own."""

    def __init__(
        self, key: str, subjects: list[Subject], folder: Path, change: Change | None = None
    ) -> None:
        self.arena = Arena(key)
        self.subjects = subjects
        self.folder = folder
        self.change = change
        self.lives: dict[str, Life] = {}
        self.version = ""

    def try_all(self, fault: Fault) -> Verdicts:
        """Return what each subject that the fault concerns makes of it."""
        concerned = [one for one in self.subjects if fault.concerns(one)]
        if not concerned:
            return {}
        verdicts: Verdicts = {}
        # While some begin, another may end, by what came before: nobody is judged by that.
        for _ in range(TIMES):
            new = [one for one in concerned if not self._lives_well(one, verdicts)]
            begun = [self._settle(one) for one in new]
            for life, ready in zip(begun, side_by_side(Life.begin, begun), strict=True):
                if not ready:
                    verdicts[life.subject.name] = Verdict(UNREADY, life.failure[-300:])
        self.version = self.version or self.arena.fronts[0].server.version()
        living = [self.lives[one.name] for one in concerned if one.name not in verdicts]
        if fault.name == "sigterm":
            judged = side_by_side(Life.leave, living)
        elif living:
            judged = self._judge(fault, living)
        else:
            judged = []
        for life, verdict in zip(living, judged, strict=True):
            verdicts[life.subject.name] = replace(verdict, seconds=life.seconds)
        self._forget(
            self.lives[one.name] for one in concerned if fault.leaves or not verdicts[one.name].good
        )
        return {one.name: verdicts[one.name] for one in concerned}

    def _judge(self, fault: Fault, living: list[Life]) -> list[Verdict]:
        begun = now()

        def watch(life: Life) -> Verdict | None:
            verdict = life.watch(since)
            life.seconds = (life.ended_at if verdict is None else now()) - begun
            return verdict

        logs = [life.log() for life in living]
        with struck(fault, living):
            # A right that is taken away may need a moment to reach the whole server.
            since = now() + (1 if fault.lasting else 0)
            if fault.lasting:
                seen = side_by_side(watch, living)
        if not fault.lasting:
            seen = side_by_side(watch, living)
        else:
            again = list(zip(living, seen, logs, strict=True))
            seen = side_by_side(lambda one: one[0].after(*one[1:]), again)
        poisoned = fault.name == "raises_always"

        def follow(one: tuple[Life, Verdict | None]) -> Verdict:
            life, verdict = one
            return life.follow(poisoned=poisoned) if verdict is None else verdict

        return side_by_side(follow, list(zip(living, seen, strict=True)))

    def _lives_well(self, subject: Subject, verdicts: Verdicts) -> bool:
        """Tell whether nothing is to be done for it, which is so for who has its verdict too."""
        life = self.lives.get(subject.name)
        if life and not life.well and subject.name not in verdicts:
            self._forget([life])
        return subject.name in self.lives

    def _settle(self, subject: Subject) -> Life:
        place = self.arena.place(subject)
        life = Life(subject, place, *stages(subject, place, self.folder, self.change))
        self.lives[subject.name] = life
        return life

    def _forget(self, lives: Iterable[Life]) -> None:
        gone = list(lives)
        side_by_side(Life.close, gone)
        for life in gone:
            del self.lives[life.subject.name]
            self.arena.leave(life.place)

    def close(self) -> None:
        """End everybody, and the servers."""
        side_by_side(Life.close, list(self.lives.values()))
        self.arena.close()


class Lanes:
    """All lanes of one broker, each in a thread; a fault's verdicts come when they are there."""

    def __init__(self, key: str, subjects: list[Subject], wanted: set[str], folder: Path) -> None:
        nursery()
        for subject in subjects:
            files(subject)  # read in this thread: see there
        self.verdicts: dict[str, Future[Verdicts]] = {name: Future() for name in wanted}
        self._threads = []
        self.lanes: list[Lane] = []
        by_name = {fault.name: fault for fault in FAULTS}
        for names in LANES:
            faults = [by_name[name] for name in names if name in wanted]
            if faults:
                lane = Lane(key, subjects, folder)
                self.lanes.append(lane)
                thread = threading.Thread(target=self._run, args=(lane, faults))
                self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    @property
    def version(self) -> str:
        return next((lane.version for lane in self.lanes if lane.version), "")

    def _run(self, lane: Lane, faults: list[Fault]) -> None:
        # The servers end with the thread that has started them: see bwrap's --die-with-parent.
        try:
            for fault in faults:
                if over.is_set():
                    raise InterruptedError("the run was cut short")
                try:
                    self.verdicts[fault.name].set_result(lane.try_all(fault))
                except Exception as error:
                    error.add_note(traceback.format_exc())
                    self.verdicts[fault.name].set_exception(error)
                    lane.close()
                    lane = Lane(lane.arena.key, lane.subjects, lane.folder)
                    self.lanes.append(lane)
        except Exception as error:  # or somebody would wait for ever
            for fault in faults:
                if not self.verdicts[fault.name].done():
                    self.verdicts[fault.name].set_exception(error)
        finally:
            lane.close()

    def close(self) -> None:
        """Cut short what still runs, and wait for its end."""
        over.set()
        for thread in self._threads:
            thread.join()
        over.clear()


__all__ = ["ENDS", "LOST", "Lane", "Lanes", "Verdicts"]
