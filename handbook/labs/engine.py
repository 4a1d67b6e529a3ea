"""Joins mkdocs-jupyter to the site: it reads, runs and caches; the page is Markdown like any other.

The plugin makes HTML of its own, with 575 KB of styles and without the site's glossary, links and
highlighting. Here its converter returns the notebook as it ran, which the plugin then caches.
"""

from __future__ import annotations

import hashlib
import logging
import os
import posixpath
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urljoin

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbformat import NotebookNode

from handbook.labs.depends import digest
from handbook.labs.notebook import Lab, LabError, Markdown
from handbook.page import PageError

PLUGIN = "mkdocs-jupyter"
CACHE = Path(".cache") / "labs"
#: How long a cell may take, in seconds.
LIMIT = 120
log = logging.getLogger("mkdocs.handbook.labs")


def prepare(config: MkDocsConfig) -> None:
    """Have the plugin use our converter."""
    if PLUGIN not in config.plugins:
        return
    from mkdocs_jupyter import convert

    convert.nb2html = run
    # It tells of each hit and miss; `run` says what a reader of the log waits for.
    logging.getLogger("mkdocs.plugins.mkdocs_jupyter").setLevel(logging.WARNING)


def choose_cache(page: Page, config: MkDocsConfig) -> None:
    """Point the plugin, before it looks at a page, to a cache that knows what the lab imports."""
    if is_lab(page.file):
        folder = _folder(_read(Path(str(page.file.abs_src_path))))
        config.plugins[PLUGIN].config["cache_dir"] = str(folder)
        for old in folder.parent.glob("*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)


def is_lab(file: File) -> bool:
    """Tell whether a file of docs/ is a notebook. Only those are pages made of Python."""
    return file.src_uri.endswith(".py") and bool(file.is_documentation_page())


def publish(files: Files, config: MkDocsConfig) -> None:
    """Give each lab an address like other pages', and a place for the notebook to download."""
    for file in [each for each in files if is_lab(each)]:
        address = file.url.replace("_", "-")
        file.url = address
        file.dest_uri = address + "index.html"
        file.abs_dest_path = str(Path(config.site_dir, address, "index.html"))
        files.append(File.generated(config, _download(file), content=""))
    run_those_that_changed([Path(str(file.abs_src_path)) for file in files if is_lab(file)], config)


def page_text(page: Page, config: MkDocsConfig, files: Files) -> Markdown:
    """Return the text of a lab's page, and fill the file that its readers download."""
    root = Path(config.docs_dir).parent
    lab = Lab(Path(str(page.file.abs_src_path)), _ran(page, config, files))

    def absolute(link: str) -> str:
        path, hash_, anchor = link.partition("#")
        target = files.get_file_from_path(posixpath.normpath(posixpath.join(folder, path)))
        return urljoin(str(config.site_url), target.url if target else path) + hash_ + anchor

    folder = posixpath.dirname(page.file.src_uri)
    try:
        page.meta = lab.meta
        text = lab.markdown(root)
        download = files.get_file_from_path(_download(page.file))
        if download:
            download.content_string = lab.download(absolute)
    except LabError as error:
        raise PageError(f"docs/{page.file.src_uri}:{error.line}: {error}") from None
    return text


def _download(file: File) -> str:
    return file.src_uri.removesuffix(".py") + ".ipynb"


def _ran(page: Page, config: MkDocsConfig, files: Files) -> NotebookNode:
    """Return the notebook with its outputs, from the plugin: it is run, or comes from its cache."""
    with _alone():
        page.render(config, files)
    # The plugin replaced this page's method; MkDocs' own renders the Markdown that follows.
    del page.__dict__["render"]
    ran: NotebookNode = nbformat.reads(str(page.content), as_version=4)
    return ran


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time read, run and write: the next one finds what this one made."""
    folder = Path.cwd() / CACHE
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(nb_path: str, **options: Any) -> str:
    """Return a notebook with its outputs, in place of the plugin's conversion to HTML.

    The plugin asks for it when the file has changed. If only its prose has, nothing runs.
    """
    lab = _read(Path(nb_path))
    if not _kept(lab).is_file():
        _run([lab], options)
    ran = nbformat.read(_kept(lab), as_version=4)
    code = (cell for cell in ran.cells if cell.cell_type == "code")
    for _, cell in lab.cells:
        if cell.cell_type == "code":
            before = next(code)
            cell.outputs, cell.execution_count = before.outputs, before.execution_count
    return str(nbformat.writes(lab.notebook))


def run_those_that_changed(files: list[Path], config: MkDocsConfig) -> None:
    """Run labs side by side, before the plugin asks for one after the other."""
    if files:
        with _alone():
            labs = [lab for lab in map(_read, files) if not _kept(lab).is_file()]
            _run(labs, config.plugins[PLUGIN].config)


def _read(file: Path) -> Lab:
    import jupytext

    lab = Lab(file, jupytext.read(file))
    try:
        lab.check_form()
    except LabError as error:
        raise PageError(f"{_name(lab)}:{error.line}: {error}") from None
    return lab


def _name(lab: Lab) -> str:
    """Return what the log calls a lab: its path in the repository."""
    here = Path.cwd()
    return str(lab.file.relative_to(here) if lab.file.is_relative_to(here) else lab.file)


def _folder(lab: Lab) -> Path:
    """Return where to keep what a lab gives, as long as nothing that it uses changes."""
    return Path.cwd() / CACHE / lab.file.stem / digest(Path.cwd(), lab)


def _kept(lab: Lab) -> Path:
    """Return the file that has the outputs of a lab's code."""
    return _folder(lab) / f"{hashlib.sha256(lab.code.encode()).hexdigest()}.ipynb"


def _run(labs: list[Lab], options: Mapping[str, Any]) -> None:
    """Run labs, each in a process of its own, and keep what they give."""
    with _environment(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for lab, text in zip(labs, pool.map(lambda lab: _execute(lab, options), labs), strict=True):
            _kept(lab).parent.mkdir(parents=True, exist_ok=True)
            _kept(lab).write_text(text, encoding="utf-8")


def _execute(lab: Lab, options: Mapping[str, Any]) -> str:
    """Run a lab, with the options that the plugin has in mkdocs.yml."""
    from mkdocs_jupyter.nbconvert2 import get_nbconvert_app
    from nbclient.exceptions import CellExecutionError, CellTimeoutError
    from nbconvert.exporters import NotebookExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    name = _name(lab)
    log.info("Running %s", name)
    chosen = {key: options[key] for key in ("execute", "kernel_name", "allow_errors")}
    app = get_nbconvert_app(**chosen)
    app.config["ExecutePreprocessor"].update(
        timeout=LIMIT,
        # What a kernel needs to start, and to hand its last output over, is not short on a busy
        # machine. Without an error at its end, that output would be missing.
        startup_timeout=LIMIT,
        iopub_timeout=LIMIT,
        raise_on_iopub_timeout=True,
        record_timing=False,
        # A kernel that ends by itself may complain while it does.
        shutdown_kernel="immediate",
        extra_arguments=[
            "--IPKernelApp.extensions=handbook.labs.figures",
            "--IPKernelApp.log_level=ERROR",
            "--HistoryManager.enabled=False",
        ],
    )
    # What one cell prints comes in pieces; where they are cut depends on the machine.
    exporter = NotebookExporter(config=app.config, preprocessors=[CoalesceStreamsPreprocessor])
    try:
        with TemporaryDirectory() as folder:
            if sys.platform != "win32":
                # A port that is free when it is chosen may be taken when the kernel has started.
                exporter.config["KernelManager"].update(transport="ipc", ip=f"{folder}/kernel")
            text, _ = exporter.from_notebook_node(lab.notebook)
        Lab(lab.file, nbformat.reads(text, as_version=4)).check()
    except CellExecutionError as error:
        line, code = _failed_at(lab, error.traceback)
        said = f"{error.ename}: {error.evalue}".removesuffix(": ")
        raise PageError(f"{name}:{line}: {said}, in: {code}") from None
    except CellTimeoutError:
        raise PageError(f"{name}: a cell took longer than {LIMIT} seconds") from None
    except LabError as error:
        raise PageError(f"{name}:{error.line}: {error}") from None
    return str(text)


def _failed_at(lab: Lab, traceback: str) -> tuple[int, str]:
    """Return the line of the lab's file on which a cell failed, and what stands there."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", traceback)
    cell, line = re.findall(r"(?:Cell|Input) In ?\[(\d+)\], line (\d+)", plain)[-1]
    code = [start for start, each in lab.cells if each.cell_type == "code"]
    number = code[int(cell) - 1] + int(line) - 1
    return number, lab.file.read_text(encoding="utf-8").splitlines()[number - 1].strip()


@contextmanager
def _environment() -> Iterator[None]:
    """Set what a kernel inherits: it sees the snippets, needs no screen and is repeatable."""
    root = Path.cwd()
    (root / CACHE).mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ |= {
        "IPYTHONDIR": str(root / CACHE / "ipython"),
        "MPLBACKEND": "svg",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "snippets")]),
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
