// The page's timing with a clock that the test moves itself. Run by test_browser_protocol.py.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import vm from "node:vm";

// The file is a classic script, and its folder has no package.json that says so.
const file = process.env.PROTOCOL_JS;
const sandbox = { module: {}, Float64Array, Infinity, Math };
vm.runInNewContext(readFileSync(file, "utf8"), sandbox, { filename: file });
const protocol = sandbox.module.exports;

const PLAN = {
  window: 10, least_window: 3, window_seconds: 5, settled: 0.05, least_warmup_seconds: 1, most_warmup_seconds: 20,
  least_runs: 200, least_seconds: 3,
};

// A call that takes durations(i) ms the i-th time, on a clock that shows whole steps and itself takes `tick` to read.
function fake(durations, step = 0.001, tick = 0.0001) {
  const state = { now: 0, made: [] };
  const clock = () => {
    state.now += tick;
    return Math.floor(state.now / step) * step;
  };
  const call = async () => {
    const taken = durations(state.made.length, state.now);
    state.made.push(taken);
    state.now += taken;
  };
  return { state, clock, call };
}

const close = (actual, expected, by = 0.02) => assert.ok(Math.abs(actual / expected - 1) < by, `${actual}, expected ${expected}`);

test("median", () => {
  assert.equal(protocol.median([3, 1, 2]), 2);
  assert.equal(protocol.median([10, 9, 1, 2]), 5.5);
  assert.equal(protocol.median([100, 20, 3]), 20);
});

test("the clock's step is found", () => {
  close(protocol.clockStep(fake(() => 1, 0.1).clock), 0.1);
  close(protocol.clockStep(fake(() => 1, 0.005).clock), 0.005);
});

test("first call apart, a second of warm-up, then at least 200 calls and 3 s", async () => {
  const { state, clock, call } = fake((i) => (i === 0 ? 50 : 5));
  const result = await protocol.measure(call, clock, PLAN);
  close(result.first_ms, 50);
  assert.equal(result.calls_per_sample, 1);
  assert.equal(result.settled, true);
  close(protocol.median(result.samples_ms), 5);
  assert.ok(result.samples_ms.length >= 600 && result.samples_ms.length <= 605, `${result.samples_ms.length} samples`);
  close(result.warmup_runs, 1 + 3 + 200 + 3, 0.06);
  assert.equal(state.made.length, result.warmup_runs + result.samples_ms.length);
});

test("200 calls, however slow", async () => {
  const { clock, call } = fake(() => 100);
  const result = await protocol.measure(call, clock, PLAN);
  assert.equal(result.samples_ms.length, 200);
});

test("the warm-up lasts until calls settle", async () => {
  // each window a tenth faster than the one before, for 6 s
  const { clock, call } = fake((i) => 20 * 0.9 ** Math.min(Math.floor(i / 10), 25));
  const result = await protocol.measure(call, clock, PLAN);
  assert.equal(result.settled, true);
  assert.ok(result.warmup_runs >= 260, `${result.warmup_runs}`);
  close(protocol.median(result.samples_ms), 20 * 0.9 ** 25);
});

test("a warm-up that never settles ends after 20 s and says so", async () => {
  const { clock, call } = fake((i) => (Math.floor(i / 10) % 2 ? 10 : 20));
  const result = await protocol.measure(call, clock, PLAN);
  assert.equal(result.settled, false);
  assert.ok(result.warmup_runs > 1300 && result.warmup_runs < 1400, `${result.warmup_runs}`);
});

test("slow calls settle too, in few of them", async () => {
  for (const [taken, calls] of [[600, 18], [2500, 6], [15000, 6]]) {
    const { clock, call } = fake(() => taken);
    const warm = await protocol.warmUp(call, clock, PLAN, 1, () => {});
    assert.equal(warm.settled, true);
    assert.equal(warm.runs, calls);
  }
  const { clock, call } = fake((i) => (Math.floor(i / 3) % 2 ? 8000 : 16000));
  const warm = await protocol.warmUp(call, clock, PLAN, 1, () => {});
  assert.equal(warm.settled, false);
  assert.equal(warm.runs, 6);
});

test("calls shorter than the clock can tell are timed several at once", async () => {
  const { state, clock, call } = fake(() => 0.03, 0.1, 0.01);
  const result = await protocol.measure(call, clock, PLAN);
  assert.equal(result.calls_per_sample, 128);
  close(protocol.median(result.samples_ms), 0.03, 0.05);
  assert.ok(Math.min(...result.samples_ms) > 0);
  assert.equal(state.made.length, result.warmup_runs + result.samples_ms.length * result.calls_per_sample);
});

test("one call that was interrupted does not decide how many are timed at once", async () => {
  const { state, clock, call } = fake((i) => (i % 1000 === 0 ? 7 : 0.03), 0.1, 0.001);
  const { calls, runs } = await protocol.callsPerSample(call, clock, 0.1);
  assert.equal(calls, 128);
  assert.equal(runs, state.made.length);
});

test("a clock that shows nothing gives a step, not 0", async () => {
  const { state, clock, call } = fake((i) => (i < 40 ? 5 : 0.0001), 0.1, 0.0001);
  const plan = { ...PLAN, least_warmup_seconds: 0, least_seconds: 0 };
  const result = await protocol.measure(call, clock, plan);
  assert.equal(result.calls_per_sample, 1);
  assert.equal(state.made.length, result.warmup_runs + result.samples_ms.length);
  close(Math.min(...result.samples_ms), 0.1);
});

test("a code that got faster while it warmed up is grouped anew", async () => {
  const { clock, call } = fake((i, now) => (now < 900 ? 5 : 0.01), 0.1, 0.001);
  const result = await protocol.measure(call, clock, PLAN);
  assert.equal(result.calls_per_sample, 256);
});

test("progress is told at most once a second, and at once for a new phase", () => {
  let now = 0;
  const told = [];
  const tell = protocol.seldom((phase) => told.push([phase, now]), () => now);
  for (now = 0; now < 2500; now += 100) tell(now < 2050 ? "a" : "b");
  assert.deepEqual(told, [["a", 0], ["a", 1000], ["a", 2000], ["b", 2100]]);
});
