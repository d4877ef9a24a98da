// How calls are timed: first call, warm-up until it settles, then timed calls. It knows no runtime and no page, and
// runs in a worker and in node.
"use strict";

const protocol = (() => {
  // A sample lasts at least this many steps of the clock, so that rounding changes it by at most 5 %.
  const STEPS_A_SAMPLE = 20;
  const TRIES = 3;
  const TELL_EVERY_MS = 1000;

  function median(values) {
    const sorted = Float64Array.from(values).sort();
    const middle = Math.floor(sorted.length / 2);
    if (sorted.length % 2 === 1) return sorted[middle];
    return (sorted[middle - 1] + sorted[middle]) / 2;
  }

  // Milliseconds: the least difference between two readings that differ.
  function clockStep(clock, changes = 50) {
    let least = Infinity;
    for (let change = 0; change < changes; change += 1) {
      const before = clock();
      let now = clock();
      while (now === before) now = clock();
      least = Math.min(least, now - before);
    }
    return least;
  }

  async function elapsedMs(call, clock, calls) {
    const start = clock();
    for (let done = 0; done < calls; done += 1) await call();
    return clock() - start;
  }

  // How many calls in a row make one sample: 1, unless a call is shorter than the clock can tell. The least of a few
  // tries counts: one that was interrupted says nothing of the others.
  async function callsPerSample(call, clock, step) {
    let runs = 0;
    for (let calls = 1; ; calls *= 2) {
      let least = Infinity;
      for (let tried = 0; tried < TRIES && least >= STEPS_A_SAMPLE * step; tried += 1) {
        least = Math.min(least, await elapsedMs(call, clock, calls));
        runs += calls;
      }
      if (least >= STEPS_A_SAMPLE * step) return { calls, runs };
    }
  }

  // Milliseconds of single calls. A window of slow calls ends early: it would pass the limit of the warm-up.
  async function oneWindow(call, clock, plan, calls, tell) {
    const start = clock();
    const samples = [];
    const late = () => samples.length >= plan.least_window && clock() - start >= plan.window_seconds * 1000;
    while (samples.length < plan.window && !late()) {
      samples.push((await elapsedMs(call, clock, calls)) / calls);
      tell("warming up");
    }
    return samples;
  }

  // plan: window and least_window (samples), window_seconds, settled (fraction), least_warmup_seconds,
  // most_warmup_seconds
  async function warmUp(call, clock, plan, calls, tell) {
    const start = clock();
    let runs = 0;
    let previous = null;
    for (;;) {
      const samples = await oneWindow(call, clock, plan, calls, tell);
      runs += samples.length * calls;
      const current = median(samples);
      const compared = previous !== null;
      const steady = compared && Math.abs(current - previous) <= plan.settled * previous;
      const seconds = (clock() - start) / 1000;
      if (steady && seconds >= plan.least_warmup_seconds) return { runs, settled: true };
      if (compared && seconds >= plan.most_warmup_seconds) return { runs, settled: false };
      previous = current;
    }
  }

  // plan: as for warmUp, least_runs, least_seconds. tell(phase) hears of progress between samples.
  async function measure(call, clock, plan, tell = () => {}) {
    const step = clockStep(clock);
    const firstMs = Math.max(step, await elapsedMs(call, clock, 1));
    tell("warming up");
    const roughly = await callsPerSample(call, clock, step);
    const warm = await warmUp(call, clock, plan, roughly.calls, tell);
    // Code that was compiled again during the warm-up is faster now.
    const { calls, runs } = await callsPerSample(call, clock, step);
    const samples = [];
    const start = clock();
    while (samples.length < plan.least_runs || clock() - start < plan.least_seconds * 1000) {
      const elapsed = await elapsedMs(call, clock, calls);
      // What the clock shows as 0 took at most a step.
      samples.push(Math.max(elapsed, step) / calls);
      tell("timing");
    }
    return {
      clock_step_ms: step,
      first_ms: firstMs,
      warmup_runs: 1 + roughly.runs + warm.runs + runs,
      settled: warm.settled,
      calls_per_sample: calls,
      samples_ms: samples,
    };
  }

  // tell, but at most once a second where the phase is the same: a message costs time that the next call would feel.
  function seldom(tell, clock) {
    let last = -Infinity;
    let lastPhase = "";
    return (phase) => {
      const now = clock();
      if (phase === lastPhase && now - last < TELL_EVERY_MS) return;
      last = now;
      lastPhase = phase;
      tell(phase);
    };
  }

  return { median, clockStep, callsPerSample, warmUp, measure, seldom };
})();

if (typeof module !== "undefined") module.exports = protocol;
