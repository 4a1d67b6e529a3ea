"""What is asked of one server. Each key names the file beside this one that asks it."""

from __future__ import annotations

from dataclasses import dataclass

CONFIRM = "What a confirm means"
ORDER = "Order"
TWICE = "Twice"
CONSUMERS = "Consumers"
LIMITS = "Limits"
STORAGE = "Storage and retention"
OPERATIONS = "Operations"


@dataclass(frozen=True)
class Question:
    """`asks` is the question, and `what` says what is done, both for the page."""

    key: str
    group: str
    asks: str
    what: str

    @property
    def module(self) -> str:
        return self.key.replace("-", "_")


QUESTIONS = {
    one.key: one
    for one in (
        Question(
            "server-killed",
            CONFIRM,
            "The server is killed right after a confirm: is the message there?",
            "Messages are published and confirmed; then the server is ended by kill -9, and started again on its data.",
        ),
        Question(
            "nobody-listens",
            CONFIRM,
            "Nobody listens, or the name is misspelt: is that confirmed?",
            "A message is published under a name for which there is no queue, stream, topic or subscriber.",
        ),
        Question(
            "server-frozen",
            CONFIRM,
            "The server stands still while a producer publishes: what does the producer learn?",
            "The server is stopped by SIGSTOP, a message is published with a time limit, and the server goes on afterwards.",
        ),
        Question(
            "disk-full",
            CONFIRM,
            "The disk is full: is a message confirmed, refused, or neither?",
            "The server's data is on a small disk. Messages are published until one does not get through; then the server is started again with more room. A call that ends with its connection, or at its own time limit, does not tell the producer whether its message is there.",
        ),
        Question(
            "memory-full",
            CONFIRM,
            "The server's memory is used up: is a message confirmed, refused, or neither?",
            "The server may use little memory. Messages are published until one does not get through, or until there are many more than that memory has room for. A call that ends with its connection, or at its own time limit, does not tell the producer whether its message is there.",
        ),
        Question(
            "two-workers",
            ORDER,
            "Two workers share a queue: in which order is the work done?",
            "Ten messages are published in order. One of two workers is slower than the other.",
        ),
        Question(
            "came-again",
            ORDER,
            "A message fails and comes again: before or after those that came later?",
            "Of five messages, a worker gives back the first, and works on.",
        ),
        Question(
            "sent-again",
            ORDER,
            "A producer sends one message again, as its confirm got lost: where does it stand?",
            "The first of three messages is not confirmed in time; the producer has sent the others already, and sends it again.",
        ),
        Question(
            "one-key",
            ORDER,
            "Messages of one key have to be worked on in order, by several workers",
            "Twenty messages of two keys are published. Two workers take part.",
        ),
        Question(
            "confirm-lost",
            TWICE,
            "The confirm gets lost and the producer sends again: is the message there twice?",
            "The same message reaches the server a second time: the application publishes it again, with the same id, or the client does by itself, as its confirm was thrown away.",
        ),
        Question(
            "window-over",
            TWICE,
            "The same message comes again when the broker's memory of it is over",
            "The same message, with the same id, is published again after the time or number for which the broker remembers ids.",
        ),
        Question(
            "restarted-memory",
            TWICE,
            "The server restarts between a message and its copy: does it still know the id?",
            "A message is published, the server is killed and started again, and the same message is published again.",
        ),
        Question(
            "acknowledgement-lost",
            TWICE,
            "The work is done and the acknowledgement gets lost: who learns of it?",
            "A worker finishes and acknowledges, and its connection ends before the server has the acknowledgement.",
        ),
        Question(
            "worker-killed",
            CONSUMERS,
            "A worker dies with messages in hand: when do they come again?",
            "A worker takes messages and is gone without a word: its process is killed, or its connection cut.",
        ),
        Question(
            "worker-hangs",
            CONSUMERS,
            "A worker hangs, with its connection open: when does another get its message?",
            "A worker takes a message and does nothing. Its client goes on answering the server.",
        ),
        Question(
            "always-fails",
            CONSUMERS,
            "A message that always fails: does it end?",
            "A worker gives the same message back each time that it comes, thirty times if need be.",
        ),
        Question(
            "how-often",
            CONSUMERS,
            "How often has this message come? Does the broker tell?",
            "A message is given back twice. What does its third delivery say?",
        ),
        Question(
            "late-consumer",
            CONSUMERS,
            "A consumer that comes late: does it get what was published before?",
            "Three messages are published before the consumer is there for the first time.",
        ),
        Question(
            "second-worker",
            CONSUMERS,
            "A second worker joins: what becomes of the messages that wait?",
            "A worker is at work on ten messages, and a second one joins.",
        ),
        Question(
            "longer-lease",
            CONSUMERS,
            "Work takes longer than the lease: can a worker ask for more time?",
            "A worker needs longer than the broker waits, and asks for more time meanwhile.",
        ),
        Question(
            "too-long",
            LIMITS,
            "The queue reaches its greatest length: what goes, the oldest or the newest?",
            "A queue may have ten messages, and fifteen are published.",
        ),
        Question(
            "too-large",
            LIMITS,
            "A message is larger than allowed: who learns of it?",
            "A message is published that is larger than the server takes by default.",
        ),
        Question(
            "too-old",
            LIMITS,
            "A message is older than its time to live: where does it go?",
            "A message may wait for a second. It is looked for after more than that.",
        ),
        Question(
            "too-many-connections",
            LIMITS,
            "There are more connections than allowed: what does the next one see?",
            "The server allows few connections, and one more is opened.",
        ),
        Question(
            "too-many-in-flight",
            LIMITS,
            "A worker takes and takes, and acknowledges nothing: what stops it?",
            "Messages wait in abundance. A worker takes what it gets, and acknowledges none.",
        ),
        Question(
            "no-dead-letters",
            LIMITS,
            "A message is given up, and the place for dead letters is missing",
            "A worker gives a message up for good. Nobody has made a place for dead letters, or its name is wrong.",
        ),
        Question(
            "after-acknowledging",
            STORAGE,
            "A message was acknowledged: is it still stored?",
            "A message is acknowledged by the only group that reads, and then looked for.",
        ),
        Question(
            "read-again",
            STORAGE,
            "Yesterday's messages have to be read once more",
            "Messages were read and acknowledged. A consumer wants them from the beginning.",
        ),
        Question(
            "retention-unread",
            STORAGE,
            "Retention ends while a consumer is behind: are unread messages deleted?",
            "The broker may keep little, by time or number, and a consumer is away.",
        ),
        Question(
            "space-comes-back",
            STORAGE,
            "A large backlog was worked off: does its space on the disk come back?",
            "Megabytes are published and worked off. The server's folder is measured before and after.",
        ),
        Question(
            "latest-per-key",
            STORAGE,
            "Only the latest message of each key is of interest",
            "Ten messages of two keys are published, and only the last of each is wanted.",
        ),
        Question(
            "polite-restart",
            OPERATIONS,
            "The server is restarted gracefully: what do its clients see, and what is there afterwards?",
            "The server is asked to end by SIGTERM while a consumer is connected, and started again.",
        ),
        Question(
            "deleted-in-use",
            OPERATIONS,
            "An operator deletes a queue that is in use: what do producer and consumer see?",
            "A queue, stream or topic is deleted while a producer publishes and a consumer waits.",
        ),
        Question(
            "declared-otherwise",
            OPERATIONS,
            "A new version of a service declares its queue with another setting",
            "The queue is there already, and is declared with another limit.",
        ),
        Question(
            "backup",
            OPERATIONS,
            "A backup is taken while the server runs, and restored: what is there?",
            "A backup is taken by the broker's own means while messages wait, more are published, and the backup is restored on an empty server.",
        ),
        Question(
            "second-site",
            OPERATIONS,
            "A second site gets a copy of all messages: how, and what does it not have?",
            "A second server takes a copy of what is published on the first, by the broker's own means.",
        ),
    )
}
