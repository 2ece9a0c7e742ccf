// A squarified treemap (Bruls, Huizing, van Wijk 2000): areas in proportion, shapes as near to squares as they go. No browser in here.

/**
 * Lays out `items` (each `{bytes}`, descending is best) in the rectangle `{x, y, width, height}`, which may have any unit.
 * `aspect` is how wide one unit of width is on screen against one unit of height.
 * @returns {{item: object, x: number, y: number, width: number, height: number}[]} together exactly the rectangle
 */
export function treemap(items, frame, aspect = 1) {
  const whole = items.reduce((sum, item) => sum + item.bytes, 0);
  if (!(whole > 0)) return [];
  const boxes = [];
  let rest = items.filter((item) => item.bytes > 0);
  let left = { ...frame };
  let bytes = whole;
  while (rest.length) {
    const upright = left.width * aspect < left.height;
    const row = bestRow(rest, bytes, left, aspect, upright);
    const share = row.reduce((sum, item) => sum + item.bytes, 0);
    const part = share / bytes;
    let at = 0;
    for (const item of row) {
      const along = item.bytes / share;
      boxes.push(upright
        ? { item, x: left.x + at * left.width, y: left.y, width: along * left.width, height: part * left.height }
        : { item, x: left.x, y: left.y + at * left.height, width: part * left.width, height: along * left.height });
      at += along;
    }
    left = upright
      ? { ...left, y: left.y + part * left.height, height: (1 - part) * left.height }
      : { ...left, x: left.x + part * left.width, width: (1 - part) * left.width };
    rest = rest.slice(row.length);
    bytes -= share;
  }
  return boxes;
}

/** As many items as make the worst shape of the row better. */
function bestRow(items, bytes, frame, aspect, upright) {
  const worst = (row) => {
    const share = row.reduce((sum, item) => sum + item.bytes, 0);
    const thick = (share / bytes) * (upright ? frame.height : frame.width * aspect);
    const long = upright ? frame.width * aspect : frame.height;
    return Math.max(...row.map((item) => {
      const length = (item.bytes / share) * long;
      return Math.max(length / thick, thick / length);
    }));
  };
  let row = [items[0]];
  for (const item of items.slice(1)) {
    const longer = [...row, item];
    if (worst(longer) > worst(row)) break;
    row = longer;
  }
  return row;
}
