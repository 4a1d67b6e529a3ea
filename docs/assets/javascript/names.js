// The theme puts the buttons of each code block into a landmark without a name: it gets the block's.
const nameLandmarks = () => {
  for (const nav of document.querySelectorAll(".md-code__nav:not([aria-label])")) {
    const pre = nav.closest("pre");
    const title = pre.parentElement.querySelector(".filename")?.textContent ?? "code";
    nav.setAttribute("aria-label", `Actions on ${title} (block ${pre.id.replace(/\D+/g, "")})`);
  }
};
new MutationObserver(nameLandmarks).observe(document.body, { childList: true, subtree: true });
nameLandmarks();
