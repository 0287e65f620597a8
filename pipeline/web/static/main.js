// The page: brings sources, sessions, the viewer and prompts together.

import { ask, upload } from "./api.js";
import { openCamera, pushFrames } from "./camera.js";
import { cssOf } from "./colours.js";
import { Follower } from "./follower.js";
import { listenTo } from "./pointer.js";
import { Session } from "./session.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const LIST_EVERY_MS = 3000;

const page = { me: null, session: null, follower: null, stream: null };
const viewer = new Viewer($("stage"), showObjects);
window.maskstream = { page, viewer }; // for tests, and for who looks in from the console

function say(message) {
  $("message").textContent = message;
}

// Runs what a button does; an error is said in the service's words.
async function attempt(action) {
  try {
    say("");
    await action();
  } catch (error) {
    if (error.status === 401) showLogin();
    else say(error.message);
  }
}

function showLogin() {
  $("work").hidden = true;
  $("login").hidden = false;
  $("token").focus();
}

async function begin() {
  page.me = await ask("GET", "/me");
  $("caller").textContent = page.me.needs_login ? `as ${page.me.owner}` : "";
  $("logout").hidden = !page.me.needs_login;
  $("upload").hidden = !page.me.takes_uploads;
  $("login").hidden = true;
  $("work").hidden = false;
  await listSessions();
  const wanted = new URLSearchParams(location.hash.slice(1)).get("session");
  if (wanted) await follow(wanted);
}

async function listSessions() {
  const { sessions } = await ask("GET", "/sessions");
  const items = sessions.map((session) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = `${nameOf(session.source)} · ${session.state}`;
    button.setAttribute("aria-pressed", String(session.session_id === page.session?.id));
    button.onclick = () => attempt(() => follow(session.session_id));
    const item = document.createElement("li");
    item.append(button);
    return item;
  });
  $("sessions").replaceChildren(...items);
}

function nameOf(source) {
  return source === "pushed://" ? "camera" : source.split("/").pop().replace(/^[0-9a-f]{16}-/, "");
}

async function start(resourcePath, options = {}) {
  const isFile = !resourcePath.includes("://") && !resourcePath.startsWith("/dev/");
  const body = { resource_path: resourcePath, latency: "live", ...options };
  if (isFile) Object.assign(body, { autostart: true, loop: $("loop").checked });
  const { session_id: id } = await ask("POST", "/sessions", body);
  await follow(id);
  await listSessions();
  return id;
}

async function follow(id) {
  leave();
  const state = await ask("GET", `/sessions/${id}`);
  page.session = new Session(id);
  location.hash = `session=${id}`;
  $("view").hidden = false;
  $("view-title").textContent = nameOf(state.source);
  showFigures(state);
  // A little before the newest result, so that there is something to see at once.
  page.follower = new Follower(id, Math.max(0, state.cursor - 1), {
    frame: (data) => viewer.offer(id, data),
    session: showFigures,
    missed: (data) => say(`${data.num_missed} results were dropped before they were read`),
    end: () => say("this session has ended"),
    error: (data) => say(data.message),
    cut: () => say("the connection was cut; trying again"),
  });
}

function leave() {
  page.follower?.stop();
  page.stream?.getTracks().forEach((track) => track.stop());
  Object.assign(page, { session: null, follower: null, stream: null });
  viewer.clear();
  $("objects").tBodies[0].replaceChildren();
  $("view").hidden = true;
}

function showFigures(state) {
  const dropped = Object.values(state.frames.dropped).reduce((sum, count) => sum + count, 0);
  const figures = {
    state: state.is_served === false && state.state !== "ended" ? "waiting for a runtime"
      : state.state,
    "frames a second": state.stats.fps?.toFixed?.(1) ?? "–",
    processed: state.frames.processed,
    dropped,
    restarts: state.stats.num_restarts ?? 0,
  };
  $("figures").replaceChildren(...Object.entries(figures).map(([name, value]) => {
    const pair = document.createElement("div");
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    pair.append(term, text);
    return pair;
  }));
  const isPaused = state.state === "paused";
  $("pause").textContent = isPaused ? "Go on" : "Pause";
  $("pause").setAttribute("aria-pressed", String(isPaused));
}

