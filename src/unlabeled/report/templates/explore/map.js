// The map on a canvas: dots for all images, pictures where there is room; moved, zoomed, clicked, lassoed.

import { tileOf } from "./data.js";
import { caught, fitted, imageAt, levelOf, moved, pictureSide, placeAt, resized, roomy, zoomed } from "./view.js";

const CLICK = 5; // pixels that a click may move
const DOT = 1.6; // half the side of a dot at the least, pixels
const STEP = 60; // pixels that an arrow key moves
const DENSE = 2; // pixels of the canvas to one of the page at the most
const MARGIN = 160; // pixels around what is seen that are drawn before they are

export class ImageMap {
  /** `open` and `choose` are told of an image, `choose` of several that a lasso has caught. */
  constructor(canvas, data, { open, choose, selection }) {
    Object.assign(this, { canvas, data, open, choose, selection });
    this.pen = canvas.getContext("2d");
    this.order = spread(data);
    this.active = new Uint8Array(data.n).fill(1);
    this.lassoing = false;
    this.lasso = [];
    this.pointers = new Map();
    this.current = -1;
    this.hovered = -1;
    this.view = fitted(1, 1);
    this.pictures = { key: "", images: new Int32Array(0) };
    this.layer = { canvas: document.createElement("canvas"), key: "", view: this.view };
    this.version = 0; // of all that the layer shows but the view
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle());
    this.restyle();
    this.listen();
  }

  /** Colours the map, and leaves out what is of a hidden kind or not asked for. */
  colour(colouring, hidden, wanted = null) {
    this.colouring = colouring;
    for (let image = 0; image < this.data.n; image += 1) {
      this.active[image] = !hidden.has(colouring.kind[image]) && (wanted === null || wanted.has(image)) ? 1 : 0;
    }
    // Dots of one colour after another: changing the colour costs more than a dot.
    this.byKind = this.order.toSorted((one, other) => colouring.kind[one] - colouring.kind[other]);
    this.pictures.key = "";
    this.changed();
  }

  /** Shows where an image is: marked, and moved into sight where it is out of it. */
  show(image) {
    this.current = image;
    const [left, top] = this.screen(image);
    const edge = 40;
    if (left < edge || top < edge || left > this.view.width - edge || top > this.view.height - edge) {
      this.view = moved(this.view, this.view.width / 2 - left, this.view.height / 2 - top);
    }
    this.later();
  }

  zoom(factor) {
    this.view = zoomed(this.view, factor, this.view.width / 2, this.view.height / 2);
    this.later();
  }

  fit() {
    this.view = fitted(this.view.width, this.view.height);
    this.later();
  }

  /** Draws all anew: not only the view is another one. */
  changed() {
    this.version += 1;
    this.later();
  }

  /** Draws before the screen is shown the next time, however often it is asked for. */
  later() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = undefined;
      this.draw();
    });
  }

  screen(image) {
    return this.atScreen(this.data.x[image], this.data.y[image]);
  }

  resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width || !height) {
      return;
    }
    this.dense = Math.min(DENSE, devicePixelRatio || 1);
    [this.canvas.width, this.canvas.height] = [Math.round(width * this.dense), Math.round(height * this.dense)];
    this.view = this.view.width > 1 ? resized(this.view, width, height) : fitted(width, height);
    this.pictures.key = "";
    this.draw();
  }

  restyle() {
    const style = getComputedStyle(this.canvas);
    this.ink = style.getPropertyValue("--ink");
    this.accent = style.getPropertyValue("--accent");
    this.quiet = style.getPropertyValue("--line");
    this.changed();
  }

  draw() {
    if (!this.colouring || !this.dense) {
      return;
    }
    const { pen, view } = this;
    pen.setTransform(this.dense, 0, 0, this.dense, 0, 0);
    pen.clearRect(0, 0, view.width, view.height);
    const { canvas, view: drawn } = this.freshLayer();
    const [left, top] = [(drawn.x - view.x) * view.scale - MARGIN, (drawn.y - view.y) * view.scale - MARGIN];
    pen.imageSmoothingEnabled = false; // pixel on pixel
    const whole = (value) => Math.round(value * this.dense) / this.dense;
    pen.drawImage(canvas, whole(left), whole(top), canvas.width / this.dense, canvas.height / this.dense);
    for (const [image, colour] of [[this.hovered, this.ink], [this.current, this.accent]]) {
      if (image >= 0) {
        this.mark(image, colour);
      }
    }
    this.drawLasso();
  }

  /** Dots and pictures of what is seen and of a margin around it: moving the map a little only moves this layer. */
  freshLayer() {
    const { view, layer, dense } = this;
    const key = [view.scale, view.width, view.height, dense, this.version].join(" ");
    const far = Math.max(Math.abs(layer.view.x - view.x), Math.abs(layer.view.y - view.y)) * view.scale;
    if (layer.key === key && far <= MARGIN) {
      return layer;
    }
    Object.assign(layer, { key, view });
    const [pen, wide, high] = [layer.canvas.getContext("2d"), view.width + 2 * MARGIN, view.height + 2 * MARGIN];
    [layer.canvas.width, layer.canvas.height] = [Math.ceil(wide * dense), Math.ceil(high * dense)]; // which clears it
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    const own = [this.pen, this.view];
    [this.pen, this.view] = [pen, { ...view, width: wide, height: high }];
    this.drawDots();
    this.drawPictures();
    [this.pen, this.view] = own;
    return layer;
  }

  drawDots() {
    const { pen, view, data, active, colouring } = this;
    const half = Math.min(5, DOT * Math.sqrt(view.scale / view.least));
    const [x0, y0] = placeAt(view, -half, -half);
    const [x1, y1] = placeAt(view, view.width + half, view.height + half);
    let colour = "";
    for (const image of this.byKind) {
      const [x, y] = [data.x[image], data.y[image]];
      if (x < x0 || y < y0 || x > x1 || y > y1) {
        continue;
      }
      const own = active[image] ? colouring.colours[colouring.kind[image]] : this.quiet;
      if (own !== colour) {
        pen.fillStyle = colour = own;
      }
      const size = active[image] ? 2 * half : half;
      pen.fillRect((x - view.x) * view.scale + view.width / 2 - size / 2, (y - view.y) * view.scale + view.height / 2 - size / 2, size, size);
    }
  }

  drawPictures() {
    const { pen, data, colouring } = this;
    const [wide, high] = this.sides();
    pen.imageSmoothingEnabled = wide * this.dense < data.tiles.width;
    const edge = wide > 30 ? 2 : 1;
    this.shown = this.inSight();
    for (const image of this.shown) {
      const [x, y] = this.screen(image);
      const [left, top] = [x - wide / 2, y - high / 2];
      pen.fillStyle = this.selection.has(image) ? this.accent : colouring.colours[colouring.kind[image]];
      const border = this.selection.has(image) ? edge + 2 : edge;
      pen.fillRect(left - border, top - border, wide + 2 * border, high + 2 * border);
      this.drawTile(image, left, top, wide, high);
    }
    for (const image of this.selection.images) {
      const [x, y] = this.screen(image);
      pen.fillStyle = this.accent;
      pen.fillRect(x - 3, y - 3, 6, 6);
    }
  }

  /** The images whose pictures are seen: found again only where the step of zooming or what is active has changed. */
  inSight() {
    const { view, data } = this;
    const key = `${levelOf(view)} ${view.least}`;
    if (this.pictures.key !== key) {
      this.pictures = { key, images: roomy(data.x, data.y, this.order, this.active, view) };
    }
    const reach = pictureSide(view) / 2;
    const [x0, y0] = placeAt(view, -reach, -reach);
    const [x1, y1] = placeAt(view, view.width + reach, view.height + reach);
    return this.pictures.images.filter((image) => data.x[image] > x0 && data.y[image] > y0 && data.x[image] < x1 && data.y[image] < y1);
  }

  sides() {
    const { width, height } = this.data.tiles;
    const side = pictureSide(this.view) - 2;
    const most = Math.max(width, height);
    return [(side * width) / most, (side * height) / most];
  }

  drawTile(image, left, top, wide, high) {
    const { tiles, sheets } = this.data;
    const tile = tileOf(tiles, image);
    this.pen.drawImage(sheets[tile.sheet], tile.x, tile.y, tiles.width, tiles.height, left, top, wide, high);
  }

  /** Draws an image in front of the others, in a frame. */
  mark(image, colour) {
    const { pen } = this;
    const [x, y] = this.screen(image);
    const [wide, high] = this.sides().map((side) => Math.max(32, side));
    pen.fillStyle = colour;
    pen.fillRect(x - wide / 2 - 3, y - high / 2 - 3, wide + 6, high + 6);
    this.drawTile(image, x - wide / 2, y - high / 2, wide, high);
  }

  drawLasso() {
    if (this.lasso.length < 2) {
      return;
    }
    const { pen } = this;
    pen.beginPath();
    for (const [x, y] of this.lasso) {
      pen.lineTo(...this.atScreen(x, y));
    }
    pen.closePath();
    pen.strokeStyle = this.accent;
    pen.lineWidth = 2;
    pen.stroke();
    pen.globalAlpha = 0.12;
    pen.fillStyle = this.accent;
    pen.fill();
    pen.globalAlpha = 1;
  }

  atScreen(x, y) {
    const { view } = this;
    return [(x - view.x) * view.scale + view.width / 2, (y - view.y) * view.scale + view.height / 2];
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => this.forget(event));
    canvas.addEventListener("pointerleave", () => this.hover(-1));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    this.selection.onChange(() => this.changed());
  }

  press(event) {
    if (event.button) {
      return; // not the first one: it opens the browser's menu
    }
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.travelled = this.pointers.size > 1 ? Infinity : 0; // two fingers are no click
    this.lasso = [];
    this.catching = this.pointers.size === 1 && (this.lassoing || event.shiftKey);
    this.later();
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.hover(event.pointerType === "mouse" ? this.at(event) : -1);
      return;
    }
    const now = [event.offsetX, event.offsetY];
    this.travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].find(([id]) => id !== event.pointerId).slice(1);
      const spread = (point) => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
      const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
      this.view = moved(this.view, (now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      this.view = zoomed(this.view, spread(now) / spread(before), ...middle);
    } else if (this.catching) {
      this.lasso.push(placeAt(this.view, ...now));
    } else if (this.pointers.size === 1) {
      this.view = moved(this.view, now[0] - before[0], now[1] - before[1]);
    }
    this.pointers.set(event.pointerId, now);
    this.later();
  }

  release(event) {
    if (!this.pointers.delete(event.pointerId)) {
      return;
    }
    if (this.travelled <= CLICK) {
      this.click(event);
    } else if (this.catching && this.lasso.length > 2) {
      this.choose(caught(this.lasso, this.data.x, this.data.y, this.active));
    }
    this.lasso = [];
    this.later();
  }

  forget(event) {
    this.pointers.delete(event.pointerId);
    this.lasso = [];
  }

  click(event) {
    const image = this.at(event);
    if (image < 0) {
      return;
    }
    if (event.ctrlKey || event.metaKey || event.shiftKey) {
      this.selection.toggle(image);
    } else {
      this.open(image);
    }
  }

  at({ offsetX, offsetY }, around = 14) {
    return imageAt(this.view, offsetX, offsetY, this.data.x, this.data.y, this.active, this.shown ?? [], around);
  }

  hover(image) {
    this.canvas.style.cursor = this.lassoing ? "crosshair" : image >= 0 ? "pointer" : "grab";
    if (image !== this.hovered) {
      this.hovered = image;
      this.later();
    }
  }

  wheel(event) {
    if (event.deltaY > 0 && this.view.scale <= this.view.least) {
      return; // all is seen: on down the page
    }
    event.preventDefault();
    const pixels = event.deltaMode ? event.deltaY * 24 : event.deltaY; // lines, of some mice
    this.view = zoomed(this.view, Math.exp(-Math.max(-120, Math.min(120, pixels)) / 300), event.offsetX, event.offsetY);
    this.later();
  }

  key(event) {
    const moves = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const middle = () => this.at({ offsetX: this.view.width / 2, offsetY: this.view.height / 2 }, 400);
    const actions = {
      "+": () => this.zoom(1.5),
      "=": () => this.zoom(1.5),
      "-": () => this.zoom(1 / 1.5),
      0: () => this.fit(),
      Enter: () => middle() >= 0 && this.open(middle()),
      " ": () => this.current >= 0 && this.selection.toggle(this.current),
    };
    if (event.key in moves) {
      this.view = moved(this.view, ...moves[event.key]);
      this.later();
    } else if (event.key in actions) {
      actions[event.key]();
    } else {
      return;
    }
    event.preventDefault();
  }
}

/** An order in which images that follow one another are of no kind in particular, those of the lists first. */
function spread(data) {
  const listed = new Set(data.listed);
  const rest = [];
  const step = 7919; // a prime, so that all are met
  for (let count = 0, image = 0; count < data.n; count += 1, image = (image + step) % data.n) {
    if (!listed.has(image)) {
      rest.push(image);
    }
  }
  return Int32Array.from(data.n % step ? [...listed, ...rest] : Array.from({ length: data.n }, (_, image) => image));
}
