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

  /** Shows an image; `trail` is the list that it is one of, whose other images it leads on to. */
  function open(image, { trail = null } = {}) {
    map.show(image);
    detail.show(image, trail);
    const head = document.querySelector("#detail h2");
    if (matchMedia("(max-width: 52rem)").matches) {
      // One below the other, as on a phone.
      (trail ? document.getElementById("detail") : head).scrollIntoView({ block: trail ? "start" : "nearest" });
    } else if (trail) {
      document.getElementById("explorer").scrollIntoView({ block: "start" });
    }
    if (document.activeElement !== document.getElementById("map")) {
      head.focus({ preventScroll: true });
    }
  }

  enliven(data, { open, selection });
  wireTools(map);
  wireColours(data, map, selection);
  wireSelection(data, selection);
  const first = Number(document.querySelector("button[data-image]")?.dataset.image ?? 0);
  map.show(first); // so that a reader sees what there is to see
  detail.show(first);
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
function wireColours(data, map, selection) {
  const [choice, legend, search, found] = ["colour", "legend", "search", "found"].map((id) => document.getElementById(id));
  let [current, hidden, wanted] = [null, new Set(), null];

  function apply() {
    map.colour(current, hidden, wanted);
  }

  function look() {
    const text = search.value.trim().toLowerCase();
    wanted = text ? new Set(data.names.flatMap((name, image) => (name.toLowerCase().includes(text) ? [image] : []))) : null;
    found.hidden = wanted === null;
    const count = (wanted?.size ?? 0).toLocaleString(document.documentElement.lang);
    found.querySelector("output").textContent = filled(data.words.found, { n: count });
    apply();
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
  search.addEventListener("input", look);
  found.querySelector("button").addEventListener("click", () => selection.add(wanted));
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
