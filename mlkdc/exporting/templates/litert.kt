import android.content.Context
import android.graphics.Bitmap
import android.graphics.Color
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONObject
import org.tensorflow.lite.Interpreter

/** Labels of an upright bitmap; model.tflite and manifest.json are among the app's assets. */
fun labels(context: Context, bitmap: Bitmap): Map<String, Float> {
    val manifest = JSONObject(context.assets.open("manifest.json").bufferedReader().use { it.readText() })
    val content = context.assets.open("model.tflite").use { it.readBytes() }
    val model = ByteBuffer.allocateDirect(content.size).order(ByteOrder.nativeOrder()).put(content)
    val size = {{ prepared.size }}
    val square = Bitmap.createScaledBitmap(bitmap, size, size, true){{ kotlin_note }}
    val pixels = ByteBuffer.allocateDirect({{ kotlin_bytes }} * 3 * size * size).order(ByteOrder.nativeOrder())
    for (y in 0 until size) {
        for (x in 0 until size) {
            val color = square.getPixel(x, y)
            for (value in listOf(Color.red(color), Color.green(color), Color.blue(color))) {
                pixels.{{ kotlin_put }} // 0..255, not normalized
            }
        }
    }
    pixels.rewind()
    val output = Array(1) { FloatArray({{ manifest.classes | length }}) }
    Interpreter(model).use { it.run(pixels, output) }
    val (classes, thresholds) = manifest.getJSONArray("classes") to manifest.getJSONArray("thresholds")
    return (0 until classes.length())
        .filter { output[0][it] >= thresholds.getDouble(it) }
        .associate { classes.getString(it) to output[0][it] }
}
