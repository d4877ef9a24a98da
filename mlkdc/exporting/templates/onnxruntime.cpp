#include <cstdio>
#include <fstream>
#include <vector>

#include <onnxruntime_cxx_api.h>

{{ tables }}

// The argument is a file of {{ prepared.size }} * {{ prepared.size }} * 3 bytes: red, green and blue of one pixel after another, rows from the top.
int main(int, char** arguments) {
    const size_t size = {{ prepared.size }};
    std::ifstream file(arguments[1], std::ios::binary);
    std::vector<char> bytes(3 * size * size);
    file.read(bytes.data(), bytes.size());
    std::vector<{{ ctype }}> pixels(3 * size * size);
    for (size_t at = 0; at < size * size; at++)
        for (size_t color = 0; color < 3; color++)
            pixels[color * size * size + at] = static_cast<unsigned char>(bytes[3 * at + color]);  // 0..255

    Ort::Env environment(ORT_LOGGING_LEVEL_WARNING, "photos");
    Ort::Session session(environment, ORT_TSTR("model.onnx"), Ort::SessionOptions{});
    const int64_t shape[] = {1, 3, {{ prepared.size }}, {{ prepared.size }}};
    auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    auto image = Ort::Value::CreateTensor<{{ ctype }}>(memory, pixels.data(), pixels.size(), shape, 4);
    const char* inputs[] = {"{{ manifest.input.name }}"};
    const char* outputs[] = {"{{ manifest.output.name }}"};
    auto answers = session.Run(Ort::RunOptions{}, inputs, &image, 1, outputs, 1);
    const float* probabilities = answers[0].GetTensorData<float>();
    for (size_t label = 0; label < sizeof(thresholds) / sizeof(thresholds[0]); label++)
        if (probabilities[label] >= thresholds[label])
            std::printf("%s\t%.6f\n", classes[label], probabilities[label]);
}
