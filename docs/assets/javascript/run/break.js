// Break it: the line that carries a claim is changed as its test changes it, and both outputs are shown.
import { element, progress } from "./element.js";
import { flow } from "./flow.js";
import { run } from "./python.js";
import { fetchText, load } from "./snippet.js";

// What is changed may wait for ever for what does not come.
const SECONDS = 10;

// The lines of two texts: "gone" from the first, "new" in the second, or in both; by their longest common subsequence.
export const compare = (before, after) => {
  const old = before.trimEnd().split("\n"), now = after.trimEnd() ? after.trimEnd().split("\n") : [];
  const common = Array.from({ length: old.length + 1 }, () => new Array(now.length + 1).fill(0));
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) common[i][j] = old[i] === now[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  }
  const left = [], right = [];
  for (let i = 0, j = 0; i < old.length || j < now.length;) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      left.push([old[i++], false]);
      right.push([now[j++], false]);
    } else if (j === now.length || (i < old.length && common[i + 1][j] >= common[i][j + 1])) left.push([old[i++], true]);
    else right.push([now[j++], true]);
  }
  return { left, right, same: [...left, ...right].every(([, marked]) => !marked) };
};

const column = (title, lines, tag, sign) => {
  const shown = element("pre", { tabIndex: 0 }, { role: "region", "aria-label": title });
  for (const [line, marked] of lines) shown.append(marked ? element(tag, { textContent: `${sign} ${line}` }) : `  ${line}`, "\n");
  const box = element("div", { className: "broken-output" });
  box.append(element("p", { textContent: title }), shown);
  return box;
};

const sentence = ({ why, text }, same, failed) => {
  if (why === "failed") return `Python could not be loaded: ${text}. Look at your connection, then try again.`;
  if (why === "slow") return `This run waits for what does not come: after ${SECONDS} s it was stopped.`;
  if (why === "flood") return "This run printed more than can be shown, and was stopped.";
  if (why !== "ended") return "Stopped.";
  if (failed) return "This run ends with an error.";
  return same ? "This run prints the same: what it demonstrates does not depend on the line. The test of the claim does." : "What differs is marked.";
};

export const breakIt = async (shown, id, bar) => {
  const button = bar.querySelector("button"), said = bar.querySelector("[role=status]");
  const focused = document.activeElement === button;
  button.disabled = true;
  try {
    await withoutTheLine(shown, id, bar, said);
  } finally {
    button.disabled = false;
    if (focused && document.activeElement === document.body) button.focus({ preventScroll: true });
  }
};

const withoutTheLine = async (shown, id, bar, said) => {
  const { path, name, folder, files, recorded, megabytes, counted } = await load(shown);
  const { line, instead, seen } = JSON.parse(await fetchText(`snippets/${path.replace(/py$/, "claims.json")}`))[id];
  const changed = Object.keys(files).find((each) => files[each].includes(line));
  const bytes = progress(counted);
  said.before(bytes);
  said.textContent = `Loading Python, ${megabytes} MB, once for all pages`;
  const printed = { output: "", error: "" }, steps = [], broken = { ...files, [changed]: files[changed].replace(line, () => instead) };
  const result = await run(folder, name, broken, {
    loading(done) {
      bytes.hidden = false;
      bytes.value = done;
    },
    started() {
      bytes.hidden = true;
      said.textContent = `Running with the changed line, for ${SECONDS} s at most`;
    },
    printed(kind, text) { printed[kind] += text; },
    stepped(step) { steps.push(step); },
  }, SECONDS);
  bytes.remove();
  const { left, right, same } = compare(recorded, printed.output);
  const whatChanged = element("pre", { tabIndex: 0 }, { role: "region", "aria-label": `The change in ${changed}` });
  for (const [text, tag, sign] of [[line, "del", "-"], [instead, "ins", "+"]]) {
    if (text.trim()) whatChanged.append(...text.trim().split("\n").map((each) => element(tag, { textContent: `${sign} ${each.trimEnd()}\n` })));
  }
  const outputs = element("div", { className: "broken-outputs" });
  outputs.append(column("Printed with the line", left, "del", "-"), column("Printed without it", right, "ins", "+"));
  if (printed.error) outputs.lastChild.lastChild.append(element("span", { className: "run-error", textContent: printed.error }));
  const box = element("div", { className: "broken" });
  box.append(element("p", { textContent: `Changed in ${changed}` }), whatChanged, outputs);
  if (steps.length) box.append(flow("the run without the line", steps, name, broken[name]));
  if (bar.nextElementSibling?.className === "broken") bar.nextElementSibling.remove();
  if (result.why !== "failed") bar.after(box);
  said.textContent = `${sentence(result, same, printed.error)}${result.why === "failed" ? "" : ` The test sees: ${seen.replaceAll("`", "")}`}`;
};
