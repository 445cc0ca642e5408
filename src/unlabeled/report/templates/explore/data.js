// What the page carries: numbers of all images in a compressed block, their pixels in sheets of tiles.

const KINDS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i2: Int16Array };

/** Reads all there is. Sheets come as ImageBitmap, a few megapixels each, decoded beside the script. */
export async function readData() {
  const facts = JSON.parse(new TextDecoder().decode(await inflate(textOf("facts"))));
  const block = await inflate(textOf("arrays"));
  const data = { ...facts, ...unpack(facts.arrays, block) };
  const read = (name) => Promise.all([...document.querySelectorAll(`script.${name}`)].map(readSheet));
  [data.sheets, data.rebuiltSheets] = await Promise.all([read("sheet"), read("rebuilt")]);
  return data;
}

/** Cuts named arrays out of one block of bytes; each begins at a multiple of four. */
export function unpack(arrays, block) {
  const found = {};
  let start = 0;
  for (const { name, kind, length } of arrays) {
    const Kind = KINDS[kind];
    found[name] = new Kind(block.buffer, block.byteOffset + start, length);
    start += Math.ceil((length * Kind.BYTES_PER_ELEMENT) / 4) * 4;
  }
  return found;
}

/** The sheet of a number's tile, and where it lies there. */
export function tileOf(tiles, number) {
  const each = tiles.columns * tiles.rows;
  const rest = number % each;
  return {
    sheet: Math.floor(number / each),
    x: (rest % tiles.columns) * tiles.width,
    y: Math.floor(rest / tiles.columns) * tiles.height,
  };
}

/** Draws an image of the page, or what the autoencoder makes of it, on a canvas of a tile's size. */
export function picture(data, image, rebuilt = false) {
  const { width, height } = data.tiles;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const number = rebuilt ? data.rebuiltAt.get(image) : image;
  const tile = tileOf(data.tiles, number);
  const sheet = (rebuilt ? data.rebuiltSheets : data.sheets)[tile.sheet];
  canvas.getContext("2d").drawImage(sheet, tile.x, tile.y, width, height, 0, 0, width, height);
  return canvas;
}

function readSheet(element) {
  return createImageBitmap(new Blob([bytesOf(element.textContent)], { type: "image/webp" }));
}

function textOf(id) {
  return document.getElementById(id).textContent;
}

async function inflate(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function bytesOf(text) {
  if (Uint8Array.fromBase64) {
    return Uint8Array.fromBase64(text.trim());
  }
  const letters = atob(text.trim());
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place += 1) {
    bytes[place] = letters.charCodeAt(place);
  }
  return bytes;
}
