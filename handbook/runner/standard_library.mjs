// Python's standard library as the browser gets it: what a snippet imports as byte code, which starts in a third of the time, the rest as
// text, and nothing that no browser can run. Only the Python that reads byte code can write it, so it runs here, under Node.
// node standard_library.mjs <folder of pyodide> <file to write> <module> …
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, written, ...modules] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(resolve(folder, "pyodide.mjs")));
const python = await loadPyodide();
python.FS.writeFile("whole.zip", readFileSync(resolve(folder, "python_stdlib.zip")));
python.globals.set("modules", python.toPy(modules));
python.runPython(`
import importlib, importlib.util, sys, zipfile
from importlib._bootstrap_external import _code_to_hash_pyc

USELESS = (
    "_pyrepl/", "ensurepip/", "ftplib", "imaplib", "mailbox", "multiprocessing/managers", "multiprocessing/pool", "poplib", "profiling/",
    "pydoc_data/", "smtplib", "venv/", "wsgiref/", "xmlrpc/", "encodings/big5", "encodings/cp", "encodings/euc", "encodings/gb",
    "encodings/hz", "encodings/iso", "encodings/koi", "encodings/mac_", "encodings/shift",
)
NEEDED = ("encodings/cp437.py", "encodings/iso8859_1.py")

for name in modules:
    importlib.import_module(name)
place = "/lib/python{}{}.zip/".format(*sys.version_info)
files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
booted = {file.removeprefix(place) for file in files if file.startswith(place)}
assert booted, f"no module comes from {place}"
with zipfile.ZipFile("whole.zip") as whole, zipfile.ZipFile("new.zip", "w") as new:
    for name in whole.namelist():
        if name.endswith("/") or (name.startswith(USELESS) and name not in booted and name not in NEEDED):
            continue
        data = whole.read(name)
        if name in booted and name.endswith(".py"):
            code = compile(data, place + name, "exec", dont_inherit=True)
            data, name = bytes(_code_to_hash_pyc(code, importlib.util.source_hash(data), checked=False)), name + "c"
        new.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, compresslevel=9)
`);
writeFileSync(written, python.FS.readFile("new.zip"));
process.exit(0);
