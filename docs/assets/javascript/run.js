// Run and Edit below each snippet that needs no server (handbook/runner). What they do, and Python, is fetched on the first click.
const button = (label, action) => {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: label, className: `run-${label.toLowerCase().split(" ")[0]}` });
  made.addEventListener("click", action);
  return made;
};

const bar = (name) => {
  const made = document.createElement("div"), said = document.createElement("span");
  made.className = "run";
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", name);
  said.setAttribute("role", "status");
  made.append(said);
  return [made, said];
};

const orSay = (said, action) => async (...given) => {
  try {
    await action(...given);
  } catch (error) {
    said.textContent = `This could not be loaded: ${error.message}. Reload the page and try again.`;
  }
};

const mount = (shown) => {
  const { snippet: path, claims, megabytes } = shown.dataset;
  const [below, said] = bar(`Run ${path}`);
  let bench;
  const open = orSay(said, async (action, ...given) => {
    if (!bench && action === "run") said.textContent = "Loading";
    bench ??= import("./run/bench.js").then((module) => module.bench(shown, below));
    await (await bench)[action](...given);
  });
  said.textContent = `Runs in this page, without a server. The first run fetches Python, ${megabytes} MB.`;
  said.before(button("Run", () => open("run")), button("Edit", () => open("edit")));
  shown.dataset.bench = "";
  const beside = document.querySelector(`[data-output="${CSS.escape(path)}"]`);
  beside ? beside.before(below) : shown.after(below);
  for (const id of claims?.split(" ") ?? []) offer(shown, id);
  const linked = location.hash.match(/^#run:([^:]+):(.+)$/);
  if (linked?.[1] === path) open("fromLink", linked[2]);
  else if (sessionStorage.getItem(`run:${path}`) !== null) open("restore");
};

// Each claim can be broken where it stands.
const offer = (shown, id) => {
  const claim = document.getElementById(id);
  if (!claim) return;
  const [below, said] = bar(`Try without the line: ${claim.querySelector("p")?.textContent ?? id}`);
  said.before(button("Break it", orSay(said, async () => {
    said.textContent = "Loading";
    await (await import("./run/break.js")).breakIt(shown, id, below);
  })));
  said.textContent = "Runs the minibroker's demonstration in this page, without the line.";
  claim.append(below);
};

const mountAll = () => {
  document.querySelectorAll("[data-run]:not([data-bench])").forEach(mount);
  const playground = document.querySelector(".playground");
  if (playground) import("./run/playground.js").then((module) => module.mount(playground));
};
document$.subscribe(mountAll);
addEventListener("hashchange", () => { if (/^#(run|play):/.test(location.hash)) location.reload(); });
