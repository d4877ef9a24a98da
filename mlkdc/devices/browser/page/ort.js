// onnxruntime-web in a worker. start(job) -> { compile(bytes) -> call(data) -> Promise<Float32Array> }
"use strict";

const ortEngine = (() => {
  const SCRIPTS = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };

  async function start(job) {
    const dist = new URL("runtime/onnxruntime-web/dist/", self.location.href).href;
    const ort = await import(dist + SCRIPTS[job.accelerator]);
    ort.env.wasm.wasmPaths = dist;
    ort.env.wasm.numThreads = job.threads;
    ort.env.logLevel = "error";

    async function compile(bytes) {
      const session = await ort.InferenceSession.create(bytes, { executionProviders: [job.accelerator] });
      const names = session.inputNames.join(", ");
      if (names !== job.input.name) throw new Error(`the file takes ${names}, the manifest says ${job.input.name}`);
      return async (data) => {
        const image = new ort.Tensor(job.input.dtype, data, job.input.shape);
        const outputs = await session.run({ [job.input.name]: image });
        return outputs[job.output.name].data;
      };
    }

    return { compile };
  }

  return { start };
})();
