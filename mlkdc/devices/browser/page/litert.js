// LiteRT.js in a worker. start(job) -> { compile(bytes) -> call(data) -> Promise<Float32Array> }
"use strict";

const litertEngine = (() => {
  function checkSignature(model, job) {
    const input = model.getInputDetails()[0];
    const shape = Array.from(input.shape).join(" x ");
    if (input.dtype !== job.input.dtype || shape !== job.input.shape.join(" x ")) {
      throw new Error(`the file takes ${input.dtype} ${shape}, the manifest says ${job.input.dtype} ${job.input.shape.join(" x ")}`);
    }
  }

  async function start(job) {
    const base = new URL("runtime/@litertjs/core/", self.location.href).href;
    const wasm = `${base}wasm/`;
    // In a worker emscripten looks for its files next to the worker's script, unless it is told where they are.
    self.Module = {
      locateFile: (name) => wasm + name,
      mainScriptUrlOrBlob: `${wasm}litert_wasm_threaded_internal.js`,
    };
    const litert = await import(`${base}dist/index.js`);
    await litert.loadLiteRt(wasm, { threads: job.threads > 1 });

    async function compile(bytes) {
      const options = { accelerator: job.accelerator };
      if (job.accelerator === "wasm") options.cpuOptions = { numThreads: job.threads };
      const model = await litert.loadAndCompile(bytes, options);
      if (job.accelerator === "webgpu" && !model.isFullyAccelerated) {
        throw new Error("some of its operators do not run on WebGPU, and LiteRT.js would run them elsewhere");
      }
      checkSignature(model, job);
      return async (data) => {
        const input = new litert.Tensor(data, job.input.shape);
        const [output] = await model.run(input);
        const answer = await output.data();
        input.delete();
        output.delete();
        return answer;
      };
    }

    return { compile };
  }

  return { start };
})();
