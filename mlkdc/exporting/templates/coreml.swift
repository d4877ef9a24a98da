import CoreGraphics
import CoreML
import Foundation

struct Manifest: Decodable {
    let classes: [String]
    let thresholds: [Double]
}

/// Labels of an upright image; `folder` holds manifest.json and model.mlpackage.
func labels(of image: CGImage, folder: URL) throws -> [String: Float] {
    let manifest = try JSONDecoder().decode(Manifest.self, from: Data(contentsOf: folder.appendingPathComponent("manifest.json")))
    let size = {{ prepared.size }}
    var bytes = [UInt8](repeating: 0, count: 4 * size * size)
    let context = CGContext(
        data: &bytes, width: size, height: size, bitsPerComponent: 8, bytesPerRow: 4 * size,
        space: CGColorSpace(name: CGColorSpace.sRGB)!, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)!
    context.interpolationQuality = .high
    context.draw(image, in: CGRect(x: 0, y: 0, width: size, height: size)){{ swift_note }}
    let pixels = try MLMultiArray(shape: [1, 3, size as NSNumber, size as NSNumber], dataType: .float32)
    for at in 0..<(size * size) {
        for color in 0..<3 {
            pixels[color * size * size + at] = NSNumber(value: Float(bytes[4 * at + color]))  // 0..255, not normalized
        }
    }
    let model = try MLModel(contentsOf: MLModel.compileModel(at: folder.appendingPathComponent("model.mlpackage")))
    let answer = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: ["{{ manifest.input.name }}": pixels]))
    let probabilities = answer.featureValue(for: "{{ manifest.output.name }}")!.multiArrayValue!
    var found: [String: Float] = [:]
    for (label, name) in manifest.classes.enumerated() where probabilities[label].doubleValue >= manifest.thresholds[label] {
        found[name] = probabilities[label].floatValue
    }
    return found
}
