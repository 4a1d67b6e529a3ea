// The playground: sliders around snippets/labs/playground.py. What runs it and draws its curves is fetched on the first run.
import { element, progress } from "./element.js";

const STYLES = new URL("../../css/playground.css", import.meta.url).href;
const SNIPPET = "labs/playground.py";
const percent = (share) => `${Math.round(share * 100)} %`, seconds = (value) => `${value} s`, off = (words, say) => (value) => (value ? say(value) : words);
// Name in the snippet's Settings: label, least, most, step, what it is without being moved, how it is said.
const SLIDERS = {
  Producer: {
    rate: ["Tasks a second", 1, 12, 1, 4, String],
    poison: ["Share that no worker can do", 0, 0.2, 0.01, 0, percent],
    hot: ["Share of one key", 0, 0.9, 0.1, 0, off("no keys: one queue", percent)],
  },
  Broker: {
    ttl: ["Time to live", 0, 30, 1, 0, off("for ever", seconds)],
    limit: ["Delivery limit", 1, 20, 1, 5, String],
  },
  Consumers: {
    workers: ["Workers", 1, 8, 1, 3, String],
    prefetch: ["Prefetch", 1, 50, 1, 1, String],
    work: ["Time for one task", 0.1, 2, 0.1, 0.5, seconds],
    slow: ["Worker A takes longer", 1, 10, 1, 1, (times) => (times === 1 ? "no" : `${times} times`)],
    failure: ["Chance that an attempt fails", 0, 0.9, 0.05, 0, percent],
    outage: ["Outage from second 20 on", 0, 30, 1, 0, off("none", seconds)],
    crash: ["Chance to crash before acknowledging", 0, 0.5, 0.05, 0, percent],
    pause: ["Retry delay", 0, 10, 1, 0, off("none", seconds)],
  },
};
const ALL = Object.assign({}, ...Object.values(SLIDERS));
const SITUATIONS = {
  "Poison message": { poison: 0.05, limit: 20 },
  "Slow consumer": { slow: 8, prefetch: 20 },
  "Retry storm": { outage: 10 },
  "Hot key": { hot: 0.7 },
  "Crash before acknowledging": { crash: 0.1 },
};
// What the snippet calls the faults that strike at a second.
const FAULTS = { kill: "Kill worker A", slower: "Make worker A slow", lose: "Lose an acknowledgement", twice: "Publish a task twice" };
export const mount = (place) => {
  const shown = document.querySelector(`[data-run][data-snippet="${SNIPPET}"]`);
  if (!shown) return; // built without Python
  if (!document.querySelector(`link[href="${STYLES}"]`)) document.head.append(element("link", { rel: "stylesheet", href: STYLES }));
  const whole = element("div", { className: "playground-whole" }, { role: "group", "aria-label": "Playground" });
  const form = element("div", { className: "playground-form" }), plots = element("div", { className: "playground-plots" });
  const bar = element("div", { className: "run" }), said = element("span", {}, { role: "status" }), bytes = progress(shown.dataset.counted);
  const inputs = {};
  const button = (textContent, className, action) => {
    const made = element("button", { type: "button", textContent, className });
    made.addEventListener("click", action);
    return made;
  };

  const tell = (name) => {
    const { input, value } = inputs[name];
    value.textContent = ALL[name][5](input.valueAsNumber);
    input.setAttribute("aria-valuetext", value.textContent);
  };
  const told = element("p", { className: "playground-faults" });
  let faults = [];
  const strike = (added) => {
    faults = added;
    told.textContent = faults.map(([second, fault]) => `Second ${second}: ${FAULTS[fault]}.`).join(" ");
  };
  const set = (settings) => {
    strike([]);
    for (const name in ALL) {
      const wanted = Number.parseFloat(settings[name]);
      inputs[name].input.value = Number.isNaN(wanted) ? ALL[name][4] : wanted; // a range keeps to its limits by itself
      tell(name);
    }
  };
  const settings = () => Object.fromEntries(Object.entries(inputs).map(([name, { input }]) => [name, input.valueAsNumber]));
  const changed = () => Object.entries(settings()).filter(([name, value]) => value !== ALL[name][4]);

  // The last run that a button began: what a slider changes is seen against it.
  let running = false, again = false, last, reference;
  const play = async (moved) => {
    if (!moved) reference = undefined;
    if (running) {
      again = true; // what runs takes a moment; the newest settings are next
      return;
    }
    running = true;
    do {
      again = false;
      await once();
    } while (again);
    running = false;
  };
  const once = async () => {
    said.textContent = last ? "Running" : `Loading Python, ${shown.dataset.megabytes} MB, once for all pages`;
    try {
      const { simulate } = await import("./curves.js");
      const { samples, says, curves } = await simulate(shown, { ...settings(), faults }, bytes, reference);
      said.textContent = says;
      if (!samples) return;
      plots.replaceChildren(...curves);
      last = samples;
      reference ??= samples;
    } catch (error) {
      said.textContent = `This could not be loaded: ${error.message}. Look at your connection, then press Run again.`;
    }
  };

  for (const [title, sliders] of Object.entries(SLIDERS)) {
    const group = element("fieldset");
    group.append(element("legend", { textContent: title }));
    for (const [name, [label, min, max, step]] of Object.entries(sliders)) {
      const input = element("input", { type: "range", id: `playground-${name}`, min, max, step });
      const value = element("span", { className: "playground-value" }, { "aria-hidden": "true" });
      inputs[name] = { input, value };
      input.addEventListener("input", () => tell(name));
      input.addEventListener("change", () => { if (last) play(true); });
      group.append(element("label", { textContent: label, htmlFor: input.id }), input, value);
    }
    form.append(group);
  }
  const world = element("fieldset"), when = element("input", { type: "range", id: "playground-when", min: 0, max: 59, value: 20 });
  const second = element("span", { className: "playground-value" }, { "aria-hidden": "true" });
  const choose = () => {
    second.textContent = seconds(when.value);
    when.setAttribute("aria-valuetext", second.textContent);
  };
  when.addEventListener("input", choose);
  choose();
  world.append(element("legend", { textContent: "Faults" }), element("label", { textContent: "At second", htmlFor: when.id }), when, second);
  for (const [fault, label] of Object.entries(FAULTS)) {
    world.append(button(label, "playground-try", () => {
      strike([...faults, [when.valueAsNumber, fault]].slice(-9));
      play(true);
    }));
  }
  world.append(told);
  form.append(world);
  bar.append(
    button("Run", "run-run", () => play()),
    button("Reset", "run-reset", () => {
      set({});
      if (last) play();
    }),
    button("Copy link", "run-link", async () => {
      const carried = new URLSearchParams([...changed(), ...faults.map(([at, fault]) => [fault, at])]);
      said.textContent = await (await import("./curves.js")).share(`play:${carried}`);
    }),
    bytes, said,
  );
  for (const name of document.querySelectorAll(".md-content li > strong:first-child")) {
    const situation = SITUATIONS[name.textContent];
    if (!situation) continue;
    const made = button("Try it", "playground-try", () => {
      set(situation);
      whole.scrollIntoView({ block: "start" });
      play();
    });
    made.setAttribute("aria-label", `Try it: ${name.textContent}`);
    name.parentElement.append(" ", made);
  }
  whole.append(bar, plots, form);
  place.replaceWith(whole);
  const linked = location.hash.match(/^#play:(.*)$/);
  const carried = [...new URLSearchParams(linked?.[1])];
  set(Object.fromEntries(carried));
  strike(carried.filter(([name, at]) => Object.hasOwn(FAULTS, name) && /^[0-5]?\d$/.test(at)).map(([name, at]) => [Number(at), name]).slice(-9));
  said.textContent = `${linked ? "The link has set the sliders. " : ""}Runs in this page, without a server. The first run fetches Python, ${shown.dataset.megabytes} MB.`;
};
