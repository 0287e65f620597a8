// Paints a frame and its masks, both of the same result.

import { cssOf, rgbOf } from "./colours.js";
import { maskOf } from "./rle.js";

const INSIDE = 110;
const EDGE = 255;

export class Painter {
  // Three canvases of one size on the page: the picture, the masks, and their labels.
  constructor(pictureCanvas, overlayCanvas, labelCanvas) {
    this.pictureCanvas = pictureCanvas;
    this.overlayCanvas = overlayCanvas;
    this.labelCanvas = labelCanvas;
  }

  // objects: those of the result that are to be seen, with masks decoded.
  paint(bitmap, result, objects) {
    this.pictureCanvas.width = bitmap.width;
    this.pictureCanvas.height = bitmap.height;
    this.pictureCanvas.getContext("2d").drawImage(bitmap, 0, 0);
    for (const canvas of [this.overlayCanvas, this.labelCanvas]) {
      canvas.width = result.width;
      canvas.height = result.height;
    }
    this.overlayCanvas.getContext("2d").putImageData(overlayOf(result, objects), 0, 0);
    const labels = this.labelCanvas.getContext("2d");
    for (const object of objects) paintLabel(labels, result, object);
  }
}

export function decoded(object) {
  return { ...object, mask: maskOf(object.segmentation) };
}

// Where masks overlap, the later object is on top. An edge is opaque, so that it stays crisp.
export function overlayOf(result, objects) {
  const { width, height } = result;
  const image = new ImageData(width, height);
  for (const { obj_id: objectId, mask } of objects) {
    const [red, green, blue] = rgbOf(objectId);
    for (let place = 0; place < mask.length; place++) {
      if (!mask[place]) continue;
      const column = place % width;
      const isEdge =
        !mask[place - width] || !mask[place + width] ||
        column === 0 || !mask[place - 1] || column === width - 1 || !mask[place + 1];
      image.data.set([red, green, blue, isEdge ? EDGE : INSIDE], place * 4);
    }
  }
  return image;
}

function paintLabel(context, result, { obj_id: objectId, label, score, box_xywh: box }) {
  const size = Math.max(11, Math.round(result.height / 28));
  const text = [objectId, label, score === null ? "" : score.toFixed(2)].join(" ").trim();
  context.font = `${size}px system-ui, sans-serif`;
  const width = context.measureText(text).width + 8;
  const x = Math.max(0, Math.min(box[0] * result.width, result.width - width));
  const y = Math.max(0, box[1] * result.height - size - 6);
  context.fillStyle = cssOf(objectId);
  context.fillRect(x, y, width, size + 6);
  context.fillStyle = "#000";
  context.fillText(text, x + 4, y + size);
}
