// The lists below the map: readable without this script; with it, images open, are chosen, and lists become files.

import { download, toCsv } from "./selection.js";

/** Makes the images of the page's lists open, and the buttons beside the lists work. */
export function enliven(data, { open, selection }) {
  for (const list of document.querySelectorAll("[data-list]")) {
    const buttons = [...list.querySelectorAll("button[data-image]")];
    const images = [...new Set(buttons.map((button) => Number(button.dataset.image)))];
    const tools = list.querySelector(".tools");
    if (tools) {
      tools.hidden = false;
      tools.querySelector("[data-do=choose]").addEventListener("click", () => selection.add(images));
      tools.querySelector("[data-do=csv]").addEventListener("click", () => {
        download(`${list.dataset.list}.csv`, "text/csv", toCsv(data, images));
      });
    }
    for (const button of buttons) {
      button.addEventListener("click", (event) => {
        const image = Number(button.dataset.image);
        if (event.ctrlKey || event.metaKey || event.shiftKey) {
          selection.toggle(image);
        } else {
          open(image, { trail: { images, list, at: images.indexOf(image) } });
        }
      });
    }
    list.addEventListener("keydown", (event) => walk(event, buttons, selection));
  }
  selection.onChange(() => {
    for (const button of document.querySelectorAll("button[data-image]")) {
      const chosen = selection.has(Number(button.dataset.image));
      button.classList.toggle("chosen", chosen);
      button.setAttribute("aria-pressed", String(chosen));
    }
  });
}

/** Arrow keys go from image to image, and the space bar chooses one. */
function walk(event, buttons, selection) {
  const place = buttons.indexOf(document.activeElement);
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (place < 0 || (step === undefined && event.key !== " ")) {
    return;
  }
  event.preventDefault();
  if (step === undefined) {
    selection.toggle(Number(buttons[place].dataset.image));
  } else {
    buttons[Math.min(buttons.length - 1, Math.max(0, place + step))].focus();
  }
}
