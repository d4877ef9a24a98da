// A turn, or answers to images of one artifact once or more. Messages to the page: {phase}, {reply}.
"use strict";

importScripts("protocol.js", "litert.js", "ort.js");

const ENGINES = { litert: litertEngine, onnxruntime: ortEngine };
const IMAGES_AT_ONCE = 32;
const clock = () => performance.now();

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status} for ${url.split("?")[0]}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function fetchModel(job, client) {
  const bytes = await fetchBytes(`artifact/${job.sha256}?client=${client}`);
  if (bytes.length !== job.size_bytes) throw new Error(`${bytes.length} of ${job.size_bytes} bytes arrived`);
  // Browsers hash only in secure contexts.
  if (self.crypto.subtle) {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== job.sha256) throw new Error("its SHA-256 differs from the manifest's");
  }
  return bytes;
}

// Planar RGB bytes of one image -> the artifact's layout and dtype.
function asInput(pixels, input) {
  const size = input.shape[2];
  const plane = size * size;
  const Typed = input.dtype === "uint8" ? Uint8Array : Float32Array;
  if (input.layout === "NCHW") return Typed.from(pixels);
  const data = new Typed(3 * plane);
  for (let place = 0; place < plane; place += 1) {
    for (let channel = 0; channel < 3; channel += 1) data[3 * place + channel] = pixels[channel * plane + place];
  }
  return data;
}

async function* images(job, client) {
  const bytes = 3 * job.input.shape[2] ** 2;
  for (let start = 0; start < job.images; start += IMAGES_AT_ONCE) {
    const count = Math.min(IMAGES_AT_ONCE, job.images - start);
    const block = await fetchBytes(`pixels?client=${client}&start=${start}&count=${count}`);
    for (let image = 0; image < count; image += 1) {
      yield asInput(block.subarray(image * bytes, (image + 1) * bytes), job.input);
    }
  }
}

async function turn(job, client, call, tell) {
  const { value: data } = await images(job, client).next();
  return protocol.measure(() => call(data), clock, job.plan, tell);
}

async function answers(job, client, call, tell) {
  const all = [];
  for await (const data of images(job, client)) {
    for (const value of await call(data)) all.push(value);
    tell("answering images");
  }
  return { answers: all };
}

// The artifact as a call; messages that follow are about the same one.
let loaded = null;

async function load(job, client, tell) {
  tell("loading the runtime");
  const engine = await inStage("runtime", ENGINES[job.engine].start(job));
  tell("loading the artifact");
  const bytes = await inStage("artifact", fetchModel(job, client));
  const start = clock();
  const call = await inStage("artifact", engine.compile(bytes));
  const elapsed = clock() - start;
  // A coarse clock may show 0.
  return { call, loadMs: elapsed || protocol.clockStep(clock) };
}

// Where something failed decides what its user can do.
async function inStage(stage, promise) {
  try {
    return await promise;
  } catch (error) {
    throw Object.assign(new Error(messageOf(error)), { stage });
  }
}

// Runtimes throw strings and numbers too.
const messageOf = (error) => String((error && error.message) || error).slice(0, 500);

self.onmessage = async ({ data: { job, client } }) => {
  const tell = protocol.seldom((phase) => self.postMessage({ phase }), clock);
  try {
    loaded = loaded || (await load(job, client, tell));
    const work = job.kind === "turn" ? turn : answers;
    const result = await work(job, client, loaded.call, tell);
    if (job.kind === "turn") result.load_ms = loaded.loadMs;
    self.postMessage({ reply: { kind: job.kind, ...result } });
  } catch (error) {
    self.postMessage({ reply: { kind: "failed", stage: error.stage || "run", message: messageOf(error) } });
  }
};
