using System.Reflection;
using System.Text.Json;
using System.Text.RegularExpressions;
using ILGPU.Runtime.Cuda;
using Nola.Tensors;
using Xunit;
using Xunit.Abstractions;

namespace Nola.Tests;

/// <summary>
/// Every kernel is compiled for three generations of cards, without one, and its text is held to what makes it fast:
/// nothing in local memory, and 128-bit access where data is contiguous. With ptxas (on the path or in NOLA_PTXAS), its
/// registers and shared memory are those of data/ptxas.json, and nothing spills.
/// </summary>
public sealed class PtxTests(ITestOutputHelper output)
{
    private static readonly string table = Path.Combine(AppContext.BaseDirectory, "data", "ptxas.json");

    public static TheoryData<string> Kernels() => [.. KernelCache.All().Select(NameOf).Order()];

    // What reads or writes no contiguous rows: links of equal indices, sums across rows, rectangles at any place, lists of tokens.
    private static readonly string[] narrowByNature =
    [
        "AttentionCachedKernels.Append", "AttentionKernels.RowDots", "CopyKernels.Copy", "CopyKernels.Narrow", "CopyKernels.Widen",
        "EmbeddingKernels.GatherNarrow", "EmbeddingKernels.GatherWide", "EmbeddingKernels.LinkEqual", "EmbeddingKernels.ScatterAdd",
        "LayerNormKernels.WeightGrad", "LogitsKernels.Ban", "LogitsKernels.Penalize",
        "ReduceKernels.ColumnSums", "ReduceKernels.SumParts", "ReduceKernels.Sums",
        "ReduceKernels.SumsOfSquares", "ReduceKernels.Total", "RmsNormKernels.WeightGrad", "RoundRowsKernels.Round",
        "ScaleColumnsKernels.Dots", "ScaleColumnsKernels.Scale", "StepRecordKernels.AddLoss", "StepRecordKernels.ClipScale",
    ];

    [Theory]
    [MemberData(nameof(Kernels))]
    public void Compiles_to_lean_PTX(string name)
    {
        MethodInfo kernel = KernelCache.All().Single(k => NameOf(k) == name);
        CudaArchitecture[] architectures = [CudaArchitecture.SM_80, CudaArchitecture.SM_86, CudaArchitecture.SM_90];
        foreach (CudaArchitecture architecture in architectures)
        {
            string ptx = PtxCompiler.Compile(kernel, architecture);
            Assert.DoesNotMatch(@"\.local\b|ld\.local|st\.local", ptx);
            // Nobody but the driver knows which lanes take a conditional branch.
            Assert.DoesNotMatch(@"@!?%\w+\s+\w+\.uni\b|brx\.idx\.uni", ptx);
            Assert.DoesNotMatch(@"\b(atom|red)\.\S*\.f(32|64)", ptx);
            Assert.Empty(IlgpuFaults.Of(ptx));
            // NVIDIA's assembler leaves to compilers before it what a division by a constant could be instead, and makes some twenty
            // instructions of it, by way of a reciprocal in float32: what is left over of a power of two is a conjunction.
            Assert.DoesNotMatch(@"\b(div|rem)\.[su]\d+\s+%\w+, %\w+, -?\d+;", ptx);
            Assert.Equal(MultipliesTiles(name), ptx.Contains("mma.sync") && ptx.Contains("cp.async"));
            // Words of 32 bits cannot be transposed by ldmatrix.
            Assert.Equal(MultipliesTiles(name) && name != "Tf32Kernels.AcrossAcross", ptx.Contains("ldmatrix"));
            // Each 16 × 8 tile of a warp once for each half of a strip's steps.
            if (IsProduct(name))
            {
                bool wide = name.EndsWith("256x128") || name.EndsWith("By4");
                Assert.Equal(name.EndsWith("64x64") ? 16 : wide ? 64 : 32, Regex.Count(ptx, @"mma\.sync"));
            }
            Assert.Equal(!narrowByNature.Contains(name), Regex.IsMatch(ptx, @"(ld|st)\.(global|shared)\.v4\.|cp\.async\.cg"));
        }
    }

    [Fact]
    public void Entries_are_converted_as_signed_and_looked_up_as_unsigned()
    {
        // The simulator runs .NET's conversions; the card runs these.
        foreach (string name in (string[])["MixUniform", "GradUniform"])
        {
            string ptx = PtxCompiler.Compile(typeof(BasisKernels).GetMethod(name)!, CudaArchitecture.SM_80);
            Assert.Equal(8, Regex.Count(ptx, @"cvt\.rn\.f32\.s32"));
            Assert.DoesNotMatch(@"\.f64", ptx);
        }
        Assert.Equal(
            4, Regex.Count(
                PtxCompiler.Compile(typeof(BasisKernels).GetMethod("MixNormal")!, CudaArchitecture.SM_80), @"shr\.u32\s+%\w+, %\w+, 16;"));
    }

    [Fact]
    public void Rounding_to_whole_numbers_is_not_simplified_away()
    {
        string ptx = PtxCompiler.Compile(typeof(RoundRowsKernels).GetMethod("Round")!, CudaArchitecture.SM_80);
        Assert.Equal(2, Regex.Count(ptx, "0[fF]4[bB]400000|0[fF][cC][bB]400000"));
        Assert.Contains("div.rn.f32", ptx);
    }

    [Fact]
    public void Assembles_within_the_committed_registers()
    {
        if (PtxCompiler.FindAssembler() is not { } assembler)
        {
            output.WriteLine("SKIPPED: no ptxas on the path or in NOLA_PTXAS; registers and spills were not checked.");
            return;
        }
        SortedDictionary<string, PtxCompiler.Usage> found = [];
        foreach (MethodInfo kernel in KernelCache.All())
        {
            string ptx = PtxCompiler.Compile(kernel, CudaArchitecture.SM_80);
            foreach (string architecture in (string[])["sm_80", "sm_86", "sm_90"])
                found[$"{NameOf(kernel)} {architecture}"] = PtxCompiler.Assemble(assembler, ptx, architecture);
        }
        if (Environment.GetEnvironmentVariable("NOLA_PTXAS_WRITE") is { Length: > 0 } path) File.WriteAllText(path, Format(found));
        Dictionary<string, PtxCompiler.Usage> committed = JsonSerializer.Deserialize<Dictionary<string, PtxCompiler.Usage>>(
            File.ReadAllText(table))!;
        Assert.Equal(committed.Keys.Order(), found.Keys.Order());
        foreach ((string kernel, PtxCompiler.Usage usage) in found)
        {
            Assert.True(usage is { Stack: 0, Spills: 0 }, $"{kernel}: {usage}");
            Assert.True(
                usage.Shared == committed[kernel].Shared && usage.Registers <= committed[kernel].Registers + 4,
                $"{kernel}: {usage}, committed {committed[kernel]}");
        }
    }

    // Products, and attention but for what rounds its operands.
    private static bool MultipliesTiles(string name) =>
        IsProduct(name) || (name.StartsWith("TensorAttention") && !name.Contains(".Round") && !name.Contains(".Prepare"));

    private static bool IsProduct(string name) => name.StartsWith("TensorKernels.") || name.StartsWith("Tf32Kernels.");

    private static string NameOf(MethodInfo kernel) => $"{kernel.DeclaringType!.Name}.{kernel.Name}";

    private static string Format(SortedDictionary<string, PtxCompiler.Usage> usages) =>
        "{\n" + string.Join(",\n", usages.Select(u => $"  {JsonSerializer.Serialize(u.Key)}: {JsonSerializer.Serialize(u.Value)}"))
            + "\n}\n";
}
