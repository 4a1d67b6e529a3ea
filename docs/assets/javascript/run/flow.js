// The flow of a run: what the minibroker held after each of its events (handbook/flow.py), to go through forwards and backwards.
import { element } from "./element.js";

const STYLES = new URL("../../css/flow.css", import.meta.url).href;
const SPEEDS = { slow: 0.5, usual: 1.5, fast: 4 }; // steps a second
const MOVES = 300; // milliseconds

const button = (textContent, action) => {
  const made = element("button", { type: "button", textContent });
  made.addEventListener("click", action);
  return made;
};

const named = (label, className, ...parts) => {
  const made = element("div", { className }, { role: "group", "aria-label": label });
  made.append(element("span", { className: "flow-name", textContent: label }), ...parts);
  return made;
};

const list = (empty, messages, more = 0) => {
  const made = element("ul");
  made.append(...messages, ...(more ? [element("li", { className: "flow-more", textContent: `and ${more} more` })] : []));
  if (!made.childElementCount) made.append(element("li", { className: "flow-more", textContent: empty }));
  return made;
};

// A step as lists. Each message says where it is, so that a move from there can be seen.
const stage = ({ queues, logs, message }, used) => {
  const chip = (place, id, text) => {
    const made = element("li", { className: id === message ? "flow-message flow-acting" : "flow-message", textContent: text });
    made.dataset.at = `${place} ${id}`;
    made.dataset.id = id;
    return made;
  };
  const held = (place) => ([id, body, number]) => chip(place, id, number > 1 ? `${body} (delivery ${number})` : body);
  return [
    ...queues.filter(({ name }) => used.has(name)).map(({ name, ready, more, consumers, acknowledged }) => named(name, "flow-place",
      list("nothing waits", ready.map(held(name)), more),
      ...consumers.map((each) => named(`${each.name} holds`, "flow-consumer", list("nothing", each.holds.map(held(`${name} ${each.name}`))))),
      ...(acknowledged ? [element("span", { className: "flow-done", textContent: `${acknowledged} acknowledged` })] : []))),
    ...logs.map(({ name, records, groups }) => named(`${name}, a log`, "flow-place",
      list("no record", records.map(([id, body]) => chip(name, id, `${id}: ${body}`))),
      ...groups.map((each) => element("span", { className: "flow-done", textContent: `${each.name} has read to offset ${each.read} and committed ${each.committed}` })))),
  ];
};

// What was elsewhere before slides to its place, and what is new appears there.
const move = (place, before, milliseconds) => {
  for (const chip of place.querySelectorAll(".flow-message")) {
    const { at, id } = chip.dataset, now = chip.getBoundingClientRect();
    const from = before.get(at) ?? [...before].find(([other]) => other.endsWith(` ${id}`))?.[1];
    const start = from ? { transform: `translate(${from.left - now.left}px, ${from.top - now.top}px)` } : { opacity: 0 };
    chip.animate([start, {}], { duration: milliseconds, easing: "ease-out" });
  }
};

// A band behind the acting line of the code that the page shows.
const marker = (shown) => {
  const code = shown?.querySelector("pre > code"), band = element("span", { className: "flow-here", hidden: true }, { "aria-hidden": "true" });
  code?.append(band);
  return (line) => {
    band.hidden = !line;
    if (code) band.style.top = `calc(${getComputedStyle(code).paddingTop} + ${line - 1}lh)`;
  };
};

// `steps` of a run of `code`, which is called `name`; `shown` is where the page shows that code, if it does.
export const flow = (what, steps, name, code, shown) => {
  if (!document.querySelector(`link[href="${STYLES}"]`)) document.head.append(element("link", { rel: "stylesheet", href: STYLES }));
  const lines = code.split("\n"), still = matchMedia("(prefers-reduced-motion: reduce)");
  const whole = element("div", { className: "flow" }, { role: "group", "aria-label": `The flow of ${what}` });
  const controls = element("div", { className: "flow-controls" }), place = element("div", { className: "flow-stage" });
  const said = element("p", { className: "flow-says" }, { role: "status" }), acting = element("p", { className: "flow-line" });
  const slider = element("input", { type: "range", min: 1, max: steps.length, value: 1 }, { "aria-label": "Step" });
  const counted = element("span", { className: "flow-count" });
  const speed = element("select");
  speed.append(...Object.keys(SPEEDS).map((each) => new Option(each, each, each === "usual", each === "usual")));
  const mark = marker(shown);

  // A queue that no message ever reached says nothing.
  const used = new Set(steps.flatMap(({ queues }) => queues.filter((each) => each.ready.length || each.consumers.length || each.acknowledged).map(({ name }) => name)));
  let at = 0, timer;
  const show = (next) => {
    const before = new Map([...place.querySelectorAll(".flow-message")].map((each) => [each.dataset.at, each.getBoundingClientRect()]));
    at = Math.max(0, Math.min(steps.length - 1, next));
    const { says, line, last } = steps[at];
    place.replaceChildren(...stage(steps[at], used));
    if (before.size && !still.matches) move(place, before, Math.min(MOVES, 700 / SPEEDS[speed.value]));
    said.textContent = last ? `${says} The run went on; only its first ${steps.length} steps are kept.` : says;
    acting.replaceChildren(...(line ? [`Line ${line}: `, element("code", { textContent: lines[line - 1]?.trim() ?? "" })] : [`No line of ${name}: the broker acts by itself.`]));
    mark(line);
    slider.value = at + 1;
    slider.setAttribute("aria-valuetext", `${at + 1} of ${steps.length}`);
    counted.textContent = `${at + 1} of ${steps.length}`;
    for (const [end, reached] of [[back, !at], [forward, at === steps.length - 1]]) {
      if (reached && end === document.activeElement) slider.focus({ preventScroll: true }); // the arrow keys go on working there
      end.disabled = reached;
    }
  };
  const pause = () => {
    clearInterval(timer);
    timer = undefined;
    play.textContent = "Play";
  };
  const go = (next) => {
    pause();
    show(next);
  };
  const begin = () => {
    play.textContent = "Pause";
    timer = setInterval(() => {
      if (!whole.isConnected) return pause();
      show(at + 1);
      if (at === steps.length - 1) pause();
    }, 1000 / SPEEDS[speed.value]);
  };
  const back = button("Back", () => go(at - 1)), forward = button("Forward", () => go(at + 1));
  const play = button("Play", () => {
    if (timer) return pause();
    if (at === steps.length - 1) show(0);
    begin();
  });
  slider.addEventListener("input", () => go(slider.valueAsNumber - 1));
  speed.addEventListener("change", () => {
    if (!timer) return;
    pause();
    begin();
  });
  whole.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target.matches("input, select") || event.altKey || event.ctrlKey || event.metaKey) return; // these have arrow keys of their own
    event.preventDefault();
    go(at + by);
  });
  const pace = element("label", { textContent: "Pace " });
  pace.append(speed);
  controls.append(back, forward, play, pace, slider, counted);
  whole.append(element("p", { className: "flow-title", textContent: `The flow of ${what}` }), controls, said, acting, place);
  show(0);
  return Object.assign(whole, { remove() { pause(); mark(0); Element.prototype.remove.call(whole); } });
};
