// One image: large, what it is taken for with and without the unlabeled images, and what lies near.

import { classOf } from "./colours.js";
import { picture } from "./data.js";
import { encoded } from "./selection.js";

const MOST = 5; // classes of which probabilities are shown
const LARGE = 224; // pixels

/** Writes what is known of images into an element. */
export class Detail {
  constructor(element, data, { open, selection }) {
    Object.assign(this, { element, data, open, selection });
    this.image = -1;
    selection.onChange(() => this.mark());
  }

  /** Shows an image; with a `trail`, buttons that lead to the list's other images, and back to it. */
  show(image, trail = null) {
    this.image = image;
    const parts = [
      trail && this.along(trail),
      this.head(image),
      ...this.sentences(image),
      this.pictures(image),
      this.probabilities(image),
      this.near(image, "labeled"),
      this.near(image, "unlabeled"),
    ];
    this.element.replaceChildren(...parts.filter(Boolean));
    this.element.scrollTop = 0;
    this.mark();
  }

  along(trail) {
    const { words } = this.data;
    const row = made("p", "", "trail");
    const goTo = (at) => this.open(trail.images[at], { trail: { ...trail, at } });
    const back = () => {
      const button = trail.list.querySelector(`button[data-image="${trail.images[trail.at]}"]`);
      button.scrollIntoView({ block: "center" });
      button.focus({ preventScroll: true });
    };
    const steps = [
      [words.previous, () => goTo(trail.at - 1), trail.at > 0],
      [words.next, () => goTo(trail.at + 1), trail.at + 1 < trail.images.length],
      [words.back, back, true],
    ];
    for (const [text, act, possible] of steps) {
      const button = made("button", text);
      button.type = "button";
      button.disabled = !possible;
      button.addEventListener("click", act);
      row.append(button);
    }
    return row;
  }

  head(image) {
    const { data } = this;
    const head = made("header");
    const name = made("h2", data.names[image].split("/").at(-1));
    name.title = data.names[image];
    name.tabIndex = -1; // where the keyboard goes on when an image is opened
    const line = made("p", data.names[image], "name");
    if (data.base !== null) {
      const link = made("a", data.names[image]);
      link.href = `${data.base}${encoded(data, image)}`;
      link.target = "_blank";
      line.replaceChildren(link);
    }
    this.chooser = made("button", "", "choose");
    this.chooser.type = "button";
    this.chooser.addEventListener("click", () => this.selection.toggle(image));
    head.append(name, line, this.chooser);
    return head;
  }

  /** Says what the image is taken for, whether that is right, and why. */
  sentences(image) {
    const { data } = this;
    const { words } = data;
    const guess = data.classesOf[image * data.top];
    const [label, before] = [data.label[image], data.baseline ? data.classesWithout[image * data.top] : -1];
    const lines = [made("p", filled(words.taken, { guess: this.named(guess), chance: this.percent(data.chances, image, 0) }), "taken")];
    if (label >= 0) {
      const text = label === guess ? words.asLabeled : words.notAsLabeled;
      lines.push(made("p", filled(text, { label: this.named(label) }), label === guess ? "right" : "wrong"));
    }
    if (before >= 0 && before !== guess) {
      lines.push(made("p", filled(words.otherwise, { guess: this.named(before), chance: this.percent(data.chancesWithout, image, 0) })));
    }
    const near = this.neighbours(image, "labeled");
    if (near.length) {
      const same = near.filter((one) => data.label[one] === guess).length;
      lines.push(made("p", filled(words.why, { same, near: near.length, guess: this.named(guess) })));
    }
    if (data.pseudo[image] >= 0) {
      const text = data.used[image] ? words.pseudoUsed : words.pseudoLeftOut;
      lines.push(made("p", filled(text, { guess: this.named(data.pseudo[image]), teller: data.teller })));
    }
    const far = Math.round((100 * data.foreign[image]) / 255);
    lines.push(made("p", filled(words.foreignness, { share: far }), "quiet"));
    return lines;
  }

