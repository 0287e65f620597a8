// Shows the newest result whose picture has come; never masks of one frame on another.

import { picture } from "./api.js";
import { decoded, Painter } from "./painter.js";

export class Viewer {
  constructor(stage, onShown) {
    this.stage = stage;
    this.painter = new Painter(
      stage.querySelector("#picture"), stage.querySelector("#overlay"),
      stage.querySelector("#labels"));
    this.onShown = onShown;
    this.hidden = new Set();
    this.clear();
  }

  clear() {
    this.shown = null;
    this.next = null;
    this.isBusy = false;
    this.stage.querySelector("#waiting").hidden = false;
    delete this.stage.dataset.frame;
  }

  offer(sessionId, data) {
    this.next = { sessionId, data };
    if (!this.isBusy) this.showNext();
  }

  async showNext() {
    this.isBusy = true;
    while (this.next) {
      const { sessionId, data } = this.next;
      this.next = null;
      let bitmap = null;
      try {
        bitmap = await picture(sessionId, data.picture);
      } catch {
        // The service is away; the follower says so.
      }
      if (bitmap && !(this.next && this.next.sessionId !== sessionId)) this.show(bitmap, data);
    }
    this.isBusy = false;
  }

  show(bitmap, data) {
    const objects = data.result.objects.filter(
      (object) => !this.hidden.has(object.obj_id) && object.state !== "removed").map(decoded);
    this.painter.paint(bitmap, data.result, objects);
    this.shown = { ...data, objects };
    this.stage.querySelector("#waiting").hidden = true;
    this.stage.dataset.frame = data.frame_index;
    this.onShown(this.shown);
  }

  // The object at a place, normalised to the frame; the one on top of several.
  objectAt(x, y) {
    if (!this.shown) return null;
    const { width, height } = this.shown.result;
    const place = Math.min(height - 1, Math.floor(y * height)) * width +
      Math.min(width - 1, Math.floor(x * width));
    return [...this.shown.objects].reverse().find(({ mask }) => mask[place]) ?? null;
  }
}
