// The handbook without a network, once a reader asks for it twice: the first click says how much it is. offline.js keeps it.
export const begin = async (box, asked) => {
  const button = box.querySelector("button"), said = box.querySelector("[role=status]");
  const worker = new URL(box.dataset.worker, location), root = new URL("./", worker).href;
  const known = async () => (await navigator.serviceWorker.getRegistrations()).find((each) => each.scope === root);
  const show = (label, text, act) => { button.textContent = label; said.textContent = text; button.onclick = act; button.disabled = !act; };

  const offer = (text = "") => show("Keep this handbook on this device", text, ask);
  const ask = async () => {
    try {
      const { bytes } = await (await fetch(box.dataset.list)).json();
      show("Keep it", `It takes ${Math.ceil(bytes / 1e6)} MB here, and is read without a network then.`, keep);
    } catch { offer("The list of its files could not be fetched."); }
  };
  const keep = async () => {
    show("Keep it", "Fetching the handbook…", null);
    navigator.serviceWorker.onmessage = ({ data }) => { said.textContent = `Fetching the handbook: ${data.left} of ${data.all} files are left.`; };
    try {
      const registration = await navigator.serviceWorker.register(worker);
      const fetched = registration.installing ?? registration.waiting ?? registration.active;
      await new Promise((done, failed) => {
        const look = () => fetched.state === "activated" ? done() : fetched.state === "redundant" && failed(new Error("not all files came"));
        fetched.addEventListener("statechange", look);
        look();
      });
      navigator.storage?.persist?.();
      kept();
    } catch { await forget("The handbook could not be kept: a file did not come, or there is no room."); }
  };
  const kept = () => {
    navigator.serviceWorker.onmessage = null; // what it still tells is older than this
    show("Remove it", "This handbook is kept on this device.", () => forget("It is removed from this device."));
  };
  const forget = async (text) => {
    await (await known())?.unregister();
    for (const name of await caches.keys()) if (name.startsWith("handbook-")) await caches.delete(name);
    offer(text);
  };

  (await known())?.active ? kept() : asked ? ask() : offer();
};
