// Puts the page together when it is read.

import { colouring } from "./colours.js";
import { picture, readData } from "./data.js";
import { Detail, filled, made } from "./detail.js";
import { enliven } from "./lists.js";
import { ImageMap } from "./map.js";
import { download, Selection, toCsv, toTasks } from "./selection.js";

const LARGEST_PLACE = 65535;

try {
  await start();
} catch (error) {
  document.getElementById("failed").hidden = false; // the lists are there all the same
  throw error;
}

async function start() {
  const data = await readData();
  data.x = Float32Array.from(data.x, (value) => value / LARGEST_PLACE);
  data.y = Float32Array.from(data.y, (value) => value / LARGEST_PLACE);
  data.rebuiltAt = new Map(Array.from(data.rebuilt, (image, number) => [image, number]));
  const selection = new Selection();
  const detail = new Detail(document.getElementById("detail"), data, { open, selection });
  const map = new ImageMap(document.getElementById("map"), data, { open, choose: (images) => selection.add(images), selection });

  function open(image, { far = false } = {}) {
    map.show(image);
    detail.show(image);
    if (far) {
      document.getElementById("explorer").scrollIntoView({ block: "start" });
    }
  }

  enliven(data, { open, selection });
  wireTools(map);
  wireColours(data, map);
  wireSelection(data, selection);
  detail.show(Number(document.querySelector("button[data-image]")?.dataset.image ?? 0)); // so that a reader sees what there is to see
  document.documentElement.classList.add("ready");
}

function wireTools(map) {
  const buttons = { in: () => map.zoom(1.6), out: () => map.zoom(1 / 1.6), fit: () => map.fit() };
  for (const [name, act] of Object.entries(buttons)) {
    document.querySelector(`[data-map=${name}]`).addEventListener("click", act);
  }
  const lasso = document.querySelector("[data-map=lasso]");
  lasso.addEventListener("click", () => {
    map.lassoing = !map.lassoing;
    lasso.setAttribute("aria-pressed", String(map.lassoing));
  });
}

/** The choice of colours, the legend whose entries hide a kind, and the search for a name. */
function wireColours(data, map) {
  const [choice, legend, search] = ["colour", "legend", "search"].map((id) => document.getElementById(id));
  let [current, hidden] = [null, new Set()];

  function wanted() {
    const text = search.value.trim().toLowerCase();
    return text ? new Set(data.names.flatMap((name, image) => (name.toLowerCase().includes(text) ? [image] : []))) : null;
  }

  function apply() {
    map.colour(current, hidden, wanted());
  }

  function entry({ number, name, colour, count }) {
    const item = made("li");
    const button = made("button", "", "kind");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const swatch = made("span", "", "swatch");
    swatch.style.background = colour;
    button.append(swatch, name, made("span", count.toLocaleString(document.documentElement.lang), "count"));
    button.addEventListener("click", () => {
      if (!hidden.delete(number)) {
        hidden.add(number);
      }
      button.setAttribute("aria-pressed", String(!hidden.has(number)));
      apply();
    });
    item.append(button);
    return item;
  }

  function choose() {
    current = colouring(choice.value, data);
    hidden = new Set();
    legend.replaceChildren(...current.legend.map(entry));
    apply();
  }

  choice.addEventListener("change", choose);
  search.addEventListener("input", apply);
  choose();
}

function wireSelection(data, selection) {
  const bar = document.getElementById("selection");
  const address = (image) => picture(data, image).toDataURL("image/png");
  const actions = {
    csv: () => download("selection.csv", "text/csv", toCsv(data, [...selection.images])),
    tasks: () => download("label-studio.json", "application/json", toTasks(data, [...selection.images], address)),
    clear: () => selection.clear(),
  };
  for (const [name, act] of Object.entries(actions)) {
    bar.querySelector(`[data-do=${name}]`).addEventListener("click", act);
  }
  selection.onChange(() => {
    bar.hidden = !selection.images.size;
    bar.querySelector("output").textContent = filled(data.words.count, { n: selection.images.size.toLocaleString(document.documentElement.lang) });
  });
}
