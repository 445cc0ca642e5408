// What the colours of the map stand for: kinds with a colour each, or a scale.

// Told apart by most eyes, on light and on dark ground.
const KINDS = ["#3f7fd1", "#e0812b", "#2f9e6e", "#c9517f", "#8e6bd0", "#b2902a", "#1fa3b8", "#d1543f", "#7c8a2f", "#8a8f98"];
const NOTHING = "#9a9fa8";
// From dark blue to yellow, of even steps in lightness.
const SCALE = ["#2b2a77", "#3d4f9f", "#3c7aa8", "#3fa19a", "#6cc07d", "#b3d65a", "#f2e24a"];
const RIGHTNESS = { right: "#2f9e6e", turned: "#3f7fd1", lost: "#e0812b", wrong: "#d1543f" };

export const MODES = ["class", "probability", "split", "right", "foreign"];

/**
 * How to colour the images: a kind for each, the kinds' colours and names, and whether they are steps of a scale.
 * Of the labeled and test images the class is the label, of others what the classifier takes them for.
 */
export function colouring(mode, data) {
  const { words } = data;
  if (mode === "split") {
    return kinds(data.n, (image) => data.split[image], data.splits, KINDS);
  }
  if (mode === "probability") {
    return scaled(data.n, (image) => data.chances[image * data.top] / 255, words);
  }
  if (mode === "foreign") {
    return scaled(data.n, (image) => data.foreign[image] / 255, words);
  }
  if (mode === "right") {
    const colours = [RIGHTNESS.right, RIGHTNESS.turned, RIGHTNESS.lost, RIGHTNESS.wrong, NOTHING];
    const names = data.baseline
      ? [words.bothRight, words.toRight, words.toWrong, words.bothWrong, words.noLabel]
      : [words.right, "", "", words.wrong, words.noLabel];
    return kinds(data.n, (image) => rightness(data, image), names, colours);
  }
  const colours = data.classes.map((_, number) => classColour(number, data.classes.length));
  return kinds(data.n, (image) => classOf(data, image), data.classes, colours);
}

/** The label of an image, or what the classifier takes it for where it has none. */
export function classOf(data, image) {
  return data.label[image] >= 0 ? data.label[image] : data.classesOf[image * data.top];
}

/** 0 right, 1 right by the unlabeled images alone, 2 wrong by them, 3 wrong; 4 without a label. */
function rightness(data, image) {
  const label = data.label[image];
  if (label < 0) {
    return 4;
  }
  const now = data.classesOf[image * data.top] === label;
  const before = data.baseline ? data.classesWithout[image * data.top] === label : now;
  return now ? (before ? 0 : 1) : before ? 2 : 3;
}

export function classColour(number, count) {
  if (count <= KINDS.length) {
    return KINDS[number];
  }
  // Neighbours far apart in hue, every other one darker.
  return `hsl(${((number * 137.508) % 360).toFixed(1)} 60% ${number % 2 ? 42 : 58}%)`;
}

function kinds(n, kindOf, names, colours) {
  const kind = Uint16Array.from({ length: n }, (_, image) => kindOf(image));
  const counts = new Array(names.length).fill(0);
  for (const one of kind) {
    counts[one] += 1;
  }
  const legend = names
    .map((name, number) => ({ number, name, colour: colours[number], count: counts[number] }))
    .filter(({ name, count }) => name && count);
  return { kind, colours, legend, steps: false };
}

function scaled(n, shareOf, words) {
  const last = SCALE.length - 1;
  const kind = Uint16Array.from({ length: n }, (_, image) => Math.min(last, Math.floor(shareOf(image) * SCALE.length)));
  const counts = new Array(SCALE.length).fill(0);
  for (const one of kind) {
    counts[one] += 1;
  }
  const percent = (step) => Math.round((100 * step) / SCALE.length);
  const legend = SCALE.map((colour, number) => ({
    number,
    colour,
    count: counts[number],
    name: words.range.replace("{low}", percent(number)).replace("{high}", percent(number + 1)),
  })).filter(({ count }) => count);
  return { kind, colours: SCALE, legend, steps: true };
}
