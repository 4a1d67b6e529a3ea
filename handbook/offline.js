// Keeps the handbook in the browser, and answers from there where the network does not. page.js asks for it when a reader does.
const CACHE = "handbook-<version>", LIST = "offline.json";
const root = new URL("./", location);
const list = new URL(LIST, root).href;

// What the kept version has unchanged is copied, and the rest fetched.
const keep = async () => {
  const kept = await caches.open(CACHE);
  const older = (await caches.keys()).find((name) => name.startsWith("handbook-") && name !== CACHE);
  const before = older && await caches.open(older);
  const had = (await (await before?.match(list))?.json())?.files ?? {};
  const said = await fetch(list, { cache: "no-cache" });
  const { files } = await said.clone().json();
  const names = Object.keys(files), all = names.length;
  const take = async () => {
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      const address = new URL(name, root).href;
      const answer = (had[name] === files[name] && await before.match(address)) || await fetch(address, { cache: "no-cache" });
      if (!answer.ok) throw new Error(`${answer.status}: ${address}`);
      await kept.put(address, answer);
      if (names.length % 20 === 0) await tell({ left: names.length, all });
    }
  };
  await Promise.all(Array.from({ length: 6 }, take));
  await kept.put(list, said);
};
const tell = async (what) => (await clients.matchAll({ includeUncontrolled: true })).forEach((client) => client.postMessage(what));

const forget = async () => {
  for (const name of await caches.keys()) if (name.startsWith("handbook-") && name !== CACHE) await caches.delete(name);
  await clients.claim();
};

const answer = async (request) => {
  try { return await fetch(request); }
  catch (error) {
    const kept = await caches.open(CACHE);
    const found = await kept.match(request.url.split("#")[0], { ignoreSearch: true });
    if (found) return found;
    if (request.mode !== "navigate") throw error;
    return kept.match(new URL("404.html", root).href);
  }
};

addEventListener("install", (event) => event.waitUntil(keep()));
addEventListener("activate", (event) => event.waitUntil(forget()));
addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && event.request.url.startsWith(root.href)) event.respondWith(answer(event.request));
});
