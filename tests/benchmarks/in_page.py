"""What Run costs in a browser: `python -m tests.benchmarks.in_page site`, after `make site`.

Bytes, and seconds from the click to the first output: in a browser that has nothing yet, again, and
after a stop. Beside them the same program in Pyodide as npm has it, in the same run. It records
nothing: a ratio says more than seconds of one machine.
"""

from __future__ import annotations

import statistics
import sys
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import brotli
from playwright.sync_api import Browser, sync_playwright

from tests.site import chromium
from tests.site.conftest import ROOT, Quiet
from tests.snippets.running import SNIPPETS

ROUNDS = 3
PAGE, IDEA = "patterns/work-queue/?broker=minibroker", "patterns/work_queue/idea.py"
#: Presses Run, or Stop, and resolves to the seconds until the page says a text.
PRESS = """async ([path, selector, text]) => {
  const bar = document.querySelector(`[aria-label="Run ${path}"]`), begun = performance.now();
  document.querySelectorAll(selector).forEach(each => each.replaceChildren());
  bar.querySelector(".run-run").click();
  const there = () => [...document.querySelectorAll(selector)].some(
    each => each.textContent.includes(text));
  while (!there()) await new Promise(again => setTimeout(again, 1));
  return (performance.now() - begun) / 1000;
}"""
#: The same in Pyodide as it comes: resolves to the seconds to the first output, and to those again.
STOCK = """async ([minibroker, idea]) => {
  let begun = performance.now(), first;
  const {loadPyodide} = await import("/stock/pyodide.mjs");
  const python = await loadPyodide({stdout() { first ??= performance.now(); }});
  python.FS.writeFile("minibroker.py", minibroker);
  const seconds = [];
  for (let round = 0; round < 2; round++) {
    await python.runPythonAsync(idea);
    seconds.push((first - begun) / 1000);
    begun = performance.now();
    first = undefined;
  }
  return seconds;
}"""
FIRST = "worker A dies"  # the first words that the program prints


class Handler(Quiet):
    """Serve the site, and Pyodide as npm has it below /stock/."""

    def translate_path(self, path: str) -> str:
        """Say where a file is."""
        if path.startswith("/stock/"):
            return str(ROOT / "node_modules/pyodide" / path.removeprefix("/stock/").split("?")[0])
        return super().translate_path(path)


def ours(browser: Browser, address: str) -> list[float]:
    """Return the seconds of the first run, of the second, of a stop and of the run after it."""
    page = browser.new_context().new_page()
    page.goto(f"{address}{PAGE}", wait_until="load")
    printed = f'[aria-label="Output of your run of {IDEA}"]'
    status = f'[aria-label="Run {IDEA}"] [role=status]'
    page.wait_for_selector(f'[aria-label="Run {IDEA}"] .run-run')
    found = []
    for _ in range(2):
        found.append(page.evaluate(PRESS, [IDEA, printed, FIRST]))
        page.wait_for_function(
            "s => document.querySelector(s).textContent.includes('Ended')", arg=status
        )
    bar = page.get_by_role("group", name=f"Run {IDEA}", exact=True)
    bar.get_by_role("button", name="Edit").click()
    editor = page.get_by_role("textbox", name=f"Code of {IDEA}.")
    usual = editor.input_value()
    editor.fill("while True:\n    pass\n")
    page.evaluate(PRESS, [IDEA, status, "Running"])
    found.append(page.evaluate(PRESS, [IDEA, status, "Stopped"]))
    editor.fill(usual)
    found.append(page.evaluate(PRESS, [IDEA, printed, FIRST]))
    page.context.close()
    return found


def stock(browser: Browser, address: str) -> list[float]:
    """Return the seconds of the first and of the second run in Pyodide as it comes."""
    page = browser.new_context().new_page()
    page.goto(f"{address}stock/package.json")
    idea = (SNIPPETS / IDEA).read_text().replace("asyncio.run(main())", "await main()")
    seconds: list[float] = page.evaluate(STOCK, [(SNIPPETS / "minibroker.py").read_text(), idea])
    page.context.close()
    return seconds


def packed(files: list[Path]) -> float:
    """Return how many kB a server sends of these files."""
    return (
        sum(
            len(content if file.suffix == ".zip" else brotli.compress(content))
            for file, content in ((file, file.read_bytes()) for file in files)
        )
        / 1000
    )


def main(site: Path) -> None:
    """Measure, and print it."""
    python = [each for each in site.glob("assets/python/*/*") if each.suffix != ".txt"]
    before = site / "assets/javascript/run.js"
    print(f"before the click {packed([before]):.1f} kB, Python {packed(python) / 1000:.2f} MB")
    with (
        TemporaryDirectory() as folder,
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site))) as server,
        sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        program = chromium.executable(Path(folder))
        browser = playwright.chromium.launch(executable_path=program, args=list(chromium.FLAGS))
        rounds = [(ours(browser, address), stock(browser, address)) for _ in range(ROUNDS)]
        browser.close()
        server.shutdown()
    cold, again, stop, after = map(statistics.median, zip(*(own for own, _ in rounds), strict=True))
    stock_cold, stock_again = map(statistics.median, zip(*(its for _, its in rounds), strict=True))
    for name, value, other in (("first run", cold, stock_cold), ("second run", again, stock_cold)):
        print(f"{name:12}{value:7.3f} s, {value / other:.3f} of Pyodide's first run")
    print(f"{'stop':12}{stop:7.3f} s\nafter it    {after:7.3f} s")
    print(f"Pyodide as it comes: {stock_cold:.3f} s, again {stock_again:.3f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
