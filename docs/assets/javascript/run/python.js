// The page's one Python. It outlives the theme's instant navigation, so that it is loaded once for all pages.
export const SECONDS = 60, CHARACTERS = 20_000;
let worker, job;

const start = (folder) => {
  // A worker with an address of its own would not be bound by the page's content security policy; one made of a blob is.
  const source = `import ${JSON.stringify(`${folder}worker.js`)};`;
  const made = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })), { type: "module", name: "python" });
  made.addEventListener("message", ({ data }) => { if (made === worker) job?.hear(data); });
  made.addEventListener("error", (event) => {
    event.preventDefault();
    if (made === worker) stop("failed", event.message ?? "its files could not be fetched");
  });
  worker = made;
};

// Ends what runs, and Python with it: a loop without end would hear nothing.
export const stop = (why, text) => {
  worker?.terminate();
  worker = undefined;
  job?.end(why, text);
};

// Runs files[name]. Tells `listener`: loading(bytes), started(), printed(kind, text), stepped(what the minibroker did, as handbook/flow.py
// tells it). Resolves to {why, text, seconds}, where `why` is "ended", "failed" (Python could not be loaded), "flood", "slow" (so many
// seconds were not enough), or what `stop` was given.
export const run = (folder, name, files, listener, seconds = SECONDS) => new Promise((resolve) => {
  if (job) stop("stopped");
  let begun, watch, shown = 0;
  const hear = ({ kind, bytes, text }) => {
    if (kind === "loading") listener.loading(bytes);
    else if (kind === "failed") stop(kind, text);
    else if (kind === "ended") job.end(kind);
    else if (kind === "started") {
      begun = performance.now();
      watch = setTimeout(() => stop("slow"), seconds * 1000);
      listener.started();
    } else if (kind === "step") listener.stepped?.(JSON.parse(text));
    else {
      listener.printed(kind, text.slice(0, CHARACTERS - shown));
      shown += text.length;
      if (shown > CHARACTERS) stop("flood");
    }
  };
  const end = (why, text = "") => {
    clearTimeout(watch);
    job = undefined;
    resolve({ why, text, seconds: begun ? (performance.now() - begun) / 1000 : 0 });
  };
  job = { hear, end };
  if (!worker) start(folder);
  worker.postMessage({ name, files });
});
