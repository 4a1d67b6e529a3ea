// On the page for addresses that do not exist: the pages whose address or title is most like what was typed.
(() => {
  const pairs = (text) => {
    const plain = ` ${text.toLowerCase().replace(/\.(html?|md)\/?$/, "").replace(/[^a-z0-9]+/g, " ").trim()} `;
    return new Set([...plain].slice(1).map((_, index) => plain.slice(index, index + 2)));
  };
  const alike = (one, other) => 2 * [...one].filter((pair) => other.has(pair)).length / (one.size + other.size);
  const site = new URL("../../", document.currentScript.src).pathname;
  // An address as a reader typed it may hold what is no text, such as %ff.
  const readable = (path) => { try { return decodeURI(path); } catch { return path; } };
  const named = ({ pathname }) => {
    const path = readable(pathname).replace(site, "");
    return [pairs(path.split("/").filter(Boolean).at(-1) ?? ""), pairs(path)];
  };
  const [last, whole] = named(location);
  // The page's own name says most; among pages of one name, such as a broker's and that of its errors, the chapter decides.
  const score = (link) => {
    const [name, path] = named(link);
    return [Math.max(alike(last, name), alike(last, pairs(link.textContent))), alike(whole, path)];
  };
  const scored = [...document.querySelectorAll(".lost-all li")].map((item) => [item, ...score(item.querySelector("a"))]);
  const closest = scored.filter(([, name, path]) => Math.max(name, path) > .4).sort(([, ...one], [, ...other]) => other[0] + other[1] - one[0] - one[1]).slice(0, 3);
  const box = document.querySelector(".lost-close");
  box.querySelector("ul").append(...closest.map(([item]) => item.cloneNode(true)));
  box.hidden = !closest.length;
})();
