// Follows one session over a WebSocket, and goes on behind the last result after every cut.

const RETRY_MS = [250, 500, 1000, 2000, 4000];

export class Follower {
  constructor(sessionId, cursor, handlers) {
    this.sessionId = sessionId;
    this.cursor = cursor;
    this.handlers = handlers;
    this.numFailures = 0;
    this.isOver = false;
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/v1/stream`);
    this.socket.onopen = () => {
      this.socket.send(JSON.stringify({
        action: "follow", session_id: this.sessionId, cursor: this.cursor, pictures: true,
      }));
    };
    this.socket.onmessage = (event) => this.take(JSON.parse(event.data));
    this.socket.onclose = () => this.retry();
  }

  take(message) {
    this.numFailures = 0;
    if (message.cursor !== null) this.cursor = message.cursor;
    if (message.kind === "end" || message.kind === "error") this.isOver = message.kind === "end";
    this.handlers[message.kind]?.(message.data);
    if (message.kind === "error") this.socket.close();
  }

  retry() {
    if (this.isOver) return;
    const wait = RETRY_MS[Math.min(this.numFailures++, RETRY_MS.length - 1)];
    this.handlers.cut?.();
    this.timer = setTimeout(() => this.connect(), wait);
  }

  stop() {
    this.isOver = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}
