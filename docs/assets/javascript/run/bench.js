// What a reader does with one snippet: run, stop, edit, reset, share.
import { element, progress } from "./element.js";
import { flow } from "./flow.js";
import { pack, unpack } from "./link.js";
import { CHARACTERS, run, SECONDS, stop } from "./python.js";
import { load } from "./snippet.js";

const LONGEST_LINK = 20_000;
// Where a pattern's page lets a reader break its claims, far below the first snippet.
const CLAIMS = "take-a-line-away";

// Whatever hides it: a fold, or another broker's tab.
const reveal = (part) => {
  for (let each = part; each; each = each.parentElement) {
    if (each.matches("details")) each.open = true;
    if (each.matches(".tabbed-block")) {
      const place = [...each.parentElement.children].indexOf(each);
      each.closest(".tabbed-set").querySelectorAll(":scope > input")[place].checked = true;
    }
  }
  part.scrollIntoView({ block: "center" });
};

export const bench = async (shown, bar) => {
  const { path, name, key, folder, files, recorded, megabytes, counted } = await load(shown);
  const original = files[name];

  const runButton = bar.querySelector(".run-run"), editButton = bar.querySelector(".run-edit"), said = bar.querySelector("[role=status]");
  const resetButton = element("button", { type: "button", textContent: "Reset", hidden: true });
  const linkButton = element("button", { type: "button", textContent: "Copy link", hidden: true });
  const bytes = progress(counted);
  const editor = element("textarea", { className: "run-editor", value: original, hidden: true, spellcheck: false, wrap: "off" }, {
    "aria-label": `Code of ${path}. Control and Enter run it, Escape leaves it.`,
    autocapitalize: "off",
    autocomplete: "off",
  });
  const output = element("pre", { className: "run-output", hidden: true, tabIndex: 0 }, { role: "log", "aria-label": `Output of your run of ${path}` });
  editButton.after(resetButton, linkButton);
  said.before(bytes);
  bar.after(output);
  const folded = shown.closest("details");
  folded ? bar.before(editor) : shown.after(editor);
  const say = (text) => { said.textContent = text; };

  const fit = () => { editor.rows = editor.value.split("\n").length; };
  const edit = (text = original) => {
    editor.value = text;
    fit();
    editor.hidden = resetButton.hidden = linkButton.hidden = false;
    editButton.hidden = true;
    if (!folded) shown.hidden = true;
  };
  const reset = () => {
    if (running) stop("reset");
    sessionStorage.removeItem(key);
    editor.hidden = resetButton.hidden = linkButton.hidden = output.hidden = true;
    editButton.hidden = shown.hidden = false;
    draw([]);
    say("The code is the handbook's again.");
    editButton.focus();
  };

  let running = false, picture;
  const draw = (steps, code) => {
    picture?.remove();
    picture = steps.length ? flow(`your run of ${path}`, steps, name, code, code === original ? shown : undefined) : undefined;
    if (picture) output.after(picture);
  };
  const outcome = ({ why, text, seconds }, printed, failed) => {
    const after = `after ${seconds.toFixed(2)} s`;
    if (why === "failed") return `Python could not be loaded: ${text}. Look at your connection, then press Run again.`;
    if (why === "flood") return `Stopped: it printed more than ${CHARACTERS} characters.`;
    if (why === "slow") return `Stopped: it had not ended after ${SECONDS} s.`;
    if (why !== "ended") return "Stopped.";
    if (failed) return `Ended ${after}, with an error: see below.`;
    if (recorded === undefined) return `Ended ${after}.`;
    return printed.trimEnd() === recorded.trimEnd()
      ? `Ended ${after}. It printed what the handbook recorded.`
      : `Ended ${after}. It printed something else than the handbook recorded.`;
  };
  const begin = async () => {
    if (!("WebAssembly" in window)) {
      say("This browser does not run WebAssembly, or was told not to. The command above runs the snippet on your machine.");
      return;
    }
    const code = editor.hidden ? original : editor.value, steps = [], waiting = [];
    let printed = "", failed = false;
    const show = () => {
      output.append(...waiting.splice(0));
      output.scrollTop = output.scrollHeight;
    };
    running = true;
    runButton.textContent = "Stop";
    output.replaceChildren();
    output.hidden = false;
    draw([]);
    say(`Loading Python, ${megabytes} MB, once for all pages`);
    const result = await run(folder, name, { ...files, [name]: code }, {
      loading(done) {
        bytes.hidden = false;
        bytes.value = done;
      },
      started() {
        bytes.hidden = true;
        say("Running");
      },
      printed(kind, text) {
        if (kind === "output") printed += text;
        else failed = true;
        waiting.push(kind === "output" ? text : element("span", { className: "run-error", textContent: text }));
        if (waiting.length === 1) requestAnimationFrame(show);
      },
      stepped(step) { steps.push(step); },
    });
    show();
    running = false;
    bytes.hidden = true;
    runButton.textContent = "Run";
    if (result.why === "reset") return output.replaceChildren(); // the reader has said that it is not wanted
    output.hidden = !output.textContent;
    draw(steps, code);
    say(outcome(result, printed, failed));
    if (result.why === "ended" && code === original && document.getElementById(CLAIMS)) {
      said.append(" Now ", element("a", { href: `#${CLAIMS}`, textContent: "take a line away" }), ".");
    }
  };

  editor.addEventListener("input", () => {
    fit();
    editor.value === original ? sessionStorage.removeItem(key) : sessionStorage.setItem(key, editor.value);
  });
  editor.addEventListener("keydown", (event) => {
    if (event.key === "Escape") runButton.focus();
    if (event.key !== "Enter") return; // Tab leaves the editor, as it leaves any field
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) return begin();
    const line = editor.value.slice(0, editor.selectionStart).split("\n").pop();
    document.execCommand("insertText", false, `\n${line.match(/^ */)[0]}${line.trimEnd().endsWith(":") ? "    " : ""}`);
  });
  resetButton.addEventListener("click", reset);
  linkButton.addEventListener("click", async () => {
    const packed = await pack(editor.value);
    if (packed.length > LONGEST_LINK) return say("This code is too long for a link.");
    const link = new URL(location);
    if (shown.closest("[data-for]")) link.searchParams.set("broker", "minibroker");
    link.hash = `run:${path}:${packed}`;
    try {
      await navigator.clipboard.writeText(link);
      say("The link is copied. It shows your code, and runs it only when its reader presses Run.");
    } catch {
      prompt("Copy this link", link);
    }
  });
  document$.subscribe(() => { if (running && !bar.isConnected) stop("left"); });

  return {
    run: () => (running ? stop("stopped") : begin()),
    edit() {
      edit();
      editor.focus();
    },
    restore() {
      edit(sessionStorage.getItem(key));
      say("This is the code as you left it.");
    },
    async fromLink(packed) {
      let text;
      try {
        if (packed.length > LONGEST_LINK) throw new RangeError("the link is too long");
        text = await unpack(packed);
      } catch {
        return say("The code in this link can't be read: a part of the link is missing.");
      }
      edit(text);
      reveal(bar);
      say("This code came with the link. Read it before you run it.");
    },
  };
};
