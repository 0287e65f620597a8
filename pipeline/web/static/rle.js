// COCO's compressed run-length codes: runs of 0 and 1 in turns, column by column.

export function runsOf(counts) {
  const runs = [];
  let place = 0;
  while (place < counts.length) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const bits = counts.charCodeAt(place++) - 48;
      value |= (bits & 0x1f) << shift;
      more = (bits & 0x20) !== 0;
      shift += 5;
      if (!more && bits & 0x10) value |= -1 << shift;
    }
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

// A mask as bytes, 0 or 1, row by row; size is [height, width].
export function maskOf({ size, counts }) {
  const [height, width] = size;
  const mask = new Uint8Array(height * width);
  let start = 0;
  let inside = false;
  for (const length of runsOf(counts)) {
    if (inside) {
      for (let place = start; place < start + length; place++) {
        const column = Math.floor(place / height);
        mask[(place - column * height) * width + column] = 1;
      }
    }
    start += length;
    inside = !inside;
  }
  return mask;
}
