// Makes a picture of a page small: a PNG of a browser (8 bits, RGB or RGBA) becomes one with a palette
// of at most 256 colours, in place.
//
//   node tests/node/palette.mjs FILE.png

import { readFileSync, writeFileSync } from "node:fs";
import { deflateSync, inflateSync } from "node:zlib";

const file = process.argv[2];
const png = readFileSync(file);
const header = {};
const data = [];
for (let at = 8; at < png.length;) {
  const length = png.readUInt32BE(at);
  const kind = png.toString("latin1", at + 4, at + 8);
  const body = png.subarray(at + 8, at + 8 + length);
  if (kind === "IHDR") {
    Object.assign(header, { width: body.readUInt32BE(0), height: body.readUInt32BE(4), type: body[9] });
    if (body[8] !== 8 || ![2, 6].includes(body[9]) || body[12] !== 0) throw new Error("another kind of PNG");
  }
  if (kind === "IDAT") data.push(body);
  at += 12 + length;
}

// Filters of lines (PNG specification, section 9).
const { width, height } = header;
const size = header.type === 6 ? 4 : 3;
const raw = inflateSync(Buffer.concat(data));
const pixels = Buffer.alloc(width * height * size);
const row = width * size;
for (let y = 0; y < height; y++) {
  const filter = raw[y * (row + 1)];
  for (let x = 0; x < row; x++) {
    const at = y * row + x;
    const left = x >= size ? pixels[at - size] : 0;
    const up = y > 0 ? pixels[at - row] : 0;
    const corner = x >= size && y > 0 ? pixels[at - row - size] : 0;
    const guess = left + up - corner;
    const [a, b, c] = [left, up, corner].map((value) => Math.abs(guess - value));
    const paeth = a <= b && a <= c ? left : b <= c ? up : corner;
    const add = [0, left, up, (left + up) >> 1, paeth][filter];
    pixels[at] = raw[y * (row + 1) + 1 + x] + add;
  }
}

// Fewer and fewer shades of each colour, until the palette holds them.
const shade = (value, step) => Math.min(255, Math.round(value / step) * step);
for (const step of [1, 4, 8, 16, 24, 32, 51]) {
  const palette = new Map();
  const lines = Buffer.alloc(height * (width + 1));
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = [0, 1, 2].map((channel) => shade(pixels[i * size + channel], step));
    const colour = (r << 16) | (g << 8) | b;
    if (!palette.has(colour)) palette.set(colour, palette.size);
    lines[Math.floor(i / width) * (width + 1) + 1 + (i % width)] = palette.get(colour);
  }
  if (palette.size > 256) continue;
  const ihdr = Buffer.alloc(13);
  ihdr.writeUInt32BE(width, 0);
  ihdr.writeUInt32BE(height, 4);
  ihdr.set([8, 3, 0, 0, 0], 8);
  const colours = [...palette.keys()].flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]);
  writeFileSync(file, Buffer.concat([
    png.subarray(0, 8), chunk("IHDR", ihdr), chunk("PLTE", Buffer.from(colours)),
    chunk("IDAT", deflateSync(lines, { level: 9 })), chunk("IEND", Buffer.alloc(0)),
  ]));
  break;
}

function chunk(kind, body) {
  const whole = Buffer.concat([Buffer.alloc(4), Buffer.from(kind, "latin1"), body, Buffer.alloc(4)]);
  whole.writeUInt32BE(body.length, 0);
  let crc = ~0;
  for (const byte of whole.subarray(4, -4)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  whole.writeUInt32BE(~crc >>> 0, whole.length - 4);
  return whole;
}
