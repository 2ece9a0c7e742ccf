// Elements made in script. Text is always text: nothing here reads HTML.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with properties (`class`, `data-*`, `on…`, attributes) and children (nodes, strings, nothing). */
export function el(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Sets text only when it differs: an unchanged node keeps a reader's selection and is not announced again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
