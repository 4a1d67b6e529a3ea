// What the build says of a snippet that runs, and its files as they are published.
const SITE = new URL("../../../", import.meta.url);

export const fetchText = async (path) => {
  const answer = await fetch(new URL(path, SITE));
  if (!answer.ok) throw new Error(`${path} is not there (${answer.status})`);
  return answer.text();
};

export const load = async ({ dataset }) => {
  const { snippet: path, run: beside, python, megabytes, counted } = dataset;
  const paths = [path, ...beside.split(" ").filter(Boolean)];
  const texts = await Promise.all(paths.map((each) => fetchText(`snippets/${each}`)));
  const names = paths.map((each) => each.split("/").pop());
  return {
    path, megabytes, counted,
    name: names[0],
    key: `run:${path}`,
    folder: new URL(python, location).href,
    files: Object.fromEntries(names.map((name, place) => [name, texts[place]])),
    recorded: document.querySelector(`[data-output="${CSS.escape(path)}"] code`)?.textContent,
  };
};
