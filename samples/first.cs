#!/usr/bin/env dotnet
// Teaches a small GPT-2 to describe restaurants, on the CPU or a GPU, with nothing downloaded. Run it with: dotnet run samples/first.cs
#:project ../src/Nola.Train/Nola.Train.csproj
using Nola.Models;
using Nola.Tensors;
using Nola.Train;

// Where everything is computed: an NVIDIA GPU if there is one, else the CPU.
using Device device = Device.Open("auto");

// The base model, whose weights stay as they are. In place of the embedded one: a directory, or a name in the Hugging Face cache.
using LanguageModel model = LanguageModel.Load("nola-tiny", device);

// What is trained beside it: for each weight, how much of 1,024 random matrices to mix into a small change of it.
using TrainableAdapter adapter = model.NewAdapter(new NolaOptions { Rank = 16, Alpha = 16, Bases = 1024, Targets = ["*"] });

// Facts about restaurants, and sentences that tell them. Your own: TextPairs.Read("trainset.csv").
TextPairs all = EmbeddedData.E2E("train");
TextPairs training = new(all.Take(1000), all.Source);
TextPairs validation = new(EmbeddedData.E2E("dev").Take(50), "e2e:dev");

// Twenty steps: enough to see the loss fall. Some hundred make the sentences good.
TrainOptions options = new() { MaxSteps = 20, WarmupSteps = 5, LearningRate = 0.03f };
TrainResult result = new Trainer(model, adapter, options).Run(training, validation);
Console.WriteLine($"Trained {adapter.ParameterCount:N0} values; loss {result.FirstLoss:F3} before, {result.LastLoss:F3} after.");

// What the adapter makes of a restaurant, word by word the likeliest.
const string facts = "name : Blue Spice | Type : pub | food : Indian";
GenerateOptions greedy = new() { MaxNewTokens = 30 };
Console.WriteLine($"Trained: {model.Generate(facts, adapter, greedy)}");

// A file keeps it, and gives it back to any program that has the base model.
string file = Path.Combine(Path.GetTempPath(), "restaurants.safetensors");
AdapterFile.Save(adapter, file);
using LoadedAdapter loaded = AdapterFile.Load(file, model);
Console.WriteLine($"Loaded:  {model.Generate(facts, loaded, greedy)}");
