// Run and Edit below each snippet that needs no server (handbook/runner). What they do, and Python, is fetched on the first click.
const button = (label, action) => {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: label, className: `run-${label.toLowerCase()}` });
  made.addEventListener("click", action);
  return made;
};

const mount = (shown) => {
  const path = shown.dataset.snippet;
  const bar = document.createElement("div"), said = document.createElement("span");
  let bench;
  const open = async (action, ...given) => {
    try {
      bench ??= import("./run/bench.js").then((module) => module.bench(shown, bar));
      await (await bench)[action](...given);
    } catch (error) {
      said.textContent = `This could not be loaded: ${error.message}. Reload the page and try again.`;
    }
  };
  bar.className = "run";
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", `Run ${path}`);
  said.setAttribute("role", "status");
  said.textContent = `Runs in this page, without a server. The first run fetches Python, ${shown.dataset.megabytes} MB.`;
  bar.append(button("Run", () => open("run")), button("Edit", () => open("edit")), said);
  shown.dataset.bench = "";
  const beside = document.querySelector(`[data-output="${CSS.escape(path)}"]`);
  beside ? beside.before(bar) : shown.after(bar);
  const linked = location.hash.match(/^#run:([^:]+):(.+)$/);
  if (linked?.[1] === path) open("fromLink", linked[2]);
  else if (sessionStorage.getItem(`run:${path}`) !== null) open("restore");
};

const mountAll = () => document.querySelectorAll("[data-run]:not([data-bench])").forEach(mount);
document$.subscribe(mountAll);
addEventListener("hashchange", () => { if (location.hash.startsWith("#run:")) location.reload(); });
