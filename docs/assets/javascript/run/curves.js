// The playground's runs: snippets/labs/playground.py in the page's Python, and its curves.
import { element } from "./element.js";
import { run } from "./python.js";
import { load } from "./snippet.js";

// In the order of the snippet's Sample.
const SERIES = ["Tasks that wait", "Age of the oldest task, s", "Attempts in a second", "Tasks done twice, so far", "Dead letters, so far"];
const [WIDE, HIGH] = [300, 60];

const plot = (title, now, before) => {
  const most = Math.max(...now, ...(before ?? []), 1);
  const line = (values, name) => `<polyline class="${name}" points="${values.map((each, at) => `${(WIDE * (at + 1)) / values.length},${HIGH - (HIGH * each) / most}`).join(" ")}"/>`;
  const said = `${title}: at most ${Math.max(...now)}, ${now.at(-1)} at the end${before ? `; before at most ${Math.max(...before)}` : ""}.`;
  const made = element("figure", { className: "playground-plot" });
  made.innerHTML = `<svg viewBox="0 0 ${WIDE} ${HIGH}" preserveAspectRatio="none" role="img">${before ? line(before, "before") : ""}${line(now, "now")}</svg>`;
  made.firstChild.setAttribute("aria-label", said);
  const ends = element("p", { className: "playground-ends" }, { "aria-hidden": "true" });
  ends.append(element("span", { textContent: "0 s" }), element("span", { textContent: `${now.length} s` }));
  made.prepend(element("figcaption", { textContent: title }), element("p", { className: "playground-most", textContent: most }, { "aria-hidden": "true" }));
  made.append(ends);
  return made;
};

let loaded;
// Resolves to the samples of a run and their curves, with those of another run dashed, and to a sentence; or to the reason why there are none.
export const simulate = async (shown, settings, bytes, reference) => {
  const { name, folder, files } = loaded ??= await load(shown), module = name.replace(".py", "");
  const given = JSON.stringify(JSON.stringify(settings));
  const program = `import json, ${module}\nprint(json.dumps(${module}.run(${module}.Settings(**json.loads(${given})))))\n`;
  let printed = "", error = "";
  const { why, text } = await run(folder, "play.py", { ...files, "play.py": program }, {
    loading(done) {
      bytes.hidden = false;
      bytes.value = done;
    },
    started() { bytes.hidden = true; },
    printed(kind, part) { kind === "output" ? printed += part : error += part; },
  });
  bytes.hidden = true;
  if (why === "failed") return { says: `Python could not be loaded: ${text}. Look at your connection, then press Run again.` };
  if (why !== "ended" || error) return { says: `Stopped. ${error.trim().split("\n").at(-1)}` };
  const samples = JSON.parse(printed), [waiting, oldest, , twice, dead] = samples.at(-1);
  return {
    samples,
    says: `After ${samples.length} simulated seconds, ${waiting} tasks wait and the oldest is ${oldest} s old. Done twice: ${twice}. Dead letters: ${dead}.${reference ? " Dashed is the run before your changes." : ""}`,
    curves: SERIES.map((title, number) => plot(title, samples.map((each) => each[number]), reference?.map((each) => each[number]))),
  };
};

export const share = async (hash) => {
  const link = Object.assign(new URL(location), { hash });
  try {
    await navigator.clipboard.writeText(link);
    return "The link is copied. It sets the sliders, and its reader presses Run.";
  } catch {
    prompt("Copy this link", link);
    return "";
  }
};
