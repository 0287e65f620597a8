// Requests to the service. Each answer is JSON; an error has the service's own words.

export class ServiceError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.type = error.type;
  }
}

export async function ask(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["content-type"] = "application/json";
  }
  return answerOf(await fetch(`/v1${path}`, options));
}

export async function answerOf(response) {
  const text = await response.text();
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new ServiceError(response.status, { message: `the service answers ${response.status}` });
  }
  if (!response.ok) throw new ServiceError(response.status, answer.error);
  return answer;
}

// fetch tells nothing about how far an upload has come; XMLHttpRequest does.
export function upload(file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", `/v1/uploads/${encodeURIComponent(file.name)}`);
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Error("the upload was cut off"));
    request.onload = () => {
      const answer = JSON.parse(request.responseText);
      if (request.status === 201) resolve(answer.resource_path);
      else reject(new ServiceError(request.status, answer.error));
    };
    request.send(file);
  });
}

export async function picture(sessionId, name) {
  const response = await fetch(`/v1/sessions/${sessionId}/pictures/${name}.jpg`);
  return response.ok ? createImageBitmap(await response.blob()) : null;
}
