// The colour of an object: neighbours in number are far apart in hue.

const GOLDEN_ANGLE = 137.508;

export function hueOf(objectId) {
  return (objectId * GOLDEN_ANGLE + 20) % 360;
}

export function cssOf(objectId) {
  return `hsl(${hueOf(objectId).toFixed(0)} 85% 55%)`;
}

// Red, green and blue, 0 to 255 (CSS Color 4, HSL to sRGB).
export function rgbOf(objectId) {
  const hue = hueOf(objectId);
  const saturation = 0.85;
  const lightness = 0.55;
  const amplitude = saturation * Math.min(lightness, 1 - lightness);
  return [0, 8, 4].map((offset) => {
    const k = (offset + hue / 30) % 12;
    const value = lightness - amplitude * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(value * 255);
  });
}
