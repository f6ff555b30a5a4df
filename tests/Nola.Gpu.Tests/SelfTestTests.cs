using Nola.Tensors;
using Xunit;

namespace Nola.Tests;

/// <summary>What a card is refused for, and what is only said.</summary>
public sealed class SelfTestTests
{
    private static readonly float[] expected = [1, 0.5f, -3];

    [Fact]
    public void Equal_results_need_no_word() => Assert.Null(SelfTest.Compare("Sum", [1, 0.5f, -3], expected));

    [Fact]
    public void One_unit_in_the_last_place_is_said_and_no_reason_to_refuse() =>
        Assert.Equal(
            "Attention: 2 of 3 results are one unit in the last place off, the first 0.50000006 for 0.5",
            SelfTest.Compare("Attention", [1, MathF.BitIncrement(0.5f), MathF.BitDecrement(-3)], expected));

    [Theory]
    [InlineData(1.0000002f, false)]         // two units
    [InlineData(float.NaN, false)]
    [InlineData(-1f, false)]
    [InlineData(1.0000001f, true)]          // one unit in an entry of a basis, which belongs to its seed
    public void Anything_else_is_refused(float got, bool exactly) =>
        Assert.Contains(
            "Sum: element 0 is ", Assert.Throws<NolaException>(() => SelfTest.Compare("Sum", [got, 0.5f, -3], expected, exactly)).Message);

    [Fact]
    public void The_backward_pass_and_decoding_pass_too()
    {
        Assert.Empty(SelfTest.RunBackward(TestGpu.Device));
        Assert.Empty(SelfTest.RunDecoding(TestGpu.Device));
    }

    [Theory]
    [InlineData(100, "CUDA_VISIBLE_DEVICES")]
    [InlineData(802, "nvidia-fabricmanager")]
    [InlineData(803, "restart the machine")]
    [InlineData(804, "cuda-compat")]
    [InlineData(999, "nvidia_uvm")]
    public void Errors_of_the_driver_that_a_person_can_mend_say_how(int code, string how) => Assert.Contains(how, CudaDriver.Advice(code)!);

    [Fact]
    public void Others_are_the_drivers_words_alone() => Assert.Null(CudaDriver.Advice(700));
}
