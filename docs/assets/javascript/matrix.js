// The filter of a matrix, of claims or of the atlas: by its parts, and to the rows with what differs. If one broker is chosen, on that one.
(() => {
  const filter = () => {
    const box = document.querySelector(".matrix-filter");
    if (!box) return;
    const only = box.querySelector("input").checked, pattern = box.querySelector("select").value;
    let count = 0;
    for (const body of box.parentElement.querySelectorAll("tbody")) {
      const [, ...rows] = body.rows;
      for (const row of rows) {
        const differs = [...row.querySelectorAll(".claim-differs")].some((cell) => getComputedStyle(cell.closest("td")).display !== "none");
        row.hidden = only && !differs;
      }
      const shown = rows.filter((row) => !row.hidden).length;
      body.hidden = !shown || (pattern && body.dataset.pattern !== pattern);
      if (!body.hidden) count += shown;
    }
    box.querySelector("[role=status]").textContent = `${count} ${box.dataset.counts}${count === 1 ? "" : "s"}`;
    box.hidden = false;
  };
  addEventListener("change", ({ target }) => target.closest(".matrix-filter, .broker-switch") && filter());
  // page.js fetches this script. The theme calls it for each page, without a reload.
  window.document$ ? document$.subscribe(filter) : filter();
})();
