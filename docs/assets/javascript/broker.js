// One broker at a time. This runs before the page is painted, so that nothing flashes: broker.css hides by the attribute of <html>.
(() => {
  const root = document.documentElement;
  const asked = () => new URLSearchParams(location.search).get("broker");
  const remembered = () => { try { return localStorage.getItem("broker") ?? ""; } catch { return ""; } };
  const remember = (key) => { try { localStorage.setItem("broker", key); } catch { /* not allowed: then only this page knows */ } };
  const hidden = (part) => part.closest("[data-for]") && [...ancestors(part)].some((each) => each.dataset.for && getComputedStyle(each).display === "none");
  const at = (hash) => { try { return document.getElementById(decodeURIComponent(hash.slice(1))); } catch { return null; } }; // it may be cut off after a %
  function* ancestors(part) { for (let each = part; each; each = each.parentElement) yield each; }

  root.dataset.broker = asked() ?? remembered();

  const apply = () => {
    for (const entry of document.querySelectorAll(".md-nav--secondary a[href*='#'], .on-this-page a, .footnote li")) {
      const parts = entry.matches("li")
        ? [...document.querySelectorAll(`.footnote-ref[href="#${CSS.escape(entry.id)}"]`)]
        : [at(entry.hash)].filter(Boolean);
      const whole = entry.closest("li");
      whole.hidden = parts.length > 0 && parts.every(hidden);
    }
    for (const tab of document.querySelectorAll(`.tabbed-labels > label[data-for~="${CSS.escape(root.dataset.broker) || "-"}"]`)) document.getElementById(tab.htmlFor).checked = true;
  };

  const show = (key) => {
    const choice = document.querySelector(".broker-switch select");
    root.dataset.broker = key;
    if (choice) choice.value = [...choice.options].some((each) => each.value === key) ? key : "";
    apply();
  };
  const reveal = () => {
    const target = at(location.hash);
    if (target && hidden(target)) { show(""); target.scrollIntoView(); }
  };
  addEventListener("hashchange", reveal);

  // The theme calls it for each page, without a reload.
  const begin = () => {
    show(asked() ?? remembered());
    reveal();
    const box = document.querySelector(".broker-switch");
    if (!box) return;
    const choice = box.querySelector("select"), said = box.querySelector("[role=status]");
    box.hidden = false;
    choice.addEventListener("change", () => {
      remember(choice.value);
      show(choice.value);
      const address = new URL(location);
      choice.value ? address.searchParams.set("broker", choice.value) : address.searchParams.delete("broker");
      history.replaceState(history.state, "", address);
      said.textContent = choice.value ? `Showing ${choice.selectedOptions[0].text} only` : "Showing all brokers";
    });
  };
  addEventListener("DOMContentLoaded", () => window.document$ ? document$.subscribe(begin) : begin());
})();
