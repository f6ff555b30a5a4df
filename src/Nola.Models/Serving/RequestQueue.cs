namespace Nola.Models;

/// <summary>
/// Requests that wait: one queue for each adapter, which take turns, so that many requests with one adapter do not keep those with
/// another waiting. Not thread-safe.
/// </summary>
internal sealed class RequestQueue
{
    // So often may younger requests go before one that finds no room; then all wait for it.
    private const int MostPasses = 256;

    // Whose turn it is stands first.
    private readonly LinkedList<Queue<ServedRequest>> turns = new();
    private readonly Dictionary<string, LinkedListNode<Queue<ServedRequest>>> queues = [];

    /// <summary>How many wait.</summary>
    public int Count { get; private set; }

    /// <summary>Adds a request behind those of its adapter.</summary>
    public void Add(ServedRequest request)
    {
        if (!queues.TryGetValue(request.Key, out LinkedListNode<Queue<ServedRequest>>? queue))
            queues[request.Key] = queue = turns.AddLast(new Queue<ServedRequest>());
        queue.Value.Enqueue(request);
        Count++;
    }

    /// <summary>Takes out the first, in the order of turns, that there is room for; null where there is none.</summary>
    public ServedRequest? Next(Func<ServedRequest, bool> fits)
    {
        for (LinkedListNode<Queue<ServedRequest>>? turn = turns.First; turn is not null; turn = turn.Next)
        {
            ServedRequest request = turn.Value.Peek();
            if (fits(request))
            {
                foreach (Queue<ServedRequest> before in turns.TakeWhile(queue => queue != turn.Value)) before.Peek().Passed++;
                Take(request.Key, turn);
                return request;
            }
            if (request.Passed >= MostPasses) return null;
        }
        return null;
    }

    /// <summary>Takes out all that satisfy a condition.</summary>
    public List<ServedRequest> Remove(Predicate<ServedRequest> condition)
    {
        List<ServedRequest> removed = [];
        foreach ((string key, LinkedListNode<Queue<ServedRequest>> turn) in queues.ToArray())
        {
            ServedRequest[] all = [.. turn.Value];
            if (!Array.Exists(all, condition)) continue;
            removed.AddRange(all.Where(request => condition(request)));
            turn.Value.Clear();
            foreach (ServedRequest request in all.Where(request => !condition(request))) turn.Value.Enqueue(request);
            if (turn.Value.Count == 0) Forget(key, turn);
        }
        Count -= removed.Count;
        return removed;
    }

    private void Take(string key, LinkedListNode<Queue<ServedRequest>> turn)
    {
        turn.Value.Dequeue();
        Count--;
        turns.Remove(turn);
        if (turn.Value.Count == 0) queues.Remove(key);
        else turns.AddLast(turn);
    }

    private void Forget(string key, LinkedListNode<Queue<ServedRequest>> turn)
    {
        turns.Remove(turn);
        queues.Remove(key);
    }
}
