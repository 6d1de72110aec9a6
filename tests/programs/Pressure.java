import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Eight threads that allocate much and keep some; prints one checksum for each, the same in every run. */
public class Pressure {
  private static long work(int thread, int rounds) {
    long state = 0x9E3779B97F4A7C15L * (thread + 1), sum = 0;
    Map<Long, String> kept = new HashMap<>();
    for (int round = 0; round < rounds; round++) {
      List<byte[]> garbage = new ArrayList<>();
      for (int i = 0; i < 100; i++) {
        state = state * 6364136223846793005L + 1442695040888963407L;
        byte[] block = new byte[64 + (int) ((state >>> 33) % 2000)];
        block[block.length - 1] = (byte) state;
        garbage.add(block);
        if (i % 10 == 0) kept.put(state % 5000, Long.toHexString(state));
      }
      for (byte[] block : garbage) sum = sum * 31 + block.length + block[block.length - 1];
    }
    for (Map.Entry<Long, String> entry : kept.entrySet()) sum += entry.getKey() * entry.getValue().hashCode();
    return sum;
  }

  public static void main(String[] arguments) throws InterruptedException {
    int rounds = Integer.parseInt(arguments[0]);
    long[] sums = new long[8];
    Thread[] threads = new Thread[8];
    for (int i = 0; i < 8; i++) {
      int number = i;
      threads[i] = new Thread(() -> sums[number] = work(number, rounds), "pressure-" + i);
      threads[i].start();
    }
    for (Thread thread : threads) thread.join();
    for (int i = 0; i < 8; i++) System.out.println("thread " + i + ": " + Long.toHexString(sums[i]));
  }
}
