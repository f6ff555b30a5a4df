using Nola.Autograd;
using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

public sealed class AttentionLayoutTests
{
    [Fact]
    public void Columns_follow_from_heads()
    {
        AttentionLayout layout = new(heads: 6, keyValueHeads: 2, headSize: 5);
        Assert.Equal((30, 10, 50), (layout.QueryWidth, layout.KeyWidth, layout.Width));
        Assert.Equal((30, 40, 3), (layout.KeyColumn, layout.ValueColumn, layout.Group));
        Assert.True(layout.Causal);
        Assert.Equal(0, layout.Window);
        Assert.Equal(new AttentionLayout(12, 12, 64), AttentionLayout.Of(768, 12));
        Assert.NotEqual(layout, new AttentionLayout(6, 2, 5, window: 7));
    }

    [Theory]
    [InlineData(0, 1, 4, true, 0, "0 query heads")]
    [InlineData(6, 4, 4, true, 0, "6 query heads, 4 key and value heads")]
    [InlineData(2, 4, 4, true, 0, "as many query heads for each")]
    [InlineData(2, 0, 4, true, 0, "0 key and value heads")]
    [InlineData(2, 2, 0, true, 0, "of 0 columns")]
    [InlineData(2, 2, 4, true, -1, "a window of -1 tokens in causal")]
    [InlineData(2, 2, 4, false, 8, "a window of 8 tokens in bidirectional")]
    [InlineData(65536, 65536, 65536, true, 0, "more than 2147483647 columns")]
    public void What_does_not_fit_is_refused(int heads, int keyValueHeads, int size, bool causal, int window, string message) =>
        Assert.Contains(
            message, Assert.Throws<ArgumentException>(() => new AttentionLayout(heads, keyValueHeads, size, causal, window)).Message);

    // Around the length from which scores are no longer computed whole, and with blocks of 28 and 56 queries.
    [Theory]
    [InlineData(127, true, 0)]
    [InlineData(128, true, 0)]
    [InlineData(128, false, 0)]
    [InlineData(129, true, 0)]
    [InlineData(129, true, 100)]
    [InlineData(197, false, 0)]
    [InlineData(260, true, 0)]
    [InlineData(260, true, 90)]
    [InlineData(300, false, 0)]
    public void Attention_over_long_sequences(int tokens, bool causal, int window)
    {
        using CpuDevice device = new(2);
        AttentionLayout layout = new(heads: 4, keyValueHeads: 2, headSize: 20, causal, window);
        int[] starts = [0, 3, 3 + tokens];
        using Tensor onDevice = device.From(starts);
        OpCheck.Run(
            device, new Random(tokens + window), [("qkv", [starts[^1], layout.Width], 1)],
            (_, x) => Ops.Attention(x[0], onDevice, layout), x => Reference.Attention(x[0], starts, layout), 5e-5);
    }

    [Theory]
    [InlineData(10, 4)]
    [InlineData(10, 0)]
    [InlineData(0, 2)]
    public void Heads_divide_channels(int channels, int heads) =>
        Assert.Contains(
            $"{channels} channels in {heads} heads", Assert.Throws<ArgumentException>(() => AttentionLayout.Of(channels, heads)).Message);

    [Fact]
    public void Tensors_of_another_layout_are_refused()
    {
        using CpuDevice device = new(1);
        using Tensor qkv = device.Zeros([3, 12]), starts = device.From([0, 3]);
        using Tensor y = device.Zeros([3, 4]), wide = device.Zeros([3, 8]), lse = device.Zeros([2, 3]);
        using Tensor keys = device.Zeros([2, 5, 2]), few = device.Zeros([1, 5, 2]), rows = device.From([0, 1, 2]);
        AttentionLayout fits = new(2, 2, 2), grouped = new(2, 1, 2);
        device.Attention(qkv, starts, fits, y, lse);
        Assert.Contains("qkv is (3, 12)", Refused(() => device.Attention(qkv, starts, grouped, y, lse)));
        Assert.Contains("H = 0, G = 0 and D = 0", Refused(() => device.Attention(qkv, starts, default, y, lse)));
        Assert.Contains("y (3, 8)", Refused(() => device.Attention(qkv, starts, fits, wide, lse)));
        Assert.Contains("AttentionGrad", Refused(() => device.AttentionGrad(qkv, starts, fits, y, y, y, qkv)));
        device.AttentionCached(qkv, starts, rows, starts, fits, keys, keys, y);
        Assert.Contains("keys (1, 5, 2)", Refused(() => device.AttentionCached(qkv, starts, rows, starts, fits, few, few, y)));
        Assert.Contains("H = 2, G = 1", Refused(() => device.AttentionCached(qkv, starts, rows, starts, grouped, few, few, y)));
    }

    private static string Refused(Action call) => Assert.Throws<ShapeException>(call).Message;
}
