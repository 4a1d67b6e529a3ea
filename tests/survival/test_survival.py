"""Each long-lived function goes on, or ends with an exception that says why: it is never silent."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from handbook.brokers import BROKERS
from tests.patterns.stage import Actor, SnippetError
from tests.survival import subjects as found
from tests.survival.arena import Arena, Life, lives, side_by_side
from tests.survival.faults import FAULTS, Fault, struck
from tests.survival.subjects import BEFORE, SENDERS, Subject, functions

#: Within this time a function goes on, or has ended: the page names it.
SECONDS = 60
#: A message that came in a batch may be in a session that nobody serves: see MQTT.
BATCH = 4
GOES_ON, ENDS = "goes on", "ends with an exception"
SILENT, RETURNS, LOST = "silent", "returns as if done", "a new one gets nothing"
NOTHING, UNREADY = "its exception says nothing", "did nothing before the fault"
KEYS = [broker.key for broker in BROKERS if broker.variable]
#: Each run of the tests tries these: a minute of waiting a broker. `make survival` tries them all.
QUICK = {"cut", "silence"}
EACH_RUN = {"kafka", "mqtt"}
TRIALS = [
    pytest.param(key, fault, marks=pytest.mark.broker(key), id=f"{key}-{fault.name}")
    for key in KEYS
    for fault in FAULTS
    if os.environ.get("SURVIVAL") == "all" or (key in EACH_RUN and fault.name in QUICK)
]


@dataclass(frozen=True)
class Verdict:
    kind: str
    text: str = ""

    @property
    def good(self) -> bool:
        return self.kind in {GOES_ON, ENDS}


class Trial:
    """One subject's life through one fault."""

    def __init__(self, life: Life, fault: Fault) -> None:
        self.life, self.fault = life, fault
        self.subject = life.subject
        self.stage = life.stage
        self.actor: Actor | None = None
        self.helpers: dict[str, Actor] = {}
        self.failure = ""

    # What a subject needs around it.

    def prepare(self) -> None:
        """Make its queues, or whatever it has."""
        for function in BEFORE:
            if function in functions(self.subject.snippet):
                self.stage.call(function, **self.arguments(function))

    def arguments(self, function: str) -> dict[str, Any]:
        """Return what a function is called with, besides messages and a handler."""
        given = found.arguments(self.subject, function)
        if "file" in given:
            given["file"] = str(self.stage.snippet.with_name(given["file"]))
        return given

    def live(self) -> Actor:
        """Call the subject as a supervisor does."""
        function, given = self.life.function, {}
        if function == self.subject.function:
            given = self.arguments(function)
        handler = self.fault.handler or {}
        if self.actor and "times" in handler:
            handler = {}  # it has raised
        return self.stage.spawn(function, **handler, **given)  # type: ignore[arg-type]

    def help(self, function: str, **given: Any) -> Actor:
        """Keep another function of the snippet alive, for as long as the subject is watched."""
        helper = self.helpers.get(function)
        if helper is None or helper.ended:
            helper = self.helpers[function] = self.stage.spawn(function, **given)
        return helper

    def feed(self, label: str) -> Actor | None:
        """Begin to send a batch whose messages carry the label; a requestor asks by itself."""
        kind, its = self.subject.kind, functions(self.subject.snippet)
        if kind == "publisher":
            return None
        if kind == "requestor":
            self.help("answer", **self.arguments("answer"))
            return None
        if kind == "replier":
            return self.stage.spawn("one_question", messages=[label])
        sender = next(each for each in SENDERS if each in its)
        labels = [f"{label}-{number}.mp4" for number in range(BATCH)]
        given: dict[str, Any] = found.arguments(self.subject, sender)
        given |= found.messages(self.subject, sender, labels)
        return self.stage.spawn(sender, **given)

    def around(self) -> None:
        """See to it that whoever the subject works with is alive."""
        its = functions(self.subject.snippet)
        if self.subject.kind == "requestor":
            self.help("answer", **self.arguments("answer"))
        taker = found.consumer_of(self.subject.snippet)
        if self.subject.kind == "publisher" and taker:  # or its queue would be full
            self.help(taker, **self.arguments(taker))
        if "relay" in its and self.subject.kind == "consumer":
            self.help("relay")
        if self.subject.kind == "relay":
            self.help("receive", **self.arguments("receive"))

    def handled(self, actor: Actor, label: str, since: float) -> bool:
        """Tell whether the subject has handled what was sent after the fault."""
        watched = self.helpers.get("receive", actor) if self.subject.kind == "relay" else actor
        if self.subject.kind in {"requestor", "publisher"}:
            return any(at > since for at in watched.times)
        return any(
            label in json.dumps(event)
            for event in list(watched.process.events)
            if event.get("actor") == watched.name and "taken" in event
        )

    # The trial.

    def until_handled(self, actor: Actor, label: str, since: float, seconds: float) -> bool:
        """Send until the subject has handled something or has ended."""
        deadline, feeder = time.monotonic() + seconds, None
        confirmed, again = False, 0.0
        while time.monotonic() < deadline:
            self.around()
            if self.handled(actor, label, since):
                return True
            if actor.ended:
                return False
            if feeder is not None and feeder.ended:
                confirmed, feeder = feeder.returned, None
                again = time.monotonic() + (5 if confirmed else 1)
            if feeder is None and time.monotonic() > again:
                feeder = self.feed(label)
                again = time.monotonic() + 2
            time.sleep(0.05)
        return False

    def begin(self) -> bool:
        """Let the subject handle a first message."""
        try:
            self.prepare()
            self.actor = self.live()
            return self.until_handled(self.actor, "before", 0, SECONDS)
        except SnippetError as error:
            self.failure = str(error)
            return False

    def poison(self) -> None:
        """Send what the handler raises on, and wait until it has."""
        assert self.actor
        if self.fault.handler and self.subject.kind in {"consumer", "replier"}:
            self.until_handled(self.actor, "poison", 0, SECONDS)

    def verdict(self, since: float) -> Verdict:
        """Watch what the subject does after the fault, and whether a new one is served."""
        assert self.actor
        if self.fault.name == "made_again":
            with suppress(SnippetError):  # where it subscribed, somebody is subscribed still
                self.prepare()
        if self.until_handled(self.actor, "after", since, SECONDS):
            return Verdict(GOES_ON)
        if self.actor.returned:
            return Verdict(RETURNS)
        if not self.actor.ended:
            return Verdict(SILENT, self.actor.process.errors()[-200:])
        text = self.actor.error or self.actor.process.errors()[-200:]
        if not text.partition(": ")[2].strip():
            return Verdict(NOTHING, text)
        # A supervisor starts it again, and again if it must.
        again, then = time.monotonic() + SECONDS, ""
        while time.monotonic() < again:
            try:
                self.prepare()
            except SnippetError as error:
                then = str(error)
                continue
            following = self.live()
            if self.until_handled(following, "later", time.time(), SECONDS):
                return Verdict(ENDS, text)
            then = following.error or "silent"
            if self.fault.name == "raises_always" and following.error == self.actor.error:
                return Verdict(ENDS, text)  # a poison message: see the dead letter channel
            if not following.ended:
                break
        return Verdict(LOST, f"{text} Then: {then}")


