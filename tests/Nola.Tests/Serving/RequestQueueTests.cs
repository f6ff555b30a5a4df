using Nola.Models;
using Xunit;

namespace Nola.Tests;

/// <summary>Requests that wait.</summary>
public sealed class RequestQueueTests : IDisposable
{
    private readonly ServingCase place = new();
    private readonly AdapterPool pool;
    private readonly PooledAdapter a, b;

    public RequestQueueTests()
    {
        pool = new AdapterPool(place.Model);
        a = pool.Add("a", place.Write(new NolaOptions { Bases = 8 }, 1));
        b = pool.Add("b", place.Write(new NolaOptions { Bases = 8 }, 2));
    }

    public void Dispose()
    {
        pool.Dispose();
        place.Dispose();
    }

    [Fact]
    public void Adapters_take_turns_and_requests_of_one_keep_their_order()
    {
        RequestQueue queue = new();
        foreach ((PooledAdapter? adapter, int id) in ((PooledAdapter?, int)[])[(a, 1), (a, 2), (a, 3), (b, 4), (null, 5), (b, 6)])
            queue.Add(Request(adapter, id));
        Assert.Equal(6, queue.Count);
        Assert.Equal([1, 4, 5, 2, 6, 3], Enumerable.Range(0, 6).Select(_ => queue.Next(_ => true)!.Prompt[0]));
        Assert.Equal(0, queue.Count);
        Assert.Null(queue.Next(_ => true));
    }

    [Fact]
    public void Others_pass_one_that_finds_no_room_but_not_for_ever()
    {
        RequestQueue queue = new();
        queue.Add(Request(a, 0));
        int passed = 0;
        for (; passed < 10_000; passed++)
        {
            queue.Add(Request(b, 1));
            if (queue.Next(request => request.Adapter != a) is null) break;
        }
        Assert.InRange(passed, 10, 1000);
        Assert.Equal(0, queue.Next(_ => true)!.Prompt[0]);
        Assert.Equal(1, queue.Next(request => request.Adapter != a)!.Prompt[0]);
    }

    [Fact]
    public void Those_that_are_canceled_are_taken_out_wherever_they_wait()
    {
        RequestQueue queue = new();
        ServedRequest[] all = [.. Enumerable.Range(0, 6).Select(i => Request(i % 2 == 0 ? a : null, i))];
        foreach (ServedRequest request in all) queue.Add(request);
        foreach (int i in (int[])[1, 2, 3, 5]) all[i].Cancel();
        Assert.Equal([1, 2, 3, 5], queue.Remove(request => request.IsCanceled).Select(request => request.Prompt[0]).Order());
        Assert.Equal(2, queue.Count);
        Assert.Equal([0, 4], Enumerable.Range(0, 2).Select(_ => queue.Next(_ => true)!.Prompt[0]));
    }

    private static ServedRequest Request(PooledAdapter? adapter, int id) =>
        new(new() { Prompt = [id], Adapter = adapter }, [id], new(), 1, () => { }, CancellationToken.None);
}
