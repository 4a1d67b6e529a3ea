"""One subject's life: it is fed, watched, and started again as a supervisor would do it."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.patterns.stage import Actor, SnippetError, Stage
from tests.survival import subjects as found
from tests.survival.arena import Place
from tests.survival.subjects import BEFORE, SENDERS, Subject, functions

#: Within this time a function goes on, or has ended: the page names it.
SECONDS = 60
#: A message may go into a session that nobody serves: see MQTT.
BATCH = 4
#: A feeder has this long, then another one sends: its connection may be the one that is silent.
FEED_SECONDS = 5
POLL = 0.1
#: A supervisor waits so long before it starts again what has ended.
BETWEEN = 1
GOES_ON, ENDS, LEAVES = "goes on", "ends with an exception", "leaves in order"
#: It runs for as long as the process does, says in its log why it can't go on, and tries again.
TRIES = "logs the cause, and goes on afterwards"
#: What a line of the log has that names this cause, and not another one.
RIGHTS = re.compile(r"\bright\b|permission|authoriz|not allowed|denied|refused", re.IGNORECASE)
GOOD = {GOES_ON, ENDS, LEAVES, TRIES}
SILENT, RETURNS, FOREVER = "silent", "returns as if done", "ends, and a new one gets nothing"
NOTHING, LOST = "its exception says nothing", "loses what it held"
UNREADY, MISSED = "did nothing before the fault", "was not reached by the fault"

#: Set when the run is cut short: nobody waits any longer.
over = threading.Event()


@dataclass(frozen=True)
class Verdict:
    """What a function made of a fault, and what its exception said."""

    kind: str
    text: str = ""
    #: From the fault's begin until it went on, or had ended.
    seconds: float = 0

    @property
    def good(self) -> bool:
        return self.kind in GOOD


class Watch:
    """A question about an actor's events, which reads each of them once."""

    def __init__(self, actor: Actor, label: str = "", since: float = 0, wanted: int = 1) -> None:
        self.actor, self.label, self.since, self.wanted = actor, label, since, wanted
        self._read = 0

    def seen(self) -> bool:
        """Tell whether its handler was called `wanted` times with the label, after `since`."""
        events = self.actor.process.events
        while self._read < len(events):
            event = events[self._read]
            if (
                event.get("actor") == self.actor.name
                and "taken" in event
                and event["at"] > self.since
                and self.label in json.dumps(event)
            ):
                self.wanted -= 1
            self._read += 1
        return self.wanted <= 0


