"""LiteRT's benchmark_model and ExecuTorch's executor_runner for the fake phone.

Flags, checks, lines and files are those of the real ones (google-ai-edge/LiteRT, tflite/tools/benchmark;
pytorch/executorch, examples/portable/executor_runner; on Android its log goes to logcat). The model is run by the
Python package of that runtime, or is a matrix of numpy where a test needs no converter.
"""

BENCHMARK_MODEL = """
import argparse, sys, time
import numpy as np

flags = argparse.ArgumentParser(allow_abbrev=False)
for name in ("graph", "input_layer", "input_layer_shape", "input_layer_value_files", "output_filepath"):
    flags.add_argument("--" + name, default="")
for name, default in {"num_threads": -1, "num_runs": 50, "warmup_runs": 1}.items():
    flags.add_argument("--" + name, type=int, default=default)
for name, default in {"min_secs": 1.0, "max_secs": 150.0, "warmup_min_secs": 0.5}.items():
    flags.add_argument("--" + name, type=float, default=default)
options = flags.parse_args()

def say(text):
    print("INFO: " + text)

def fatal(text):
    sys.stderr.write("ERROR: " + text + "\\n")
    sys.exit(1)

if len(options.input_layer.split(",")) != len(options.input_layer_shape.split(":")):
    fatal("The number of items in --input_layer_shape must match the number of items in --input_layer")
shape = [int(size) for size in options.input_layer_shape.split(",")]
name, _, path = options.input_layer_value_files.partition(":")
if name != options.input_layer:
    fatal("Cannot find the corresponding input_layer name(" + name + ")")
model = open(options.graph, "rb").read()
start = time.perf_counter()
if model[4:8] == b"TFL3":
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(model_content=model, num_threads=max(options.num_threads, 1))
    interpreter.allocate_tensors()
    [taken], [given] = interpreter.get_input_details(), interpreter.get_output_details()
    dtype = taken["dtype"]
    if taken["shape"].tolist() != shape:
        fatal("Failed to allocate tensors!")
    def call(image):
        interpreter.set_tensor(taken["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])
else:
    matrix = np.load(options.graph)
    dtype = matrix.dtype
    def call(image):
        time.sleep(0.001)
        return image.reshape(1, -1) @ matrix
init_us = (time.perf_counter() - start) * 1e6
content = open(path, "rb").read()
expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
if len(content) != expected:
    fatal("The size of %s is %d bytes. It should be %d bytes." % (path, len(content), expected))
image = np.frombuffer(content, dtype).reshape(shape)
say("Log parameter values verbosely: [0]")
say("Graph: [%s]" % options.graph)
say("Loaded model " + options.graph)
say("The input model file size (MB): %g" % (len(model) / 1e6))
say("Initialized session in %gms." % (init_us / 1e3))

def stretch(runs, seconds):
    say("Running benchmark for at least %d iterations and at least %g seconds but terminate if exceeding %g seconds."
        % (runs, seconds, options.max_secs))
    begun, times = time.perf_counter(), []
    while len(times) < runs or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        stretch.output = call(image)
        times.append(int((time.perf_counter() - start) * 1e6))
    ordered = sorted(times)
    if not times:
        say("count=0 p5=0 median=0 p95=0\\n")
        return 0, float("nan")
    at = lambda percent: ordered[len(ordered) * percent // 100]
    say("count=%d first=%d curr=%d min=%d max=%d avg=%g std=%d p5=%d median=%d p95=%d\\n" % (
        len(times), times[0], times[-1], ordered[0], ordered[-1], np.mean(times), np.std(times), at(5), at(50), at(95)))
    return times[0], np.mean(times)

first, warmup = stretch(options.warmup_runs, options.warmup_min_secs)
_, average = stretch(options.num_runs, options.min_secs)
say("Inference timings in us: Init: %d, First inference: %d, Warmup (avg): %g, Inference (avg): %g"
    % (init_us, first, warmup, average))
say("Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual "
    "memory footprint of the model at runtime. Take the information at your discretion.")
say("Memory footprint delta from the start of the tool (MB): init=1.25 overall=2.5")
if options.output_filepath:
    open(options.output_filepath, "wb").write(stretch.output.tobytes())
"""

EXECUTOR_RUNNER = """
import argparse, os, sys, time
import numpy as np

flags = argparse.ArgumentParser(allow_abbrev=False)
for name in ("model_path", "inputs", "output_file"):
    flags.add_argument("--" + name, default="")
flags.add_argument("--num_executions", type=int, default=1)
flags.add_argument("--cpu_threads", type=int, default=-1)
options = flags.parse_args()
log = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "logcat.txt"), "a")

def say(text):
    log.write("%d %s\\n" % (os.getpid(), text))

say("Resetting threadpool with num threads = %d" % options.cpu_threads)
say("Loading inputs from input file(s).")
content = open(options.inputs, "rb").read()
start = time.perf_counter()
if open(options.model_path, "rb").read(8)[4:6] == b"ET":
    import torch
    from executorch.runtime import Runtime
    program = Runtime.get().load_program(options.model_path)
    method = program.load_method("forward")
    sizes = method.metadata.input_tensor_meta(0).sizes()
    def call(image):
        return method.execute([torch.from_numpy(image.reshape(sizes).copy())])[0].numpy()
else:
    matrix = np.load(options.model_path)
    def call(image):
        time.sleep(0.001)
        return image.reshape(1, -1) @ matrix
say("Model file %s is loaded." % options.model_path)
say("Using method forward")
say("Model loaded in %f ms." % ((time.perf_counter() - start) * 1000))
image, total = np.frombuffer(content, np.float32), 0.0
for number in range(options.num_executions):
    start = time.perf_counter()
    output = call(image)
    taken = (time.perf_counter() - start) * 1000
    total += taken
    say("Iteration %d of %d: %f ms" % (number + 1, options.num_executions, taken))
say("Model executed successfully %d time(s) in %f ms." % (options.num_executions, total))
say("1 outputs: ")
if options.output_file:
    open(options.output_file + "-0.bin", "wb").write(output.tobytes())
print("OutputX 0: tensor(sizes=[1, %d], [...])" % output.size)
"""

#: Prints what the log keeps of the process: the newest lines only.
LOGCAT = """
for option in "$@"; do case $option in --pid=*) pid=${option#--pid=} ;; esac; done
sed -n "s/^$pid //p" "$(dirname "$0")/logcat.txt" | tail -n ${KEPT:-100000}
"""
