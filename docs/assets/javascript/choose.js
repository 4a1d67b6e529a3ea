// The chooser: it sorts the candidates by what was answered, keeps the answers in the address, and prints them as the record of a decision.
(() => {
  const form = () => document.querySelector(".choose");
  const all = (selector) => [...form().querySelectorAll(selector)];
  const title = (candidate) => candidate.querySelector("h4").firstChild.textContent.trim();
  const answers = () => all("input:checked").filter(({ value }) => value);
  // What a checked answer says of a candidate, with the answer, as an item of its list of reasons.
  const reasons = (name, kind, says) => answers().flatMap((input) => [...input.parentElement.querySelectorAll(`[data-${kind}~="${name}"]`)].map((effect) => {
    const item = document.createElement("li"), answer = document.createElement("em");
    answer.textContent = input.labels[0].textContent;
    item.append(says, answer, ": ", ...effect.querySelector("span").cloneNode(true).childNodes);
    return item;
  }));
  let candidates = [];
  const show = () => {
    const [remain, ruled] = all(".choose-list");
    const judged = candidates.map((candidate) => {
      const { name } = candidate.dataset, out = reasons(name, "out", "Ruled out by "), speak = reasons(name, "pro", "For it: ");
      const list = candidate.querySelector(".choose-reasons");
      list.replaceChildren(...out, ...speak);
      list.hidden = !list.childElementCount;
      return { candidate, out: out.length, speak: speak.length };
    });
    const left = judged.filter(({ out }) => !out).sort((one, other) => other.speak - one.speak);
    remain.replaceChildren(...left.map(({ candidate }) => candidate));
    ruled.replaceChildren(...judged.filter(({ out }) => out).map(({ candidate }) => candidate));
    ruled.parentElement.hidden = !ruled.childElementCount;
    const most = left[0]?.speak ? left.filter(({ speak }) => speak === left[0].speak) : [];
    form().querySelector("#choose-candidates").textContent = answers().length ? "What remains" : "The candidates";
    form().querySelector("[role=status]").textContent = `${left.length} of ${candidates.length} remain${most.length && most.length < 4 ? `; spoken for most often: ${most.map(({ candidate }) => title(candidate)).join(", ")}` : ""}.`;
    form().querySelector(".choose-again").hidden = !answers().length;
    return most;
  };
  const remember = () => {
    const address = new URL(location);
    for (const { name } of all("input[value='']")) address.searchParams.delete(name);
    for (const { name, value } of answers()) address.searchParams.set(name, value);
    history.replaceState(history.state, "", address);
    show();
  };
  const restore = () => {
    if (!form()) return;
    candidates = all(".choose-candidate");
    form().querySelector(".choose-count").hidden = false;
    for (const [name, value] of new URLSearchParams(location.search)) {
      const answer = document.getElementById(`choose-${name}-${value}`);
      if (answer) answer.checked = true;
    }
    show();
  };
  addEventListener("change", ({ target }) => target.closest(".choose") && remember());
  addEventListener("reset", ({ target }) => target.matches(".choose") && setTimeout(remember));
  addEventListener("click", ({ target }) => {
    if (!target.closest(".choose-record")) return;
    const today = new Intl.DateTimeFormat("sv").format(); // as 2026-11-30
    for (const { candidate } of show()) candidate.querySelector("details").open = true;
    form().querySelector(".choose-signed").textContent = `Decision record, ${today}. Decided for: ____________ by: ____________ ${location.origin}${location.pathname}${location.search}`;
    document.documentElement.dataset.record = "";
    print();
  });
  addEventListener("afterprint", () => delete document.documentElement.dataset.record);
  // The theme calls it for each page, without a reload.
  window.document$ ? document$.subscribe(restore) : restore();
})();
