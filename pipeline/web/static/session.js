// One session: its prompts, and what undoing the last of them takes.

import { ask } from "./api.js";

const FIRST_OWN_ID = 1000;

export class Session {
  constructor(id) {
    this.id = id;
    this.chosen = null;
    this.prompts = []; // newest last
  }

  path(rest) {
    return `/sessions/${this.id}${rest}`;
  }

  async find(text) {
    const answer = await ask("POST", this.path("/prompts"), { frame_index: 0, text });
    this.prompts.push({ kind: "concept", promptId: answer.prompt_id });
    return answer;
  }

  // The object that clicks go to: the chosen one, or a new one.
  objectId() {
    if (this.chosen === null) {
      const own = this.prompts.filter(({ kind }) => kind === "object").map(({ objId }) => objId);
      this.chosen = Math.max(FIRST_OWN_ID - 1, ...own) + 1;
    }
    return this.chosen;
  }

  async draw(shown) {
    const prompt = { kind: "object", objId: this.objectId(), shown };
    await this.send(prompt, false);
    this.prompts.push(prompt);
  }

  send({ objId, shown }, replaces) {
    const body = { frame_index: 0, obj_id: objId, clear_old_points: replaces, ...shown };
    return ask("POST", this.path("/prompts"), body);
  }

  async remove(objId) {
    await ask("DELETE", this.path(`/objects/${objId}`));
    this.prompts = this.prompts.filter((prompt) => prompt.objId !== objId);
    if (this.chosen === objId) this.chosen = null;
  }

  // Takes the last prompt back. Of an object, what was drawn before is applied anew.
  async undo() {
    const last = this.prompts.pop();
    if (!last) return;
    if (last.kind === "concept") {
      await ask("DELETE", this.path(`/prompts/${last.promptId}`));
      return;
    }
    await ask("DELETE", this.path(`/objects/${last.objId}`));
    const earlier = this.prompts.filter(({ objId }) => objId === last.objId);
    for (const [number, prompt] of earlier.entries()) await this.send(prompt, number === 0);
  }
}
