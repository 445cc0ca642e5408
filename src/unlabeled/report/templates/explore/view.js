// Where things are on the map: the view, which pictures have room, what lies in a lasso. Knows nothing of the page.

const ZOOM_MOST = 80;
const LEVELS = 2; // to each doubling of the scale
const SMALLEST = 16; // pixels of a picture's side when all of the map is seen
const LARGEST = 96;
const GROWTH = 0.55; // how pictures grow with the scale: slower than the distances between them

/** The view that shows all of the map: places in [0, 1] on a screen of so many pixels. */
export function fitted(width, height) {
  const scale = Math.max(50, Math.min(width, height) - 2 * SMALLEST);
  return { x: 0.5, y: 0.5, scale, least: scale, width, height };
}

/** The same middle and relative scale on a screen of another size. */
export function resized(view, width, height) {
  const whole = fitted(width, height);
  return { ...whole, x: view.x, y: view.y, scale: (whole.scale * view.scale) / view.least };
}

/** Zooms by a factor so that what is at a place of the screen stays there. */
export function zoomed(view, factor, left, top) {
  const scale = Math.min(view.least * ZOOM_MOST, Math.max(view.least, view.scale * factor));
  const [x, y] = placeAt(view, left, top);
  return kept({ ...view, scale, x: x - (left - view.width / 2) / scale, y: y - (top - view.height / 2) / scale });
}

/** Moves what is seen by pixels. */
export function moved(view, left, top) {
  return kept({ ...view, x: view.x - left / view.scale, y: view.y - top / view.scale });
}

/** The middle of the screen stays on the map. */
function kept(view) {
  const clamp = (value) => Math.min(1.05, Math.max(-0.05, value));
  return { ...view, x: clamp(view.x), y: clamp(view.y) };
}

/** The place on the map below a point of the screen. */
export function placeAt(view, left, top) {
  return [view.x + (left - view.width / 2) / view.scale, view.y + (top - view.height / 2) / view.scale];
}

/** The longer side of a picture on the screen, pixels. */
export function pictureSide(view) {
  return Math.min(LARGEST, SMALLEST * (view.scale / view.least) ** GROWTH);
}

/** The step of zooming that decides which pictures have room: so they do not flicker while it changes a little. */
export function levelOf(view) {
  return Math.floor(Math.log2(view.scale / view.least) * LEVELS + 1e-9);
}

/**
 * The images whose pictures have room at a level, the first of each cell of a grid on the map.
 * Cells stay where they are when the view is moved, and so do pictures.
 */
export function roomy(xs, ys, order, active, view) {
  const scale = view.least * 2 ** (levelOf(view) / LEVELS);
  const cell = pictureSide({ scale, least: view.least }) / scale;
  const columns = Math.ceil(1 / cell) + 1;
  const taken = new Uint8Array(columns * columns);
  const chosen = [];
  for (const image of order) {
    if (!active[image]) {
      continue;
    }
    const at = Math.floor(xs[image] / cell) + columns * Math.floor(ys[image] / cell);
    if (!taken[at]) {
      taken[at] = 1;
      chosen.push(image);
    }
  }
  return Int32Array.from(chosen);
}

/** Whether a point lies in a polygon of [x, y], by the even-odd rule. */
export function inside(polygon, x, y) {
  let within = false;
  for (let one = 0, other = polygon.length - 1; one < polygon.length; other = one, one += 1) {
    const [x1, y1] = polygon[one];
    const [x2, y2] = polygon[other];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) {
      within = !within;
    }
  }
  return within;
}

/** The active images in a polygon of places. */
export function caught(polygon, xs, ys, active) {
  const found = [];
  for (let image = 0; image < xs.length; image += 1) {
    if (active[image] && inside(polygon, xs[image], ys[image])) {
      found.push(image);
    }
  }
  return found;
}

/** The image at a point of the screen: of the pictures there the one drawn last, else the nearest dot within some pixels; -1 if none. */
export function imageAt(view, left, top, xs, ys, active, pictures, around) {
  const half = pictureSide(view) / 2;
  const [x, y] = placeAt(view, left, top);
  for (let place = pictures.length - 1; place >= 0; place -= 1) {
    const image = pictures[place];
    if (Math.max(Math.abs(xs[image] - x), Math.abs(ys[image] - y)) * view.scale <= half) {
      return image;
    }
  }
  let best = (around / view.scale) ** 2;
  let found = -1;
  for (let image = 0; image < xs.length; image += 1) {
    const far = (xs[image] - x) ** 2 + (ys[image] - y) ** 2;
    if (active[image] && far <= best) {
      [best, found] = [far, image];
    }
  }
  return found;
}
