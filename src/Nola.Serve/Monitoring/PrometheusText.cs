using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;

namespace Nola.Serve;

/// <summary>
/// Everything that some meters measure, in the text format of Prometheus: <c>nola.time_to_first_token</c> in seconds is
/// <c>nola_time_to_first_token_seconds</c>, and a counter ends in <c>_total</c>.
/// </summary>
internal sealed class PrometheusText : IDisposable
{
    /// <summary>What the text is, for who reads it.</summary>
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    private readonly MeterListener listener = new();
    private readonly ConcurrentDictionary<Instrument, ConcurrentDictionary<string, Series>> families = new();

    /// <summary>Listens to meters from now on.</summary>
    /// <param name="meters">Which of the process's meters are told.</param>
    public PrometheusText(params IReadOnlyList<Meter> meters)
    {
        listener.InstrumentPublished = (instrument, own) =>
        {
            if (!meters.Contains(instrument.Meter)) return;
            families.TryAdd(instrument, []);
            own.EnableMeasurementEvents(instrument);
        };
        listener.MeasurementsCompleted = (instrument, state) => families.TryRemove(instrument, out _);
        listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Record(instrument, value, tags));
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Record(instrument, value, tags));
        listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Record(instrument, value, tags));
        listener.Start();
    }

    /// <summary>All values as they are now.</summary>
    public string Write()
    {
        listener.RecordObservableInstruments();
        StringBuilder text = new();
        foreach ((Instrument instrument, ConcurrentDictionary<string, Series> series) in families
            .OrderBy(family => family.Key.Name, StringComparer.Ordinal))
        {
            string name = NameOf(instrument), kind = KindOf(instrument);
            text.Append($"# HELP {name} {instrument.Description}\n# TYPE {name} {kind}\n");
            foreach ((string labels, Series values) in series.OrderBy(s => s.Key, StringComparer.Ordinal)) values.Write(text, name, labels);
        }
        return text.ToString();
    }

    /// <inheritdoc/>
    public void Dispose() => listener.Dispose();

    private void Record(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        if (!families.TryGetValue(instrument, out ConcurrentDictionary<string, Series>? series)) return;
        string labels = Labels(tags);
        if (!series.TryGetValue(labels, out Series? found)) found = series.GetOrAdd(labels, Series.Of(instrument));
        found.Add(value);
    }

    private static string NameOf(Instrument instrument)
    {
        string name = instrument.Name.Replace('.', '_').Replace('-', '_');
        string unit = instrument.Unit switch
        {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        if (!name.EndsWith(unit, StringComparison.Ordinal)) name += unit;
        return KindOf(instrument) == "counter" ? name + "_total" : name;
    }

    private static string KindOf(Instrument instrument)
    {
        string type = instrument.GetType().Name;
        return type.StartsWith("Histogram", StringComparison.Ordinal) ? "histogram"
            : type.Contains("UpDown", StringComparison.Ordinal) || type.Contains("Gauge", StringComparison.Ordinal) ? "gauge"
            : "counter";
    }

    private static string Labels(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        StringBuilder labels = new();
        foreach ((string key, object? value) in tags)
        {
            string text = Convert.ToString(value, CultureInfo.InvariantCulture) ?? "";
            text = text.Replace("\\", "\\\\").Replace("\"", "\\\"").Replace("\n", "\\n");
            labels.Append(labels.Length > 0 ? "," : "").Append(key.Replace('.', '_')).Append("=\"").Append(text).Append('"');
        }
        return labels.ToString();
    }

    private static string Braced(string labels) => labels.Length > 0 ? $"{{{labels}}}" : "";

    private static string Number(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    /// <summary>The values of an instrument under the same labels.</summary>
    private abstract class Series
    {
        private readonly Lock door = new();

        /// <summary>What an instrument's values are gathered in.</summary>
        public static Series Of(Instrument instrument) => KindOf(instrument) switch
        {
            "histogram" => new Buckets(instrument.Unit == "s" ? seconds : counts),
            // Observed instruments tell all, the others what is added.
            _ when instrument.IsObservable => new Last(),
            "gauge" when instrument.GetType().Name.StartsWith("Gauge", StringComparison.Ordinal) => new Last(),
            _ => new Sum(),
        };

        private static readonly double[] seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
        private static readonly double[] counts = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

        public void Add(double value)
        {
            lock (door) AddCore(value);
        }

        public void Write(StringBuilder text, string name, string labels)
        {
            lock (door) WriteCore(text, name, labels);
        }

        protected abstract void AddCore(double value);

        protected abstract void WriteCore(StringBuilder text, string name, string labels);
    }

    private sealed class Sum : Series
    {
        private double sum;

        protected override void AddCore(double value) => sum += value;

        protected override void WriteCore(StringBuilder text, string name, string labels) =>
            text.Append($"{name}{Braced(labels)} {Number(sum)}\n");
    }

    private sealed class Last : Series
    {
        private double last;

        protected override void AddCore(double value) => last = value;

        protected override void WriteCore(StringBuilder text, string name, string labels) =>
            text.Append($"{name}{Braced(labels)} {Number(last)}\n");
    }

    private sealed class Buckets(double[] bounds) : Series
    {
        private readonly long[] counts = new long[bounds.Length + 1];
        private double sum;

        protected override void AddCore(double value)
        {
            int bucket = Array.FindIndex(bounds, bound => value <= bound);
            counts[bucket < 0 ? bounds.Length : bucket]++;
            sum += value;
        }

        protected override void WriteCore(StringBuilder text, string name, string labels)
        {
            long reached = 0;
            string comma = labels.Length > 0 ? "," : "";
            for (int i = 0; i < counts.Length; i++)
            {
                reached += counts[i];
                text.Append($"{name}_bucket{{{labels}{comma}le=\"{(i < bounds.Length ? Number(bounds[i]) : "+Inf")}\"}} {reached}\n");
            }
            text.Append($"{name}_sum{Braced(labels)} {Number(sum)}\n{name}_count{Braced(labels)} {reached}\n");
        }
    }
}
