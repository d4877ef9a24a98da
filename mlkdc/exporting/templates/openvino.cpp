#include <cstdio>
#include <fstream>
#include <vector>

#include <openvino/openvino.hpp>

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

    ov::Core core;
    auto model = core.compile_model("model.xml", "CPU", ov::hint::inference_precision(ov::element::f32));
    auto request = model.create_infer_request();
    request.set_input_tensor(ov::Tensor({{ ovtype }}, {1, 3, size, size}, pixels.data()));
    request.infer();
    const float* probabilities = request.get_output_tensor().data<float>();
    for (size_t label = 0; label < sizeof(thresholds) / sizeof(thresholds[0]); label++)
        if (probabilities[label] >= thresholds[label])
            std::printf("%s\t%.6f\n", classes[label], probabilities[label]);
}
