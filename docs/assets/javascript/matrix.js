// The filter of the matrix of claims: by pattern, and to those on which a broker differs. If one broker is chosen, it is that one.
(() => {
  const filter = () => {
    const box = document.querySelector(".matrix-filter");
    if (!box) return;
    const only = box.querySelector("input").checked, pattern = box.querySelector("select").value;
    let count = 0;
    for (const body of document.querySelectorAll(".matrix-table tbody")) {
      const [, ...rows] = body.rows;
      for (const row of rows) {
        const differs = [...row.querySelectorAll(".claim-differs")].some((cell) => getComputedStyle(cell).display !== "none");
        row.hidden = only && !differs;
      }
      const shown = rows.filter((row) => !row.hidden).length;
      body.hidden = !shown || (pattern && body.dataset.pattern !== pattern);
      if (!body.hidden) count += shown;
    }
    box.querySelector("[role=status]").textContent = `${count} ${count === 1 ? "claim" : "claims"}`;
    box.hidden = false;
  };
  addEventListener("change", ({ target }) => target.closest(".matrix-filter, .broker-switch") && filter());
  // page.js fetches this script. The theme calls it for each page, without a reload.
  window.document$ ? document$.subscribe(filter) : filter();
})();