function showObjects({ result }) {
  const rows = result.objects.map((object) => {
    const row = document.createElement("tr");
    const chosen = page.session?.chosen === object.obj_id;
    row.setAttribute("aria-selected", String(chosen));
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = cssOf(object.obj_id);
    const id = row.insertCell();
    id.append(swatch, object.obj_id);
    row.insertCell().textContent = object.label;
    row.insertCell().textContent = object.score === null ? "–" : object.score.toFixed(2);
    row.insertCell().textContent = object.state;
    row.insertCell().textContent = `from ${object.first_frame}`;
    row.insertCell().append(
      small("Choose", chosen, () => choose(chosen ? null : object.obj_id)),
      small("Remove", false, () => attempt(() => page.session.remove(object.obj_id))),
    );
    return row;
  });
  $("objects").tBodies[0].replaceChildren(...rows);
  $("undo").disabled = !page.session?.prompts.length;
}

function small(text, isPressed, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  button.textContent = text;
  button.setAttribute("aria-pressed", String(isPressed));
  button.onclick = action;
  return button;
}

function choose(objectId) {
  if (page.session) page.session.chosen = objectId;
}

$("login").onsubmit = (event) => {
  event.preventDefault();
  attempt(async () => {
    await ask("POST", "/login", { token: $("token").value });
    $("token").value = "";
    await begin();
  });
};
$("logout").onclick = () => attempt(async () => {
  leave();
  await ask("POST", "/logout");
  showLogin();
});
$("open").onsubmit = (event) => {
  event.preventDefault();
  attempt(() => start($("address").value.trim()));
};
$("file").onchange = () => attempt(async () => {
  const [file] = $("file").files;
  if (!file) return;
  const progress = $("upload-progress");
  progress.hidden = false;
  try {
    await start(await upload(file, (part) => { progress.value = part; }));
  } finally {
    progress.hidden = true;
    $("file").value = "";
  }
});
$("camera").onclick = () => attempt(async () => {
  const stream = await openCamera();
  const id = await start("pushed://");
  page.stream = stream;
  pushFrames(stream, id).catch((error) => say(error.message));
});
$("concept").onsubmit = (event) => {
  event.preventDefault();
  attempt(async () => {
    await page.session.find($("words").value.trim());
    $("words").value = "";
  });
};
$("pause").onclick = () => attempt(() => {
  const isPaused = $("pause").getAttribute("aria-pressed") === "true";
  return ask("POST", page.session.path(isPaused ? "/resume" : "/pause"));
});
$("undo").onclick = () => attempt(() => page.session.undo());
$("reset").onclick = () => attempt(async () => {
  await ask("POST", page.session.path("/reset"));
  Object.assign(page.session, { prompts: [], chosen: null });
});
$("close").onclick = () => attempt(async () => {
  const id = page.session.id;
  leave();
  location.hash = "";
  await ask("DELETE", `/sessions/${id}`);
  await listSessions();
});
listenTo($("overlay"), {
  onClick: ([x, y], label) => attempt(async () => {
    const found = viewer.objectAt(x, y);
    if (page.session.chosen === null && label === 1 && found && found.obj_id >= 1000) {
      choose(found.obj_id);
    }
    await page.session.draw({ points: [[x, y]], point_labels: [label] });
  }),
  onBox: (box) => attempt(() => page.session.draw({ bounding_boxes: [box] })),
});
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input") || !page.session) return;
  if (event.key === " ") { event.preventDefault(); $("pause").click(); }
  if (event.key === "Escape") choose(null);
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) $("undo").click();
});
setInterval(() => {
  if (page.me && !$("work").hidden) listSessions().catch(() => {});
}, LIST_EVERY_MS);

attempt(begin);
