import java.io.FileInputStream;
import java.io.InputStream;
import java.io.BufferedInputStream;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipInputStream;

/** Reads every entry of a zip to its end with both of Java's readers, and prints what each found: reader, size, CRC-32, name. */
public class ReadZip {
    public static void main(String[] arguments) throws Exception {
        try (ZipFile zip = new ZipFile(arguments[0])) {
            var entries = zip.entries();
            while (entries.hasMoreElements()) {
                ZipEntry entry = entries.nextElement();
                print("ZipFile", entry.getName(), zip.getInputStream(entry));
            }
        }
        try (var zip = new ZipInputStream(new BufferedInputStream(new FileInputStream(arguments[0]), 1 << 16))) {
            ZipEntry entry;
            while ((entry = zip.getNextEntry()) != null) {
                print("ZipInputStream", entry.getName(), zip);
            }
        }
    }

    private static void print(String reader, String name, InputStream content) throws Exception {
        byte[] buffer = new byte[1 << 16];
        CRC32 crc = new CRC32();
        long size = 0;
        int length;
        while ((length = content.read(buffer)) > 0) {
            crc.update(buffer, 0, length);
            size += length;
        }
        // Names may hold anything but line ends.
        byte[] line = (reader + "\t" + size + "\t" + crc.getValue() + "\t" + name + "\n").getBytes("UTF-8");
        System.out.write(line);
    }
}
