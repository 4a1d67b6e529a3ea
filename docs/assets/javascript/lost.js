// On the page for addresses that do not exist: the pages whose address or title is most like what was typed.
(() => {
  const pairs = (text) => {
    const plain = ` ${text.toLowerCase().replace(/\.(html?|md)$/, "").replace(/[^a-z0-9]+/g, " ").trim()} `;
    return new Set([...plain].slice(1).map((_, index) => plain.slice(index, index + 2)));
  };
  const alike = (one, other) => 2 * [...one].filter((pair) => other.has(pair)).length / (one.size + other.size);
  const asked = pairs(decodeURI(location.pathname).split("/").filter(Boolean).at(-1) ?? "");
  const links = [...document.querySelectorAll(".lost-all a")];
  const score = (link) => Math.max(alike(asked, pairs(link.pathname.split("/").filter(Boolean).at(-1) ?? "")), alike(asked, pairs(link.textContent)));
  const closest = links.map((link) => [score(link), link]).filter(([points]) => points > .4).sort(([one], [other]) => other - one).slice(0, 3);
  const box = document.querySelector(".lost-close");
  for (const [, link] of closest) box.querySelector("ul").append(link.parentElement.cloneNode(true));
  box.hidden = !closest.length;
})();
