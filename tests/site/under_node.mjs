// Runs programs on Pyodide as the page's worker does, but for the time, which jumps from timer to timer. A job is a line of standard input,
// {name, files}, and its outcome a line of standard output, as test_under_node.py describes it.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setImmediate as turn } from "node:timers/promises";
import { loadPyodide } from "../../node_modules/pyodide/pyodide.mjs";

const python = await loadPyodide();
python.FS.mkdirTree("handbook/runner");
for (const path of ["handbook/runner/program.py", "handbook/flow.py"]) {
  python.FS.writeFile(path, readFileSync(new URL(`../../${path}`, import.meta.url), "utf-8"));
}
python.runPython(`
import asyncio, heapq, time
from handbook.runner.program import run
from pyodide.webloop import WebLoop

TICK = 1e-6  # seconds: no two timers are set for the same moment
call_soon = WebLoop.call_later

class Job:
    def __init__(self, name, files, turns):
        self.now, self.soon, self.timers = 0.0, set(), []
        self.left = self.turns = turns
        self.told = {"output": "", "error": "", "step": ""}
        WebLoop.call_later, WebLoop.time, time.monotonic = self.call_later, lambda _: self.time(), self.time
        self.task = asyncio.ensure_future(run(name, files.to_py(), self.hear))

    def hear(self, kind, text):
        self.told[kind] += text
        if kind == "output":
            self.left = self.turns

    def time(self):
        self.now += TICK
        return self.now

    def call_later(self, delay, callback, *given, context=None):
        if delay > 0:
            timer = asyncio.TimerHandle(self.time() + delay, callback, given, LOOP, context)
            heapq.heappush(self.timers, timer)
            return timer
        def call(*given):
            self.soon.discard(handle)
            callback(*given)
        handle = call_soon(LOOP, 0, call, *given, context=context)
        self.soon.add(handle)
        return handle

    def how(self):
        """Go on to the next timer where nothing else is to be done."""
        self.left -= 1
        if self.task.done():
            return "ended"
        if any(not each.cancelled() for each in self.soon):
            return "goes on"
        while self.timers:
            timer = heapq.heappop(self.timers)
            if not timer.cancelled():
                self.now = max(self.now, timer.when())
                self.call_later(0, timer._run)
                return "goes on"
        return "waits"

    def end(self):
        self.task.cancel()
        return self.task

LOOP = asyncio.get_event_loop()
`);
const Job = python.globals.get("Job");

for await (const line of createInterface({ input: process.stdin })) {
  const { name, files, turns } = JSON.parse(line), job = Job(name, files, turns);
  let how = job.how();
  while (how === "goes on" && job.left > 0) {
    await turn();
    how = job.how();
  }
  console.log(JSON.stringify({ how, output: job.told.get("output"), error: job.told.get("error") }));
  await job.end();
}
process.exit(0);
