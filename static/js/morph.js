// Makes one piece of the page equal to another with as little change as possible: what stays the same keeps its focus, its
// scroll position and its running transitions.

/** Makes `from` (in the page) equal to `to` (parsed from the server's HTML). */
export function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) {
    from.replaceWith(document.importNode(to, true));
    return;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  morphAttributes(from, to);
  morphChildren(from, to);
}

/** Makes the children of `from` equal to those of `to`. */
export function morphChildren(from, to) {
  const wanted = [...to.childNodes];
  const present = [...from.childNodes];
  wanted.forEach((node, i) => {
    if (i < present.length) morph(present[i], node);
    else from.append(document.importNode(node, true));
  });
  for (const surplus of present.slice(wanted.length)) surplus.remove();
}

function morphAttributes(from, to) {
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    // Whether a disclosure is open is the reader's business.
    if (!to.hasAttribute(name) && !(name === 'open' && from.nodeName === 'DETAILS')) from.removeAttribute(name);
  }
}

/** The nodes of a piece of HTML, not yet in the page. */
export function parse(html) {
  return new DOMParser().parseFromString(html, 'text/html').body;
}
