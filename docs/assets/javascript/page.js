// What a click on a page does besides following links.

// The page as Markdown: a click copies it. Without a clipboard, or with a modifier key, the link leads to it.
addEventListener("click", async (event) => {
  const link = event.target.closest?.("[data-twin]");
  if (!link || !navigator.clipboard || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  event.stopPropagation();
  const text = fetch(link.href).then(async (answer) => {
    if (!answer.ok) throw new Error(`${answer.status}`);
    return new Blob([await answer.text()], { type: "text/plain" });
  });
  try {
    await navigator.clipboard.write([new ClipboardItem({ "text/plain": text })]);
    const said = Object.assign(document.createElement("span"), { role: "status", className: "twin-said", textContent: "Copied as Markdown" });
    link.after(said);
    setTimeout(() => said.remove(), 4000);
  } catch { location.assign(link.href); }
}, true);

// A claim, and a row of a table that has a name, gets the link that a heading has. A click copies the address and goes there.
const linkNamed = () => {
  for (const named of document.querySelectorAll("article :is(tr, tbody, .experiment)[id]")) {
    const place = named.querySelector(".experiment-claim, th, td");
    if (!place || place.querySelector(".headerlink")) continue;
    const link = Object.assign(document.createElement("a"), { className: "headerlink", href: `#${named.id}`, title: "Permanent link", textContent: "¶" });
    link.setAttribute("aria-label", `Permanent link to: ${place.textContent.trim()}`);
    place.append(" ", link);
  }
};
addEventListener("DOMContentLoaded", () => window.document$ ? document$.subscribe(linkNamed) : linkNamed());

// A cell's address is that of its row and the head of its column. One link goes to the cell that the pointer or the keyboard is in.
const headOf = (cell) => cell.closest("table").tHead?.rows[0]?.cells[cell.cellIndex]?.textContent.trim();
const addressOf = (cell) => {
  const row = cell.closest("tr[id], tbody[id]"), head = cell.cellIndex && headOf(cell);
  return row && head ? `${row.id}/${head.toLowerCase().replace(/[^a-z0-9]+/g, "-")}` : null;
};
const cellLink = Object.assign(document.createElement("a"), { className: "headerlink cell-link", title: "Permanent link", textContent: "¶" });
const offerCell = ({ target }) => {
  const cell = target.closest?.("article td"), address = cell && (cell.id || addressOf(cell));
  if (!address || cell.contains(cellLink) || cellLink.matches(":focus")) return;
  cell.id = address;
  cellLink.href = `#${address}`;
  cellLink.setAttribute("aria-label", `Permanent link to: ${headOf(cell)}, ${cell.parentElement.cells[0].textContent.replace("¶", "").trim()}`);
  cell.append(cellLink);
};
for (const moved of ["pointerover", "focusin"]) addEventListener(moved, offerCell);
const goToCell = () => {
  const address = location.hash.slice(1), row = document.getElementById(address.split("/")[0]);
  if (!row || !address.includes("/") || document.getElementById(address)) return;
  const cell = [...row.querySelectorAll("td")].find((each) => addressOf(each) === address);
  if (!cell) return;
  cell.id = address;
  location.replace(location.href);
};
addEventListener("hashchange", goToCell);
goToCell(); // before the theme writes another name there
addEventListener("DOMContentLoaded", () => window.document$ ? document$.subscribe(goToCell) : goToCell());
addEventListener("click", async (event) => {
  const link = event.target.closest?.(".headerlink");
  if (!link || !navigator.clipboard || event.ctrlKey || event.metaKey || event.shiftKey) return;
  try {
    await navigator.clipboard.writeText(link.href);
    window.alert$?.next("Link copied"); // the theme's message: it outlives the page, which the theme may fetch anew
  } catch { /* not allowed: the address bar has it */ }
});

// A term: where no mouse can point at it, a tap shows its definition, and a second tap follows the link.
let touched = false, shown = null;
addEventListener("pointerdown", (event) => { touched = event.pointerType === "touch"; }, true);
addEventListener("click", (event) => {
  const term = event.target.closest?.("a.term") ?? null;
  if (term && touched && term !== shown) {
    event.preventDefault();
    event.stopPropagation();
    term.focus();
  }
  shown = term;
}, true);

// Escape closes a definition and leaves the focus where it is, until the reader moves on.
const closed = (yes) => document.documentElement.toggleAttribute("data-tips-closed", yes);
addEventListener("keydown", (event) => { if (event.key === "Escape") closed(true); });
for (const moved of ["focusin", "pointerover"]) addEventListener(moved, () => closed(false));

// What few pages or few readers need has a script of its own, which is fetched there and then.
const scripts = new URL("./", document.currentScript.src);
const own = (script) => import(new URL(script, scripts));
const onSinglePages = { ".matrix-filter": "matrix.js", ".choose": "choose.js", "article > #terms-and-definitions": "terms.js" };
const fetchOwn = () => { for (const [part, script] of Object.entries(onSinglePages)) if (document.querySelector(part)) own(script); };
addEventListener("DOMContentLoaded", () => window.document$ ? document$.subscribe(fetchOwn) : fetchOwn());

// The handbook without a network, once a reader asks for it, or has asked before: then a worker answers this page.
const offerToKeep = () => {
  const box = document.querySelector(".keep"), workers = navigator.serviceWorker;
  if (!box || !workers) return;
  const begin = async (asked) => (await own("keep.js")).begin(box, asked);
  box.querySelector("button").onclick = () => begin(true);
  if (workers.controller) begin(false);
  box.hidden = false;
};
addEventListener("DOMContentLoaded", () => window.document$ ? document$.subscribe(offerToKeep) : offerToKeep());
