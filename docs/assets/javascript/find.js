// Asks Pagefind's index. Loaded when a reader opens the search, and not before.
const base = new URL("../../", import.meta.url);
const pagefind = await import(new URL("pagefind/pagefind.js", base));
await pagefind.options({
  baseUrl: base.pathname,
  excerptLength: 24,
  ranking: { pageLength: 0.3, termFrequency: 0.6, termSaturation: 1.2, metaWeights: { title: 5, words: 5, chapter: 0, address: 0 } },
});
const words = fetch(new URL("pagefind/words.txt", base)).then((answer) => answer.text()).then((text) => text.split(" "));

// How many letters must be changed, put in, left out or swapped to make one word of the other.
const distance = (one, other) => {
  let before = [], last = [...Array(other.length + 1).keys()];
  for (let i = 1; i <= one.length; i++) {
    const row = [i];
    for (let j = 1; j <= other.length; j++) {
      row[j] = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (one[i - 1] !== other[j - 1]));
      if (i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]) row[j] = Math.min(row[j], before[j - 2] + 1);
    }
    [before, last] = [last, row];
  }
  return last[other.length];
};

// The word that was meant, if there is none that begins like this one: the nearest, and of two the more common.
const corrected = async (word) => {
  const typed = word.toLowerCase(), known = await words;
  const parts = typed.split(/[–-]/).filter((part) => part.length > 3);
  if (typed.length < 4 || (parts.length && parts.every((part) => known.some((each) => each.startsWith(part))))) return word;
  const [far, near] = known.map((each) => [distance(typed, each), each]).sort(([one], [other]) => one - other)[0];
  return far <= (typed.length > 7 ? 2 : 1) ? near : word;
};

// Pages that have all the words, then those that have most of them.
const ranked = async (asked) => {
  const all = (await pagefind.search(asked.join(" "))).results;
  if (all.length >= 3 || asked.length < 2) return all;
  const some = new Map();
  for (const word of asked) {
    for (const result of (await pagefind.search(word)).results) {
      const before = some.get(result.id) ?? { score: 0, words: 0 };
      some.set(result.id, { result, score: before.score + result.score, words: before.words + 1 });
    }
  }
  const most = [...some.values()].sort((one, other) => other.words - one.words || other.score - one.score);
  const first = new Set(all.map((result) => result.id));
  return [...all, ...most.map(({ result }) => result).filter(({ id }) => !first.has(id))];
};

// What is called as the query says comes before what only speaks of it.
const first = 10;
const plain = (name) => name.toLowerCase().replace(/–/g, "-").replace(/s$/, "");
const named = async (results, query) => {
  const name = plain(query);
  const titles = await Promise.all(results.slice(0, first).map(async (each) => plain((await each.data()).meta.title)));
  const called = results.filter((_, index) => titles[index] === name);
  return [...called, ...results.filter((each) => !called.includes(each))];
};

export const find = async (query) => {
  const typed = query.trim().split(/\s+/);
  const meant = await Promise.all(typed.map(corrected));
  const asked = meant.join(" "), instead = asked === typed.join(" ") ? "" : asked;
  return { results: await named(await ranked(meant), asked), instead };
};

// What a list shows of some results: the page or the term, and the two sections that fit best.
export const show = (results) => Promise.all(results.map(async (result) => {
  const { meta, excerpt, sub_results } = await result.data();
  const inside = sub_results.filter((each) => each.url.includes("#") && each.title !== meta.title);
  const sections = inside.sort((one, other) => best(other) - best(one)).slice(0, 2);
  return {
    address: new URL(meta.address, base).href,
    title: meta.title,
    chapter: meta.chapter,
    excerpt: sections.length ? "" : excerpt,
    sections: sections.map((each) => ({ address: new URL(each.url, base).href, title: each.title, excerpt: each.excerpt })),
  };
}));
const best = (section) => section.weighted_locations.reduce((sum, each) => sum + each.balanced_score, 0);
