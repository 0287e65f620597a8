// Clicks and boxes on the picture, in coordinates of the frame, 0 to 1.

const LEAST_BOX = 0.02;

export function listenTo(canvas, { onClick, onBox }) {
  let start = null;
  const placeOf = (event) => {
    const area = canvas.getBoundingClientRect();
    const inside = (value) => Math.max(0, Math.min(1, value));
    return [
      inside((event.clientX - area.left) / area.width),
      inside((event.clientY - area.top) / area.height),
    ];
  };
  canvas.addEventListener("pointerdown", (event) => {
    start = placeOf(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointercancel", () => { start = null; });
  canvas.addEventListener("pointerup", (event) => {
    if (!start) return;
    const end = placeOf(event);
    const [x, y] = [Math.min(start[0], end[0]), Math.min(start[1], end[1])];
    const [width, height] = [Math.abs(end[0] - start[0]), Math.abs(end[1] - start[1])];
    start = null;
    if (width > LEAST_BOX && height > LEAST_BOX) onBox([x, y, width, height]);
    else onClick(end, event.shiftKey ? 0 : 1);
  });
}
