// The page: connects once, takes jobs, runs each in a fresh worker, sends the reply, and shows what happens.
"use strict";

const ALIVE_EVERY_MS = 2000;
const GIVE_UP_AFTER_MS = 15000;
const WAIT_MS = 500;

const show = (id, text) => { document.getElementById(id).textContent = text; };
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
let client = "";

let heard = Date.now();
// Whether mlkdc has been silent for so long that it must have ended, or the network is gone.
const gone = () => Date.now() - heard > GIVE_UP_AFTER_MS;

async function ask(path, more = "", value = null) {
  const options = value === null ? {} : { method: "POST", body: JSON.stringify(value) };
  const response = await fetch(`${path}?client=${client}${more}`, options);
  heard = Date.now();
  return response;
}

async function graphicsAdapter() {
  if (!navigator.gpu) return null;
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) return null;
  const info = adapter.info || {};
  return [info.vendor, info.architecture, info.description].filter(Boolean).join(" ") || "an adapter without a name";
}

// The list has made-up entries, so that nobody relies on its order.
function brand(list) {
  const browsers = list.filter(({ brand: name }) => !/not.*brand/i.test(name));
  const named = browsers.find(({ brand: name }) => name !== "Chromium") || browsers[0];
  return named ? `${named.brand} ${named.version}` : null;
}

async function facts() {
  let details = {};
  if (navigator.userAgentData) {
    details = await navigator.userAgentData.getHighEntropyValues(["architecture", "fullVersionList", "model", "platformVersion"]);
  }
  return {
    user_agent: navigator.userAgent,
    cores: navigator.hardwareConcurrency || 1,
    memory_gib: navigator.deviceMemory || null,
    secure: self.isSecureContext,
    isolated: self.crossOriginIsolated,
    clock_step_ms: protocol.clockStep(() => performance.now()),
    adapter: await graphicsAdapter(),
    browser: brand(details.fullVersionList || []),
    architecture: details.architecture || null,
    model: details.model || null,
    platform: [details.platform, details.platformVersion].filter(Boolean).join(" ") || null,
  };
}

// A turn has a worker of its own. That of answers is kept: more images for the same artifact need no loading.
let kept = null;

function workerFor(job) {
  if (kept && job.kind === "answers" && kept.sha256 === job.sha256) return kept.worker;
  release();
  kept = { worker: new Worker("worker.js"), sha256: job.sha256 };
  return kept.worker;
}

function release() {
  if (kept) kept.worker.terminate();
  kept = null;
}

// The reply; null where nobody is there any more to have it.
function run(job) {
  return new Promise((resolve) => {
    let hidden = document.hidden;
    const watch = () => { hidden = hidden || document.hidden; };
    document.addEventListener("visibilitychange", watch);
    const worker = workerFor(job);
    let messages = 0;
    const finish = (reply) => {
      clearInterval(beat);
      document.removeEventListener("visibilitychange", watch);
      if (!reply || reply.kind !== "answers") release();
      resolve(reply && reply.kind === "turn" ? { ...reply, hidden } : reply);
    };
    const beat = setInterval(() => {
      ask("alive", "", { messages }).catch(() => { if (gone()) finish(null); });
    }, ALIVE_EVERY_MS);
    worker.onmessage = ({ data }) => {
      messages += 1;
      if (data.reply) finish(data.reply);
      else show("phase", data.phase);
    };
    worker.onerror = (event) => {
      finish({ kind: "failed", stage: "runtime", message: String(event.message || "the worker did not start") });
    };
    worker.postMessage({ job, client });
  });
}

function note(job, reply) {
  const cells = [job.name, `${job.threads}`, "answered"];
  if (reply.kind === "turn") cells[2] = `${protocol.median(reply.samples_ms).toFixed(2)} ms`;
  if (reply.kind === "failed") cells[2] = `not run: ${reply.message}`;
  const row = document.getElementById("rows").insertRow();
  for (const cell of cells) row.insertCell().textContent = cell;
}

// What `attempt` gives, tried again while the network fails for a moment; null where mlkdc has ended.
async function persistently(attempt) {
  for (;;) {
    try {
      return await attempt();
    } catch {
      if (gone()) return null;
      await pause(WAIT_MS);
    }
  }
}

// A job that arrived in part is asked for again.
async function poll() {
  const response = await ask("job");
  return { status: response.status, job: response.status === 200 ? await response.json() : null };
}

async function nextJob() {
  for (;;) {
    const polled = await persistently(poll);
    if (polled && polled.job) return polled.job;
    if (!polled || polled.status !== 204) return null;
  }
}

async function serve() {
  for (;;) {
    show("phase", "waiting for the next artifact");
    show("job", "");
    const job = await nextJob();
    if (!job) return;
    show("job", `${job.name}, threads: ${job.threads}`);
    const reply = await run(job);
    if (!reply) return;
    note(job, reply);
    await persistently(() => ask("reply", `&job=${job.id}`, reply));
  }
}

async function main() {
  const response = await ask("hello", "", await facts());
  if (!response.ok) {
    show("phase", response.status === 409 ? "Another page is measured, or this one was before it was reloaded. Start mlkdc again to use this one." : await response.text());
    return;
  }
  client = (await response.json()).client;
  self.addEventListener("pagehide", () => { navigator.sendBeacon(`bye?client=${client}`); });
  if (navigator.wakeLock) navigator.wakeLock.request("screen").catch(() => {});
  await serve();
  show("phase", "mlkdc has ended. This page can be closed.");
  // A browser that mlkdc started ends with its only window, also where mlkdc was killed.
  if (!document.hidden) self.close();
}

main().catch((error) => show("phase", `The page failed: ${error.message}`));
