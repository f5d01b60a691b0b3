/**
 * Elements: made here and nowhere else, and text is only ever set as text.
 * What a runtime is called, or says, is never read as markup.
 */

const SVG = "http://www.w3.org/2000/svg";

/** What turns the order of a line around, or is no character to see: a text may not play either. */
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** @typedef {Node | string | number | null | undefined | false} Child */

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
}

/** An HTML element. `onclick` and the like are listeners, `data` its data attributes. */
export function el(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An SVG element. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** The text with nothing in it that cannot be seen, as the command line prints it. */
function plain(text) {
  return String(text).replace(UNSEEN, "\ufffd");
}

/** Put children behind what is there; text is text. */
export function add(node, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : plain(child));
  }
}

/** Put children in the place of what is there. */
export function put(node, ...children) {
  node.replaceChildren();
  add(node, children);
}

/** Set the text, if it is another: what has not changed is not touched. */
export function setText(node, text) {
  const said = text === null || text === undefined ? "" : plain(text);
  if (node.textContent !== said) node.textContent = said;
}

/**
 * Have a node show this content. What it shows already is not touched, and what is of the same
 * kind stays the same element: it keeps the focus, and its first listeners.
 */
export function settle(node, content) {
  const wanted = node.cloneNode(false);
  add(wanted, [content]);
  become(node, wanted);
}

function become(node, wanted) {
  if (node.isEqualNode(wanted)) return;
  if (node.nodeName !== wanted.nodeName) {
    node.replaceWith(wanted);
    return;
  }
  if (node.nodeType === Node.TEXT_NODE) {
    node.data = wanted.data;
    return;
  }
  for (const { name } of [...node.attributes]) {
    if (!wanted.hasAttribute(name)) node.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  const [there, here] = [[...node.childNodes], [...wanted.childNodes]];
  if (there.length === here.length) here.forEach((child, place) => become(there[place], child));
  else node.replaceChildren(...here);
}

/** Say something to those who listen to the page instead of looking at it. */
export function say(text) {
  setText(document.getElementById("said"), text);
}

/** The first and last digits of an id that is long, the whole of it to be had by pointing. */
export function brief(id) {
  const text = String(id ?? "");
  const shown = /^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(text) ? `…${text.slice(-8)}` : text;
  return el("span", { class: "id", title: text }, shown);
}
