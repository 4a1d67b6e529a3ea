// The chooser: the address holds the path, and the path with its answer can be printed as the record of a decision.
(() => {
  const form = () => document.querySelector(".choose");
  // The options of a question are named after the option that led to it: choose-4-1 is the first after choose-4.
  const path = () => {
    let id = "choose";
    for (let next; (next = form().querySelector(`input[name="${id}"]:checked`)); ) id = next.id;
    return id;
  };
  const answer = () => document.getElementById(`${path()}-answer`);
  const show = () => { form().querySelector(".choose-record").hidden = !answer(); };
  const remember = () => {
    show();
    history.replaceState(history.state, "", path() === "choose" ? location.pathname + location.search : `#${path()}`);
  };
  const restore = () => {
    if (!form()) return;
    const [, ...places] = /^#choose(-\d+)+$/.test(location.hash) ? location.hash.split("-") : [];
    places.forEach((_, depth) => {
      const option = document.getElementById(["choose", ...places.slice(0, depth + 1)].join("-"));
      if (option) option.checked = true;
    });
    show();
    if (places.length) answer()?.scrollIntoView();
  };
  addEventListener("change", ({ target }) => target.closest(".choose") && remember());
  addEventListener("reset", ({ target }) => target.matches(".choose") && setTimeout(remember));
  addEventListener("click", ({ target }) => {
    if (!target.closest(".choose-record")) return;
    const today = new Intl.DateTimeFormat("sv").format(); // as 2026-11-30
    form().querySelector(".choose-signed").textContent = `Decision record, ${today}: ${answer().textContent}. Decided by: ____________ for: ____________ ${location.href}`;
    document.documentElement.dataset.record = "";
    print();
  });
  addEventListener("afterprint", () => delete document.documentElement.dataset.record);
  addEventListener("hashchange", restore);
  // A quarter of a second after the page was scrolled, the theme writes the section at hand into the address.
  let still;
  addEventListener("scroll", () => { clearTimeout(still); still = setTimeout(() => form() && path() !== "choose" && remember(), 400); });
  // The theme calls it for each page, without a reload.
  addEventListener("DOMContentLoaded", () => window.document$ ? document$.subscribe(restore) : restore());
})();
