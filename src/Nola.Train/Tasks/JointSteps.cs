using Nola.Models;

namespace Nola.Train;

/// <summary>
/// Runs trainers that take their steps together. Each has a thread of its own, but only one thread works at any time: a trainer works
/// until it needs gradients, or its adapter brought up to date; then it waits, the next one has its turn, and when all wait, what they
/// need is done for all at once.
/// </summary>
internal sealed class JointSteps(LanguageModel model, int batchTokens) : IDisposable
{
    private readonly SemaphoreSlim back = new(0);

    /// <summary>Runs some work, as much at once as is said; each is given who does its steps.</summary>
    public void Run(int together, IEnumerable<Action<ITrainDriver>> works)
    {
        using IEnumerator<Action<ITrainDriver>> waiting = works.GetEnumerator();
        List<Lane> lanes = [];
        bool more = true;
        while (true)
        {
            foreach (Lane lane in lanes.Where(lane => !lane.Waits).ToArray()) Continue(lane);
            lanes.RemoveAll(lane => lane.HasEnded);
            while (lanes.Count < together && more && (more = waiting.MoveNext()))
            {
                Lane lane = new(waiting.Current, back);
                Continue(lane);
                if (!lane.HasEnded) lanes.Add(lane);
            }
            if (lanes.Count == 0) return;
            if (lanes.Exists(lane => lane.Updates is not null)) Update([.. lanes.Where(lane => lane.Updates is not null)]);
            else Step(lanes);
        }
    }

    public void Dispose() => back.Dispose();

    // Until it ends or waits for something that is done for all.
    private void Continue(Lane lane)
    {
        do
        {
            lane.Continue();
            back.Wait();
            lane.RunAction();
        }
        while (!lane.HasEnded && !lane.Waits);
        lane.ThrowUnexpected();
    }

    private static void Update(IReadOnlyList<Lane> lanes) => Try(lanes, () =>
    {
        TrainableAdapter.UpdateTogether([.. lanes.Select(lane => lane.Updates!)]);
        foreach (Lane lane in lanes) lane.Done(0);
    });

    private void Step(IReadOnlyList<Lane> lanes) => Try(lanes, () =>
    {
        long[] tokens = TrainStep.GradientsTogether(model, [.. lanes.Select(lane => lane.Steps!)], batchTokens);
        for (int i = 0; i < tokens.Length; i++) lanes[i].Done(tokens[i]);
    });

    // What cannot be done for all is an error of each.
    private static void Try(IReadOnlyList<Lane> lanes, Action work)
    {
        try
        {
            work();
        }
        catch (Exception error)
        {
            foreach (Lane lane in lanes) lane.Fail(error);
        }
    }

    /// <summary>A trainer on its thread.</summary>
    private sealed class Lane : ITrainDriver
    {
        private readonly SemaphoreSlim turn = new(0), back;
        private readonly Thread thread;
        private Action? action;
        private Exception? failure, unexpected;
        private long tokens;

        public Lane(Action<ITrainDriver> work, SemaphoreSlim back)
        {
            this.back = back;
            thread = new Thread(() => Run(work)) { IsBackground = true, Name = "nola task" };
            thread.Start();
        }

        public bool HasEnded { get; private set; }

        /// <summary>Whether it waits for what is done for all.</summary>
        public bool Waits => Steps is not null || Updates is not null;

        public StepWork? Steps { get; private set; }

        public TrainableAdapter? Updates { get; private set; }

        public void Continue() => turn.Release();

        // Heavy work is done by the thread of the device, whose buffers are large already.
        public void RunAction()
        {
            if (action is null) return;
            try
            {
                action();
            }
            catch (Exception error)
            {
                failure = error;
            }
            action = null;
        }

        public void Done(long read)
        {
            tokens = read;
            Steps = null;
            Updates = null;
        }

        public void Fail(Exception error)
        {
            failure = error;
            Done(0);
        }

        public void ThrowUnexpected()
        {
            if (unexpected is not null) throw new InvalidOperationException("A task ended by an error of the program.", unexpected);
        }

        public long Gradients(StepWork work)
        {
            Steps = work;
            Wait();
            return tokens;
        }

        public void Update(TrainableAdapter adapter)
        {
            Updates = adapter;
            Wait();
        }

        public void Do(Action work)
        {
            action = work;
            Wait();
        }

        private void Run(Action<ITrainDriver> work)
        {
            turn.Wait();
            try
            {
                work(this);
            }
            catch (Exception error)
            {
                unexpected = error;
            }
            HasEnded = true;
            back.Release();
        }

        private void Wait()
        {
            back.Release();
            turn.Wait();
            if (failure is not { } error) return;
            failure = null;
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(error).Throw();
        }
    }
}
