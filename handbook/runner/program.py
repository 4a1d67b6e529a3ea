"""Runs a reader's program, inside the Python of the browser.

The build copies this file beside Pyodide, and its worker calls `run`. It needs nothing of the
browser, so that it is tested like any other module. `from asyncio import run` is not recognised.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import io
import linecache
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from inspect import CO_COROUTINE
from types import CodeType, ModuleType

from handbook.flow import Flow, observed

Send = Callable[[str, str], object]


async def run(name: str, files: Mapping[str, str], send: Send) -> None:
    """Run the file called `name`; the others are modules that lie beside it.

    `send` gets each piece of text, and what it is: "output", "error" or a "step" of the minibroker.
    """
    for file, text in files.items():
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    module = ModuleType("__main__")
    module.__file__ = name
    usual, sys.modules["__main__"] = sys.modules["__main__"], module
    beside = Beside(files, Flow(name, send))
    sys.meta_path.insert(0, beside)
    others = asyncio.all_tasks()
    try:
        with redirect_stdout(Pipe(send, "output")), redirect_stderr(Pipe(send, "error")):
            try:
                code = compiled(files[name], name)
                result = eval(code, vars(module))
                if code.co_flags & CO_COROUTINE:
                    await result
            except SystemExit as end:
                if end.code not in (None, 0):
                    print(f"SystemExit: {end.code}", file=sys.stderr)
            except BaseException as error:  # whatever it is, its reader wants to see it
                sys.stdout.flush()
                sys.stderr.write(trimmed(error, files))
            finally:
                await cancel(asyncio.all_tasks() - others)
                sys.stdout.flush()
                sys.stderr.flush()
    finally:
        sys.meta_path.remove(beside)
        for file in files:
            sys.modules.pop(file.removesuffix(".py"), None)
        sys.modules["__main__"] = usual


def compiled(source: str, name: str) -> CodeType:
    """Return the program's code. In a browser the loop is always running, so that it may await."""
    tree = ast.fix_missing_locations(AwaitInsteadOfRun().visit(ast.parse(source, name)))
    code: CodeType = compile(
        tree, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    return code


class AwaitInsteadOfRun(ast.NodeTransformer):
    """Turns `asyncio.run(main())` into `await main()`, where no function is around it."""

    def visit_FunctionDef(self, node: ast.AST) -> ast.AST:
        """Leave what is defined as it is: only a module may await without `async`."""
        return node

    visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = visit_FunctionDef  # noqa: N815

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Replace the call."""
        self.generic_visit(node)
        if ast.unparse(node.func) == "asyncio.run" and node.args:
            return ast.copy_location(ast.Await(node.args[0]), node)
        return node


async def cancel(tasks: set[asyncio.Task[object]]) -> None:
    """End what the program left behind, as `asyncio.run` does."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def trimmed(error: BaseException, files: Mapping[str, str]) -> str:
    """Return the traceback with the lines of the program's own files only."""
    whole = traceback.TracebackException.from_exception(error)
    unread: list[traceback.TracebackException | None] = [whole]
    while unread:
        part = unread.pop()
        if part is None:
            continue
        own = [frame for frame in part.stack if frame.filename in files]
        part.stack = traceback.StackSummary.from_list(own)
        inner: Sequence[traceback.TracebackException] = getattr(part, "exceptions", None) or ()
        unread += [part.__cause__, part.__context__, *inner]
    return "".join(whole.format())


class Pipe(io.TextIOBase):
    """A standard stream that leads to the page."""

    def __init__(self, send: Send, kind: str) -> None:
        self.send, self.kind, self.held = send, kind, ""

    def write(self, text: str) -> int:
        """Hand over whole lines: `print` writes the end of a line by itself."""
        self.held += text
        if text.endswith("\n"):
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Hand over what there is."""
        if self.held:
            held, self.held = self.held, ""
            self.send(self.kind, held)


class Beside(MetaPathFinder, InspectLoader):
    """Imports the modules that lie beside the program, under names without a folder."""

    def __init__(self, files: Mapping[str, str], flow: Flow) -> None:
        self.files, self.flow = files, flow

    def exec_module(self, module: ModuleType) -> None:
        """Run it; the minibroker is watched from then on."""
        super().exec_module(module)
        if module.__name__ == "minibroker":
            vars(module)["Broker"] = observed(module.Broker, self.flow)

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Find what is there, and nothing else."""
        there = f"{fullname}.py" in self.files
        return importlib.util.spec_from_loader(fullname, self) if there else None

    def get_source(self, fullname: str) -> str:
        """Return the text of a module."""
        return self.files[f"{fullname}.py"]

    def get_code(self, fullname: str) -> CodeType:
        """Return its code, so that a traceback names its file."""
        code: CodeType = compile(
            self.get_source(fullname), f"{fullname}.py", "exec", dont_inherit=True
        )
        return code
