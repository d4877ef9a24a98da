#include <cstdio>
#include <fstream>
#include <vector>

#include <ncnn/net.h>

{{ tables }}

// The argument is a file of {{ prepared.size }} * {{ prepared.size }} * 3 bytes: red, green and blue of one pixel after another, rows from the top.
int main(int, char** arguments) {
    const int size = {{ prepared.size }};
    std::ifstream file(arguments[1], std::ios::binary);
    std::vector<char> bytes(3 * size * size);
    file.read(bytes.data(), bytes.size());

    ncnn::Net net;
{% for name, value in manifest.details.ncnn_options.items() %}    net.opt.{{ name }} = {{ value | lower }};
{% endfor %}    if (net.load_param("model.ncnn.param") || net.load_model("model.ncnn.bin")) return 1;
    auto extractor = net.create_extractor();
    const auto* rgb = reinterpret_cast<const unsigned char*>(bytes.data());
    extractor.input("{{ manifest.input.name }}", ncnn::Mat::from_pixels(rgb, ncnn::Mat::PIXEL_RGB, size, size));  // 0..255
    ncnn::Mat probabilities;
    extractor.extract("{{ manifest.output.name }}", probabilities);
    for (int label = 0; label < probabilities.w; label++)
        if (probabilities[label] >= thresholds[label])
            std::printf("%s\t%.6f\n", classes[label], probabilities[label]);
}
