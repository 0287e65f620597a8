// Pushes the frames of this device's camera into a session.

import { answerOf } from "./api.js";

const LONGEST_SIDE = 640;
const QUALITY = 0.85;

export async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error(
      "this browser gives cameras only to pages from https or from localhost; open the page there");
  }
  return navigator.mediaDevices.getUserMedia({ video: { width: LONGEST_SIDE }, audio: false });
}

// Sends frames one after another, as fast as they are taken, until the stream or the session ends.
export async function pushFrames(stream, sessionId) {
  const video = document.createElement("video");
  video.srcObject = stream;
  video.muted = true;
  await video.play();
  const canvas = document.createElement("canvas");
  const [track] = stream.getVideoTracks();
  while (track.readyState === "live") {
    const scale = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    const frame = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
    const time = (performance.now() / 1000).toFixed(6);
    await answerOf(await fetch(`/v1/sessions/${sessionId}/frames?pts_s=${time}`, {
      method: "POST", body: frame,
    }));
    await new Promise((done) => requestAnimationFrame(done));
  }
}
