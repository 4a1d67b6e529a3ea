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

// The handbook without a network, once a reader asks for it twice: the first click says how much it is. offline.js keeps it.
const offerToKeep = async () => {
  const box = document.querySelector(".keep");
  if (!box || !navigator.serviceWorker) return;
  const button = box.querySelector("button"), said = box.querySelector("[role=status]");
  const worker = new URL(box.dataset.worker, location), root = new URL("./", worker).href;
  const known = async () => (await navigator.serviceWorker.getRegistrations()).find((each) => each.scope === root);
  const show = (label, text, act) => { button.textContent = label; said.textContent = text; button.onclick = act; button.disabled = !act; };

  const offer = (text = "") => show("Keep this handbook on this device", text, ask);
  const ask = async () => {
    try {
      const { bytes } = await (await fetch(box.dataset.list)).json();
      show("Keep it", `It takes ${Math.ceil(bytes / 1e6)} MB here, and is read without a network then.`, keep);
    } catch { offer("The list of its files could not be fetched."); }
  };
  const keep = async () => {
    show("Keep it", "Fetching the handbook…", null);
    navigator.serviceWorker.onmessage = ({ data }) => { said.textContent = `Fetching the handbook: ${data.left} of ${data.all} files are left.`; };
    try {
      const registration = await navigator.serviceWorker.register(worker);
      const fetched = registration.installing ?? registration.waiting ?? registration.active;
      await new Promise((done, failed) => {
        const look = () => fetched.state === "activated" ? done() : fetched.state === "redundant" && failed(new Error("not all files came"));
        fetched.addEventListener("statechange", look);
        look();
      });
      navigator.storage?.persist?.();
      kept();
    } catch { await forget("The handbook could not be kept: a file did not come, or there is no room."); }
  };
  const kept = () => show("Remove it", "This handbook is kept on this device.", () => forget("It is removed from this device."));
  const forget = async (text) => {
    await (await known())?.unregister();
    for (const name of await caches.keys()) if (name.startsWith("handbook-")) await caches.delete(name);
    offer(text);
  };

  (await known())?.active ? kept() : offer();
  box.hidden = false;
};
addEventListener("DOMContentLoaded", () => window.document$ ? document$.subscribe(offerToKeep) : offerToKeep());
