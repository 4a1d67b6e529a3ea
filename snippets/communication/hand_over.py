# /// script
# requires-python = ">=3.11"
# dependencies = []
# ///
"""Asynchronous hand-over: the server goes on, workers answer by message."""

import asyncio
from dataclasses import dataclass

SECONDS = {"cat.mp4": 0.3, "dog.mp4": 0.1}  # how long each takes


@dataclass(frozen=True)
class Task:
    id: int  # the answer carries it, or nobody knows what is answered
    video: str
    reply_to: asyncio.Queue["Answer"]


@dataclass(frozen=True)
class Answer:
    task_id: int
    text: str


async def worker(tasks: asyncio.Queue[Task]) -> None:
    while True:
        task = await tasks.get()
        print(f"  worker: transcodes {task.video}")
        await asyncio.sleep(SECONDS[task.video])
        answer = Answer(task.id, f"{task.video} is ready")
        await task.reply_to.put(answer)


async def serve(
    tasks: asyncio.Queue[Task], answers: asyncio.Queue[Answer]
) -> None:
    for number, video in enumerate(SECONDS, start=1):
        await tasks.put(Task(number, video, reply_to=answers))
        print(f"server: accepted task {number}, {video}")
    print("server: goes on with other requests")


async def notify(answers: asyncio.Queue[Answer]) -> None:
    for _ in SECONDS:
        answer = await answers.get()
        print(f"notification for task {answer.task_id}: {answer.text}")


async def main() -> None:
    tasks: asyncio.Queue[Task] = asyncio.Queue()
    answers: asyncio.Queue[Answer] = asyncio.Queue()
    workers = [asyncio.create_task(worker(tasks)) for _ in range(2)]
    await serve(tasks, answers)
    await notify(answers)
    for each in workers:
        each.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
