net = ncnn.Net()
{% for name, value in manifest.details.ncnn_options.items() -%}
net.opt.{{ name }} = {{ value }}
{% endfor -%}
net.load_param("model.ncnn.param")
net.load_model("model.ncnn.bin")
extractor = net.create_extractor()
extractor.input("{{ manifest.input.name }}", ncnn.Mat(pixels[0]).clone())
probabilities = np.array(extractor.extract("{{ manifest.output.name }}")[1]).tolist()
