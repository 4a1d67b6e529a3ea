// The search box: it opens with / s f, or on focus, and what it finds comes from find.js.
(() => {
  const box = document.querySelector(".md-search"), toggle = document.getElementById("__search");
  if (!box) return;
  const finder = new URL("find.js", document.currentScript.src);
  const field = box.querySelector("input"), list = box.querySelector("ol"), said = box.querySelector("[role=status]");
  const greeting = said.textContent, page = 10;
  const load = () => import(finder);
  const open = (wanted) => { if (toggle.checked !== wanted) toggle.click(); };
  const make = (tag, name, ...inside) => {
    const element = Object.assign(document.createElement(tag), { className: name });
    element.append(...inside);
    return element;
  };
  // Pagefind has made a text of the page safe, and marks in it what was asked for.
  const excerpt = (html) => Object.assign(make("p", ""), { innerHTML: html });
  const link = (name, found) => {
    const title = make("strong", "", found.title);
    if (found.chapter) title.append(make("small", "", found.chapter));
    return Object.assign(make("a", `md-search-result__link ${name}`, title, ...(found.excerpt ? [excerpt(found.excerpt)] : [])), { href: found.address });
  };
  const item = ({ sections, ...found }) => make("li", "md-search-result__item", link("", found), ...sections.map((each) => link("search-section", each)));

  let asked = 0;
  const search = async () => {
    const turn = ++asked, query = field.value.trim();
    if (!query) { list.replaceChildren(); said.textContent = greeting; return; }
    try {
      const { find, show } = await load();
      const { results, instead } = await find(query);
      const first = await show(results.slice(0, page));
      if (turn !== asked) return;
      list.replaceChildren(...first.map(item));
      said.textContent = `${results.length || "No"} ${results.length === 1 ? "result" : "results"} for ${instead || query}`;
      if (results.length > page) {
        const more = make("button", "md-search-result__link search-more", "More results");
        list.append(make("li", "", more));
        more.addEventListener("click", async () => {
          const rest = await show(results.slice(page, 5 * page));
          if (turn !== asked) return;
          more.parentElement.replaceWith(...rest.map(item));
          list.children[page].querySelector("a").focus();
        });
      }
    } catch (error) {
      said.textContent = "The search could not be loaded";
      console.error(error);
    }
  };

  let pause;
  const typed = () => { clearTimeout(pause); pause = setTimeout(search, 120); };
  field.addEventListener("input", typed);
  field.form.addEventListener("reset", () => { setTimeout(() => { search(); field.focus(); }); });
  field.form.addEventListener("submit", (event) => { event.preventDefault(); list.querySelector("a")?.click(); });
  field.addEventListener("focus", () => { open(true); load(); });
  box.addEventListener("pointerenter", load, { once: true });
  toggle.addEventListener("change", () => toggle.checked ? field.focus() : field.blur());
  list.addEventListener("click", (event) => { if (event.target.closest("a") && !event.ctrlKey && !event.metaKey) open(false); });
  box.addEventListener("focusout", (event) => { if (event.relatedTarget && !box.contains(event.relatedTarget)) open(false); });

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!toggle.checked) {
      const writes = event.target.closest?.("input, select, textarea, [contenteditable]");
      if (["/", "s", "f"].includes(event.key) && !writes) { event.preventDefault(); field.focus(); field.select(); }
    } else if (event.key === "Escape") {
      open(false);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const stops = [field, ...list.querySelectorAll("a, button")];
      const next = stops.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
      stops[(next + stops.length) % stops.length].focus();
      event.preventDefault();
    }
  });
})();
