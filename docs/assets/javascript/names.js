// The theme puts the copy button of each block into a landmark without a name: it gets the block's.
document$.subscribe(() => {
  const name = () => {
    for (const nav of document.querySelectorAll(".md-code__nav:not([aria-label])")) {
      const pre = nav.closest("pre");
      const title = pre.parentElement.querySelector(".filename")?.textContent ?? "code";
      nav.setAttribute("aria-label", `Actions on ${title} (block ${pre.id.replace(/\D+/g, "")})`);
    }
  };
  name();
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
});
