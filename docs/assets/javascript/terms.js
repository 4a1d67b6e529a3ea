// The page of terms: every term from A to Z, and a field that leaves those which have a word in their name or definition.
const begin = () => {
  const article = document.querySelector("article:has(> #terms-and-definitions)");
  if (!article || article.querySelector(".terms-find")) return;
  const entries = [...article.querySelectorAll("h3[id]")].map((head) => {
    const parts = [head];
    for (let next = head.nextElementSibling; next && !/^H[123]$/.test(next.tagName); next = next.nextElementSibling) parts.push(next);
    return { head, parts, name: head.firstChild.textContent.trim(), text: parts.map((part) => part.textContent).join(" ").toLowerCase() };
  });
  const sections = [...article.querySelectorAll("h2[id]")].map((head) => {
    const inside = entries.filter((entry) => entry.head.compareDocumentPosition(head) & Node.DOCUMENT_POSITION_PRECEDING);
    return { head, inside };
  });
  sections.forEach((section, index) => { section.inside = section.inside.filter((entry) => !sections[index + 1]?.inside.includes(entry)); });

  const make = (tag, properties, ...inside) => { const made = Object.assign(document.createElement(tag), properties); made.append(...inside); return made; };
  const field = make("input", { type: "search", id: "terms-find", autocomplete: "off" });
  const said = make("span"); said.setAttribute("role", "status");
  const byName = [...entries].sort((one, other) => one.name.localeCompare(other.name, "en", { sensitivity: "base" }));
  const list = make("ul", {}, ...byName.map(({ head, name }) => make("li", {}, make("a", { href: `#${head.id}`, textContent: name }))));
  const box = make("div", { className: "terms-find" },
    make("label", { htmlFor: "terms-find", textContent: "Find a term" }), field, said,
    make("details", {}, make("summary", { textContent: `A–Z: ${entries.length} terms` }), list));
  article.querySelector("h2").before(box);

  const filter = () => {
    const asked = field.value.trim().toLowerCase();
    let count = 0;
    for (const { parts, text } of entries) {
      const shown = text.includes(asked);
      count += shown;
      parts.forEach((part) => { part.hidden = !shown; });
    }
    for (const { head, inside } of sections) if (inside.length) head.hidden = inside.every((entry) => entry.head.hidden);
    said.textContent = asked ? `${count} of ${entries.length} terms` : "";
  };
  field.addEventListener("input", filter);
  // A link to a term that the filter hides shows it again.
  addEventListener("hashchange", () => { if (document.getElementById(location.hash.slice(1))?.hidden) { field.value = ""; filter(); location.replace(location.hash); } });
};
window.document$ ? document$.subscribe(begin) : begin();
