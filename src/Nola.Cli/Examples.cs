using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Nola.Cli;

/// <summary>Lines that can be typed as they are, below the help of each command.</summary>
internal static class Examples
{
    private const string Adapter = "runs/first/adapter.safetensors", Images = "runs/flowers/adapter.safetensors";

    private static readonly Dictionary<string, string[]> lines = new()
    {
        ["nola"] = ["nola train --out runs/first", $"nola generate --adapter {Adapter} --prompt \"name : The Punter | food : Indian\""],
        ["nola train"] =
        [
            "nola train --out runs/first",
            "nola train --model gpt2-medium --data trainset.csv --valid devset.csv --out runs/mine",
            "nola train --model google/vit-base-patch16-224-in21k --images flowers --shots 5 --out runs/flowers",
        ],
        ["nola experiment"] = ["nola experiment experiments/e2e-tiny.json --out runs/e2e-tiny"],
        ["nola sweep"] = ["nola sweep runs.jsonl --config common.json --out runs/sweep --shard 0/8"],
        ["nola generate"] =
        [
            $"nola generate --adapter {Adapter} --prompt \"name : The Punter | food : Indian\"",
            "nola generate --prompt \"name : The Punter\" --top-p 0.9 --num-samples 3 --seed 7",
            $"nola generate --adapter {Adapter} --prompts e2e:test --out answers.txt --beams 10 --length-penalty 0.8 --no-repeat-ngram 4",
        ],
        ["nola serve"] = ["nola serve --adapters runs", "nola serve --model gpt2-medium --adapters tasks --port 8000"],
        ["nola loss"] = [$"nola loss --adapter {Adapter} --pairs e2e:test"],
        ["nola evaluate"] = ["nola evaluate mmlu data/mmlu --model meta-llama/Llama-2-7b-hf"],
        ["nola evaluate mmlu"] = ["nola evaluate mmlu data/mmlu --model meta-llama/Llama-2-7b-hf"],
        ["nola evaluate choices"] = ["nola evaluate choices questions.jsonl --model Qwen/Qwen3-0.6B"],
        ["nola evaluate images"] = [$"nola evaluate images flowers --model google/vit-base-patch16-224-in21k --adapter {Images}"],
        ["nola classify"] = [$"nola classify --model google/vit-base-patch16-224-in21k --adapter {Images} rose.jpg"],
        ["nola preprocess"] = ["nola preprocess rose.jpg --out rose.safetensors"],
        ["nola forward"] = ["nola forward --ids 15496,995 --out logits.safetensors"],
        ["nola merge"] = [$"nola merge --adapter {Adapter} --out merged"],
        ["nola export"] = [$"nola export --adapter {Adapter} --out peft"],
        ["nola quantize"] = [$"nola quantize {Adapter} --bits 4 --out small.safetensors"],
        ["nola join"] = ["nola join runs/restaurants/adapter.safetensors runs/laptops/adapter.safetensors --out tasks.safetensors"],
        ["nola inspect"] = [$"nola inspect {Adapter}"],
        ["nola models"] = ["nola models"],
        ["nola data"] = ["nola data sets"],
        ["nola data convert"] = ["nola data convert webnlg/test --subset unseen --out unseen.jsonl"],
        ["nola devices"] = ["nola devices"],
        ["nola doctor"] = ["nola doctor"],
        ["nola score"] = ["nola score --refs references.txt --hyp outputs.txt"],
        ["nola pretrain"] = ["nola pretrain --text corpus.txt --out runs/new"],
    };

    /// <summary>Puts the examples below the help of every command.</summary>
    public static void AddTo(RootCommand root)
    {
        HelpOption help = root.Options.OfType<HelpOption>().Single();
        help.Action = new HelpWithExamples((HelpAction)help.Action!);
    }

    private sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
    {
        // Help is given whatever else the line lacks.
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parsed)
        {
            int code = help.Invoke(parsed);
            if (!lines.TryGetValue(Usage.NameOf(parsed.CommandResult), out string[]? examples)) return code;
            TextWriter output = parsed.InvocationConfiguration.Output;
            output.WriteLine(examples.Length == 1 ? "Example:" : "Examples:");
            foreach (string example in examples) output.WriteLine($"  {example}");
            return code;
        }
    }
}
