// What the scripts of Run make their parts of.
export const element = (tag, properties = {}, attributes = {}) => {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};

export const progress = (counted) => element("progress", { max: counted, hidden: true }, { "aria-label": "Loading Python" });