@pytest.fixture(scope="session")
def arenas() -> Iterator[dict[str, Arena]]:
    made: dict[str, Arena] = {}
    try:
        yield made
    finally:
        for arena in made.values():
            arena.close()


def trials(
    key: str, fault: Fault, arenas: dict[str, Arena], folder: Path, closing: ExitStack
) -> list[Trial]:
    arena = arenas.setdefault(key, Arena(key))
    arena.reset()
    chosen: list[Subject] = found.subjects(key)
    if fault.handler:
        chosen = [one for one in chosen if one.kind in {"consumer", "replier"}]
    return [Trial(life, fault) for life in lives(arena, chosen, folder, closing)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("key", "fault"), TRIALS)
def test_no_long_lived_function_is_silent(
    key: str, fault: Fault, arenas: dict[str, Arena], tmp_path: Path
) -> None:
    verdicts: dict[str, Verdict] = {}
    with ExitStack() as closing:
        all_of_them = trials(key, fault, arenas, tmp_path, closing)
        ready = side_by_side(Trial.begin, all_of_them)
        for trial in [
            one for one, is_ready in zip(all_of_them, ready, strict=True) if not is_ready
        ]:
            said = trial.actor.error if trial.actor else trial.failure
            verdicts[trial.subject.name] = Verdict(UNREADY, said)
        living = [one for one, is_ready in zip(all_of_them, ready, strict=True) if is_ready]
        side_by_side(Trial.poison, living)
        with struck(fault, [trial.life for trial in living]):
            since = time.time()
        judged = side_by_side(lambda trial: trial.verdict(since), living)
        verdicts |= {one.subject.name: it for one, it in zip(living, judged, strict=True)}
    for name, verdict in verdicts.items():
        print(f"{name:55} {verdict.kind} {verdict.text}")
    bad = {name: verdict for name, verdict in verdicts.items() if not verdict.good}
    assert not bad, "\n".join(f"{name}: {it.kind}: {it.text}" for name, it in bad.items())
