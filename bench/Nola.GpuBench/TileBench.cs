using Nola.Models;
using Nola.Tensors;

namespace Nola.GpuBench;

/// <summary>
/// Times every tile on the products of GPT-2 S, M and L, forward, backward and for the gradient of a weight, and writes the
/// table that follows: <c>--tiles</c>. The file replaces <c>src/Nola.Tensors/Gpu/tiles.json</c>, and the next build takes it.
/// </summary>
internal static class TileBench
{
    /// <summary>Writes NAME-tiles.json beside the report.</summary>
    public static void Run(Device device, string output, Report report)
    {
        if (device is not GpuDevice gpu) throw new NolaException($"--tiles measures the tiles of a GPU; {device.Name} has none.");
        report.Table($"Tiles: {device.Description}", ["c (M, N), K", "order", .. TensorTile.All.Select(t => t.Name), "best"]);
        List<TileTime> times = [];
        foreach ((int m, int n, int k, bool transposeA, bool transposeB) in Shapes())
            Measure(gpu, m, n, k, transposeA, transposeB, times, report);
        report.Line("");
        TileTable table = TileChoice.Table(times, $"Measured on {device.Description}.");
        File.WriteAllText(output + "-tiles.json", table.ToJson());
        report.Line($"Wrote {output}-tiles.json, {table.Rules.Count} rules; as src/Nola.Tensors/Gpu/tiles.json the next build takes it.");
    }

    /// <summary>The four maps of a block of each size, three numbers of tokens, and the head on 1,024 rows, each product once.</summary>
    internal static IEnumerable<(int M, int N, int K, bool TransposeA, bool TransposeB)> Shapes()
    {
        HashSet<(int, int, int, bool, bool)> shapes = [];
        foreach (Gpt2Config config in ((string[])["gpt2", "gpt2-medium", "gpt2-large"]).Select(size => Gpt2Config.ByName(size)!))
        {
            int c = config.Channels;
            foreach (int tokens in (int[])[512, 2048, 8192])
            {
                foreach ((int inputs, int outputs) in ((int, int)[])[(c, 3 * c), (c, c), (c, config.Inner), (config.Inner, c)])
                {
                    shapes.Add((tokens, outputs, inputs, false, false));
                    shapes.Add((tokens, inputs, outputs, false, true));
                    shapes.Add((inputs, outputs, tokens, true, false));
                }
            }
            shapes.Add((1024, config.Vocabulary, c, false, true));
            shapes.Add((1024, c, config.Vocabulary, false, false));
        }
        return shapes;
    }

    private static void Measure(GpuDevice gpu, int m, int n, int k, bool transposeA, bool transposeB, List<TileTime> times, Report report)
    {
        string order = transposeA ? "aᵀ · b" : transposeB ? "a · bᵀ" : "a · b";
        using Tensor a = Bench.Noise(gpu, transposeA ? [k, m] : [m, k]);
        using Tensor b = Bench.Noise(gpu, transposeB ? [n, k] : [k, n]), c = gpu.Empty([m, n]);
        List<TileTime> here = [];
        TileTable before = gpu.TileTable;
        foreach (TensorTile tile in TensorTile.All)
        {
            gpu.TileTable = TileTable.Always(tile);
            // A hundredth of a second each: time on a card is dear, and there are hundreds.
            double[] repeated = Timing.InTurn(gpu, 5, 0.01, () => gpu.MatMul(a, transposeA, b, transposeB, c))[0];
            here.Add(new(m, n, k, order, tile.Name, Timing.Median(repeated)));
        }
        gpu.TileTable = before;
        times.AddRange(here);
        double flop = 2.0 * m * n * k;
        report.Row(
            new { kind = "tile", m, n, k, order, seconds = here.ToDictionary(t => t.Tile, t => t.Seconds) },
            [$"({m}, {n}), {k}", order, .. here.Select(t => $"{1e-12 * flop / t.Seconds:F1} TFLOP/s"), here.MinBy(t => t.Seconds)!.Tile]);
    }
}