@dataclass(eq=False)
class Life:
    """A subject at its place; `stage` is its own, `beside` belongs to whoever feeds it."""

    subject: Subject
    place: Place
    stage: Stage
    beside: Stage
    actor: Actor | None = None
    helpers: dict[str, Actor] = field(default_factory=dict)
    failure: str = ""
    missed: str = ""
    held: list[str] = field(default_factory=list)
    number: int = 0
    times: int = 0
    seconds: float = 0

    # What a subject needs around it.

    @property
    def its(self) -> dict[str, Any]:
        return functions(self.subject.snippet)

    def prepare(self) -> None:
        """Make its queues, or whatever it has."""
        if self.subject.has("drive_prepare"):
            self.beside.call("drive_prepare")
            return
        for function in BEFORE:
            if function in self.its:
                self.beside.call(function, **self.arguments(function))

    def arguments(self, function: str) -> dict[str, Any]:
        """Return what a function is called with, besides messages and a handler."""
        given = found.arguments(self.subject, function)
        if "file" in given:
            given["file"] = str(self.stage.snippet.with_name(given["file"]))
        if self.subject.key == "kafka":  # where a name that is given is a group's
            for each in {"subscriber", "receiver"} & given.keys():
                given[each] = f"{self.place.own}.{given[each]}"
        return given

    def live(self) -> Actor:
        """Call the subject as a supervisor does."""
        if self.actor and self.actor.process.alive:
            self.actor.kill()
        if self.subject.has("drive_live") or self.subject.kind == "publisher":
            self.actor = self.stage.spawn("drive_live", mode="as told")
        else:
            given = self.arguments(self.subject.function)
            self.actor = self.stage.spawn(self.subject.function, mode="as told", **given)
        self.release()  # what another one held may come again, and must not hold up what follows
        return self.actor

    def release(self) -> None:
        """Let the handler finish what it was told to hold, and do so where that comes again."""
        assert self.actor
        for label in self.held:
            self.actor.release(label)

    def _help(self, function: str) -> Actor:
        """Keep another function of the snippet alive, for as long as the subject is watched."""
        helper = self.helpers.get(function)
        if helper is None or helper.ended:
            given = self.arguments(function) if function in self.its else {}
            helper = self.helpers[function] = self.beside.begin(function, **given)
        return helper

    def around(self) -> None:
        """See to it that whoever the subject works with is alive."""
        kind = self.subject.kind
        if self.subject.has("drive_help"):
            self._help("drive_help")
        elif kind == "requestor":
            self._help("serve")
        elif kind == "relay":
            self._help("receive")
        elif kind == "consumer" and "relay" in self.its and not self.subject.drive:
            self._help("relay")
        elif kind == "publisher" and not self.subject.drive:
            taker = found.consumer_of(self.subject.snippet)
            if taker:  # or its queue would be full
                self._help(taker)

    def feed(self, label: str, batch: int = BATCH) -> Actor | None:
        """Begin to send messages that carry the label; who sends by itself needs none."""
        if self.subject.kind in {"requestor", "publisher"}:
            return None
        self.number += 1
        labels = [f"{label}-{self.number}-{number}.mp4" for number in range(batch)]
        if self.subject.has("drive_feed"):
            return self.beside.begin("drive_feed", messages=labels)
        sender = next(each for each in SENDERS if each in self.its)
        given = found.arguments(self.subject, sender)
        return self.beside.begin(sender, **given, **found.messages(self.subject, sender, labels))

    # What is seen of it.

    def until_taken(
        self, label: str, since: float = 0, seconds: float | None = None, batch: int = BATCH
    ) -> bool:
        """Send until the subject has taken something of this, or has ended.

        Each time has a label of its own: a life goes through several faults.
        """
        assert self.actor
        self.around()
        self.times += 1
        label = f"{label}-{self.times}"
        if self.subject.kind in {"requestor", "publisher"}:
            # What it says first, it may have done before the fault.
            watch = Watch(self.actor, since=since, wanted=2 if since else 1)
        else:
            taker = self.helpers["receive"] if self.subject.kind == "relay" else self.actor
            watch = Watch(taker, f"{label}-", since)
        deadline = time.monotonic() + (SECONDS if seconds is None else seconds)
        feeder, next_feed = None, 0.0
        while time.monotonic() < deadline and not over.is_set():
            if watch.seen():
                return True
            if self.actor.ended:
                return watch.seen()  # it may have said both since then
            self.around()
            if self.subject.kind == "relay" and watch.actor is not self.helpers["receive"]:
                watch = Watch(self.helpers["receive"], f"{label}-", since)
            if feeder is not None and feeder.ended and not feeder.returned:
                feeder, next_feed = None, min(next_feed, time.monotonic() + 1)
            if time.monotonic() > next_feed:
                feeder = self.feed(label, batch)
                next_feed = time.monotonic() + FEED_SECONDS
            time.sleep(POLL)
        return False

    def begin(self) -> bool:
        """Let the subject handle a first message, as patiently as a supervisor.

        All begin at once, on a busy machine: what ended is begun again.
        """
        deadline = time.monotonic() + 2 * SECONDS
        while time.monotonic() < deadline and not over.is_set():
            try:
                self.prepare()
                self.live()
                if self.until_taken("before"):
                    return True
                self.failure = self.cause
            except (SnippetError, TimeoutError) as error:
                self.failure = str(error)
            over.wait(BETWEEN)
        return False

    @property
    def well(self) -> bool:
        """Tell whether it lives, as far as one can see without asking it."""
        return self.actor is not None and not self.actor.ended

    def log(self) -> str:
        """Return what its process has written to its standard error."""
        assert self.actor
        return self.actor.process.log()

    def after(self, seen: Verdict | None, log: str) -> Verdict | None:
        """Return the verdict on who was silent, once the fault is over; `log` is from before."""
        if seen is None or seen.kind != SILENT:
            return seen
        lines = self.log().removeprefix(log).splitlines()
        causes = [line.strip() for line in lines if RIGHTS.search(line)]
        if causes and self.until_taken("again", time.time()):
            return Verdict(TRIES, causes[-1])
        return seen

    def told(self, what: str) -> None:
        """Send one message that tells the handler what to do; raise if it did not come."""
        if not self.until_taken(what, batch=1):
            raise TimeoutError(f"no handler was called with {what}. {self.cause}".strip())
        if what == "must-hold":
            self.held.append(f"{what}-{self.times}-")

    def watch(self, since: float) -> Verdict | None:
        """Return what the subject does after the fault; None if it ended with a cause."""
        assert self.actor
        if self.missed:
            return Verdict(MISSED, self.missed)
        if self.until_taken("after", since):
            return Verdict(GOES_ON)
        if not self.actor.ended:
            return Verdict(SILENT, self.actor.process.errors()[-300:])
        if self.actor.returned:
            return Verdict(RETURNS)
        if not self.cause.partition(": ")[2].strip():
            return Verdict(NOTHING, self.cause)
        return None

    @property
    def ended_at(self) -> float:
        """Return when it ended, which may be before anybody looked; now, where it did not say."""
        assert self.actor
        said = (
            float(event["at"])
            for event in self.actor.process.events
            if event.get("actor") == self.actor.name and "error" in event
        )
        return next(said, time.time())

    @property
    def cause(self) -> str:
        assert self.actor
        return self.actor.error or self.actor.process.errors()[-300:]

    def follow(self, label: str = "later", *, poisoned: bool = False) -> Verdict:
        """Start it again, and again if it must be, as a supervisor does."""
        assert self.actor
        cause, then = self.cause, ""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and not over.is_set():
            try:
                self.prepare()
            except (SnippetError, TimeoutError) as error:
                then = str(error)
                over.wait(BETWEEN)
                continue
            following = self.live()
            if self.until_taken(label, time.time()):
                return Verdict(ENDS, cause)
            then = following.error or "silent"
            if poisoned and following.error == cause:
                return Verdict(ENDS, cause)  # until the message is set aside: a pattern of its own
            if not following.ended:
                break
            over.wait(BETWEEN)
        if not self.place.front.server.running:  # no fault of ours
            then = f"{then} Its server has ended by itself:\n{self.place.front.server.tail()}"
        return Verdict(FOREVER, f"{cause} Then: {then}")

    # SIGTERM, which is another thing than a fault.

    def leave(self) -> Verdict:
        """Have it end by SIGTERM while its handler works, and look for what it held."""
        actor = self.actor
        assert actor
        holds = self.subject.obeys
        if holds:
            try:
                self.told("must-hold")
            except TimeoutError as error:
                return Verdict(MISSED, str(error))
        actor.process.terminate()
        asked = time.monotonic()
        # Who handles SIGTERM itself ends its function, and the process of the harness stays.
        while actor.process.alive and not (actor.returned or actor.error) and not over.is_set():
            if time.monotonic() > asked + 3:
                self.release()  # it wants to finish first
            if time.monotonic() > asked + SECONDS:
                return Verdict(SILENT, f"it has not ended {SECONDS} s after SIGTERM")
            time.sleep(POLL)
        self.seconds = time.monotonic() - asked
        actor.kill()  # what it said last may not have been read yet
        finished = any(
            "done" in event and "must-hold" in json.dumps(event)
            for event in actor.process.events
            if event.get("actor") == actor.name
        )
        if actor.error:
            return Verdict(ENDS, actor.error)
        following = self.live()
        if holds and not finished and self.subject.kind != "replier":  # its requestor sends again
            again = Watch(following, "must-hold")
            deadline = time.monotonic() + SECONDS
            while not again.seen():
                if following.ended or time.monotonic() > deadline or over.is_set():
                    return Verdict(LOST, following.error)
                time.sleep(POLL)
        if self.until_taken("later", time.time()):
            return Verdict(LEAVES, "it finishes first" if finished else "")
        return Verdict(FOREVER, following.error or "silent")

    def close(self) -> None:
        """End everybody here."""
        for stage in (self.stage, self.beside):
            with suppress(psutil.NoSuchProcess), stage:
                pass
