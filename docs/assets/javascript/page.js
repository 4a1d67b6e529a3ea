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