  pictures(image) {
    const { data } = this;
    const row = made("div", "", "large");
    row.append(framed(enlarged(picture(data, image)), `${data.splits[data.split[image]]}`));
    if (data.rebuiltAt.has(image)) {
      row.append(framed(enlarged(picture(data, image, true)), data.words.rebuilt));
    }
    return row;
  }

  probabilities(image) {
    const { data } = this;
    const table = made("table", "", "chances");
    const heads = [data.words.class, data.way, ...(data.baseline ? [data.baseline] : [])];
    const head = made("tr");
    head.append(...heads.map((text) => made("th", text)));
    const [now, before] = [
      this.chances(image, "classesOf", "chances"),
      data.baseline ? this.chances(image, "classesWithout", "chancesWithout") : new Map(),
    ];
    const most = (number) => Math.max(now.get(number) ?? 0, before.get(number) ?? 0);
    const classes = [...new Set([...now.keys(), ...before.keys()])].sort((one, other) => most(other) - most(one)).slice(0, MOST);
    const rows = classes.map((number) => {
      const row = made("tr", "", number === data.label[image] ? "given" : "");
      row.append(made("th", this.named(number)), bar(now.get(number)), ...(data.baseline ? [bar(before.get(number))] : []));
      return row;
    });
    table.append(head, ...rows);
    return table;
  }

  chances(image, classes, chances) {
    const { data } = this;
    const start = image * data.top;
    const places = Array.from({ length: data.top }, (_, place) => place);
    return new Map(places.map((place) => [data[classes][start + place], data[chances][start + place] / 255]));
  }

  /** The nearest images of a split, as buttons. */
  near(image, split) {
    const images = this.neighbours(image, split);
    if (!images.length) {
      return null;
    }
    const section = made("section");
    const list = made("ul", "", "strip");
    list.append(...images.map((one) => this.button(one)));
    section.append(made("h3", split === "labeled" ? this.data.words.nearLabeled : this.data.words.nearUnlabeled), list);
    return section;
  }

  button(image) {
    const { data } = this;
    const item = made("li");
    const button = made("button", "", "image");
    button.type = "button";
    button.append(picture(data, image), made("span", this.named(classOf(data, image))));
    button.addEventListener("click", () => this.open(image));
    item.append(button);
    return item;
  }

  neighbours(image, split) {
    const { data } = this;
    const [all, each] = split === "labeled" ? [data.nearLabeled, data.nearLabeledEach] : [data.nearUnlabeled, data.nearUnlabeledEach];
    return [...all.subarray(image * each, (image + 1) * each)];
  }

  named(number) {
    return this.data.classes[number];
  }

  percent(chances, image, place) {
    return `${Math.round((100 * chances[image * this.data.top + place]) / 255)} %`;
  }

  mark() {
    if (this.chooser) {
      const chosen = this.selection.has(this.image);
      this.chooser.textContent = chosen ? this.data.words.chosen : this.data.words.choose;
      this.chooser.setAttribute("aria-pressed", String(chosen));
    }
  }
}

/** A text with its placeholders filled. */
export function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** An element with a text and a class. */
export function made(tag, text = "", kind = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) {
    element.className = kind;
  }
  return element;
}

function bar(share) {
  const cell = made("td");
  if (share === undefined) {
    cell.textContent = "–";
    return cell;
  }
  const line = made("span", "", "bar");
  line.style.setProperty("--share", share);
  cell.append(line, `${Math.round(100 * share)} %`);
  return cell;
}

function framed(content, text) {
  const figure = made("figure");
  figure.append(content, made("figcaption", text));
  return figure;
}

function enlarged(canvas) {
  const scale = LARGE / Math.max(canvas.width, canvas.height);
  canvas.style.width = `${canvas.width * scale}px`;
  return canvas;
}
