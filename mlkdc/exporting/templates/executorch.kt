import android.content.Context
import android.graphics.Bitmap
import android.graphics.Color
import org.json.JSONObject
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

/** Labels of an upright bitmap; manifest.json is among the app's assets, and `path` is that of model.pte on the device. */
fun labels(context: Context, path: String, bitmap: Bitmap): Map<String, Float> {
    val manifest = JSONObject(context.assets.open("manifest.json").bufferedReader().use { it.readText() })
    val size = {{ prepared.size }}
    val square = Bitmap.createScaledBitmap(bitmap, size, size, true){{ kotlin_note }}
    val pixels = {{ "ByteArray" if manifest.input.dtype == "uint8" else "FloatArray" }}(3 * size * size)
    for (y in 0 until size) {
        for (x in 0 until size) {
            val color = square.getPixel(x, y)
            listOf(Color.red(color), Color.green(color), Color.blue(color)).forEachIndexed { channel, value ->
                pixels[(channel * size + y) * size + x] = value.{{ "toByte" if manifest.input.dtype == "uint8" else "toFloat" }}() // 0..255, not normalized
            }
        }
    }
    val shape = longArrayOf(1, 3, size.toLong(), size.toLong())
    val image = Tensor.{{ "fromBlobUnsigned" if manifest.input.dtype == "uint8" else "fromBlob" }}(pixels, shape)
    val probabilities = Module.load(path).forward(EValue.from(image))[0].toTensor().dataAsFloatArray
    val (classes, thresholds) = manifest.getJSONArray("classes") to manifest.getJSONArray("thresholds")
    return (0 until classes.length())
        .filter { probabilities[it] >= thresholds.getDouble(it) }
        .associate { classes.getString(it) to probabilities[it] }
}
