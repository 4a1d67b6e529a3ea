// Python, in a worker: it is loaded once, and runs one program at a time. The build puts this file beside Pyodide, in a folder whose name is
// that of its content. Messages to the page: {kind: "loading", bytes}, "started", "output", "error" or "step" with a text, "ended", "failed".
import { loadPyodide } from "./pyodide.mjs";

const ENOUGH = 50_000;
const HERE = new URL("./", import.meta.url).href;

// Pyodide fetches its files itself, tells nobody how far it is, and waits for ever for one that does not come. So it fetches through here:
// the bytes are counted on the way, and `broken` is rejected when a file does not arrive.
const watchFetches = (tell) => {
  const fetchWhole = self.fetch;
  let bytes = 0, give;
  const broken = new Promise((_, reject) => { give = reject; });
  self.fetch = async (asked, ...options) => {
    try {
      const answer = await fetchWhole(asked, ...options);
      if (!answer.ok) throw new Error(`${new URL(asked, HERE).pathname} is not there (${answer.status})`);
      const count = new TransformStream({
        transform(chunk, out) {
          bytes += chunk.length;
          tell(bytes);
          out.enqueue(chunk);
        },
      });
      answer.body.pipeTo(count.writable).catch(give);
      return new Response(count.readable, { headers: answer.headers });
    } catch (error) {
      give(error);
      throw error;
    }
  };
  return { broken, end: () => { self.fetch = fetchWhole; } };
};

const load = async () => {
  await WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)); // an empty one: says whether it may be compiled at all
  const { broken, end } = watchFetches((bytes) => postMessage({ kind: "loading", bytes }));
  const own = ["program.py", "flow.py"].map((name) => fetch(HERE + name).then((answer) => answer.text()));
  const python = await Promise.race([loadPyodide({ indexURL: HERE, packageBaseUrl: HERE }), broken]);
  const [program, flow] = await Promise.all(own);
  python.FS.mkdirTree("handbook/runner"); // under the names that they have in the repository
  python.FS.writeFile("handbook/runner/program.py", program);
  python.FS.writeFile("handbook/flow.py", flow);
  end();
  return { python, run: python.pyimport("handbook.runner.program").run };
};

let loaded;
addEventListener("message", async ({ data: { name, files } }) => {
  try {
    loaded ??= load();
    const { python, run } = await loaded;
    postMessage({ kind: "started" });
    const given = python.toPy(files);
    let sent = 0;
    await run(name, given, (kind, text) => {
      if (sent <= ENOUGH) postMessage({ kind, text }); // the page ends a flood once it has seen one
      if (kind !== "step") sent += text.length;
    });
    given.destroy();
    postMessage({ kind: "ended" });
  } catch (error) {
    postMessage({ kind: "failed", text: String(error.message ?? error) });
  }
});
