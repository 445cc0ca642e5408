// The images that a reader has chosen, and the files that they become.

/** A set of images that tells whoever listens when it changes. */
export class Selection {
  constructor() {
    this.images = new Set();
    this.listeners = [];
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  has(image) {
    return this.images.has(image);
  }

  toggle(image) {
    if (!this.images.delete(image)) {
      this.images.add(image);
    }
    this.tell();
  }

  add(images) {
    for (const image of images) {
      this.images.add(image);
    }
    this.tell();
  }

  clear() {
    this.images.clear();
    this.tell();
  }

  tell() {
    for (const listener of this.listeners) {
      listener(this);
    }
  }
}

/** A table of images as CSV (RFC 4180): rank, name, split, label, what the classifier takes it for, how probable. */
export function toCsv(data, images) {
  const rows = images.map((image, rank) => {
    const label = data.label[image];
    const [guess, second] = [0, 1].map((place) => data.classes[data.classesOf[image * data.top + place]] ?? "");
    const chance = (data.chances[image * data.top] / 255).toFixed(2);
    return [rank + 1, data.names[image], SPLITS[data.split[image]], label < 0 ? "" : data.classes[label], guess, chance, second];
  });
  const heads = ["rank", "image", "split", "label", "guess", "probability", "second"];
  return [heads, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Tasks in Label Studio's basic format: files by their path below the images' folder, others as pictures. */
export function toTasks(data, images, pictureOf) {
  const tasks = images.map((image) => {
    const address = data.files ? `/data/local-files/?d=${encoded(data, image)}` : pictureOf(image);
    const choice = { from_name: "class", to_name: "image", type: "choices" };
    const guess = data.classes[data.classesOf[image * data.top]];
    const result = [{ ...choice, value: { choices: [guess] } }];
    const score = Math.round((data.chances[image * data.top] / 255) * 100) / 100;
    return { data: { image: address, name: data.names[image] }, predictions: [{ model_version: data.way, score, result }] };
  });
  return JSON.stringify(tasks, null, 1);
}

/** An image's path below the folder of images as an address has it. */
export function encoded(data, image) {
  return data.odd[image] ?? data.names[image].split("/").map(encodeURIComponent).join("/");
}

/** Hands a text over as a file. */
export function download(name, kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const SPLITS = ["labeled", "unlabeled", "test"];

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
