#!/usr/bin/env dotnet
// Answers by Microsoft.Extensions.AI with a task's adapter, and scores the answer. Run it with: dotnet run samples/chat.cs
#:project ../src/Nola.Extensions.AI/Nola.Extensions.AI.csproj
#:package Microsoft.Extensions.DependencyInjection
using Microsoft.Extensions.AI;
using Microsoft.Extensions.AI.Evaluation;
using Microsoft.Extensions.DependencyInjection;
using Nola.Extensions.AI;
using Nola.Models;
using Nola.Train;

// A directory of adapters, such as the --out of training runs. Here a task is learned for a few steps first.
string tasks = args is [string given] ? given : Learn();

// One model for all; each adapter is a chat client, whose key is the adapter's name.
await using ServiceProvider services = new ServiceCollection().AddNola(new() { Adapters = tasks }).BuildServiceProvider();
string name = services.GetRequiredService<NolaHost>().Adapters.Adapters.First().Name;
IChatClient client = services.GetRequiredKeyedService<IChatClient>(name);

// Piece by piece, as they come.
const string facts = "name : Blue Spice | Type : pub | food : Indian";
Console.Write($"{name}: ");
List<ChatResponseUpdate> updates = [];
await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync(facts, new() { MaxOutputTokens = 30 }))
{
    Console.Write(update.Text);
    updates.Add(update);
}
ChatResponse answer = updates.ToChatResponse();
Console.WriteLine($"\n{answer.Usage!.OutputTokenCount} tokens, ended by {answer.FinishReason}.");

// Another adapter, or the base model, in one request: by its name.
ChatResponse plain = await client.GetResponseAsync(facts, new() { ModelId = LanguageModel.EmbeddedName, MaxOutputTokens = 30 });
Console.WriteLine($"base: {plain.Text}");

// Nola's metrics as evaluators.
ReferenceTexts references = new("Blue Spice is a pub with Indian food.", "A pub called Blue Spice has Indian food.");
TextMetricsEvaluator evaluator = new(new() { Metrics = ["BLEU", "ROUGE_L"] });
EvaluationResult scores = await evaluator.EvaluateAsync([], answer, additionalContext: [references]);
foreach (EvaluationMetric metric in scores.Metrics.Values) Console.WriteLine($"{metric.Name}: {((NumericMetric)metric).Value:F3}");

static string Learn()
{
    string directory = Directory.CreateTempSubdirectory("nola-tasks-").FullName;
    using Nola.Tensors.Device device = Nola.Tensors.Device.Open("auto");
    using LanguageModel model = LanguageModel.Load(LanguageModel.EmbeddedName, device);
    using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 16, Alpha = 16, Bases = 1024, Targets = ["*"] });
    TextPairs pairs = new(EmbeddedData.E2E("train").Take(1000), "e2e:train");
    new Trainer(model, adapter, new TrainOptions { MaxSteps = 20, WarmupSteps = 5, LearningRate = 0.03f }).Run(pairs, pairs);
    AdapterFile.Save(adapter, Path.Combine(directory, "restaurants.safetensors"));
    return directory;
}
