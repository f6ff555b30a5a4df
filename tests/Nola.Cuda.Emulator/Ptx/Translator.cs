using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Nola.Cuda.Emulator;

/// <summary>
/// PTX to C, an instruction at a time: a kernel becomes a function that one thread runs, with a variable for each register.
/// What threads do together, and every access to memory, is a call to the machine of Driver/kernel.h.
/// </summary>
public sealed partial class Translator
{
    private readonly PtxKernel kernel;
    private readonly int target;
    private readonly StringBuilder declarations = new(), code = new();
    private readonly Dictionary<string, string> groups = [];
    private readonly List<Dictionary<string, Variable>> scopes = [[]];
    private readonly Dictionary<string, int> shared = [];
    private readonly Dictionary<string, string[]> branchTargets = [];
    private readonly List<Costs> blocks = [];
    private int sharedBytes, sites, uniforms, scoped;
    private bool atBlockStart = true;

    private Translator(PtxKernel kernel, int target) => (this.kernel, this.target) = (kernel, target);

    /// <summary>The C of a module.</summary>
    /// <exception cref="PtxException">
    /// Something in it is not understood, or is not there on its target;
    /// the message says what and in which line.
    /// </exception>
    public static string Translate(string ptx)
    {
        PtxModule module = PtxModule.Read(ptx);
        return "#include \"kernel.h\"\n"
            + string.Concat(module.Kernels.Select(k => new Translator(k, module.Target).Kernel(module.Name ?? k.Name)));
    }

    private string Kernel(string name)
    {
        ReadBranchTargets();
        foreach (PtxStatement statement in kernel.Statements)
        {
            try
            {
                Add(statement);
            }
            catch (PtxException error)
            {
                throw new PtxException($"line {statement.Line}: {error.Message}: {statement.Text}");
            }
        }
        string costs = blocks.Count == 0 ? "{ 0 }" : string.Join(",\n", blocks);
        return string.Create(CultureInfo.InvariantCulture, $$"""

            static u64 executed_{{kernel.Name}}[{{Math.Max(1, blocks.Count)}}];
            static const u32 costs_{{kernel.Name}}[][COUNTS] = {
            {{costs}}
            };

            static void run_{{kernel.Name}}(Thread *t) {
            Machine *machine = t->machine;
            u64 *executed = executed_{{kernel.Name}};
            {{declarations}}
            {{code}}
            done: (void)machine, (void)executed;
            }

            const Kernel kernel_{{kernel.Name}} = {
                run_{{kernel.Name}}, "{{name}}", {{kernel.ParameterBytes}}, {{sharedBytes}}, {{kernel.Threads}}, {{uniforms}},
                {{blocks.Count}}, executed_{{kernel.Name}}, costs_{{kernel.Name}},
            };

            """);
    }

    // The list of targets of an indirect branch may stand behind it.
    private void ReadBranchTargets()
    {
        string label = "";
        foreach (PtxStatement statement in kernel.Statements)
        {
            if (statement.Text.EndsWith(':')) label = statement.Text[..^1];
            else if (statement.Text.StartsWith(".branchtargets", StringComparison.Ordinal))
                branchTargets[label] = statement.Text[".branchtargets".Length..].Split(',', StringSplitOptions.TrimEntries);
        }
    }

    private void Add(PtxStatement statement)
    {
        string text = statement.Text;
        if (text == "{") scopes.Add([]);
        else if (text == "}") scopes.RemoveAt(scopes.Count - 1);
        else if (text.EndsWith(':')) AddLabel(text[..^1]);
        else if (text.StartsWith('.')) Declare(text);
        else Add(PtxInstruction.Read(statement));
    }

    private void AddLabel(string label)
    {
        code.AppendLine(CultureInfo.InvariantCulture, $"{Label(label)}: ;");
        atBlockStart = true;
    }

    private void Add(PtxInstruction x)
    {
        if (atBlockStart)
        {
            code.AppendLine(CultureInfo.InvariantCulture, $"executed[{blocks.Count}]++;");
            blocks.Add(new Costs());
        }
        blocks[^1].Add(x);
        string c = Instruction(x);
        // A branch deals with its predicate itself.
        if (x.Guard is { } guard && x.Name != "bra") c = $"if ({(x.GuardIsFalse ? "!" : "")}{Read(guard, PtxType.Predicate)}) {{ {c} }}";
        code.AppendLine(c);
        atBlockStart = x.Name is "bra" or "brx" or "ret" or "exit";
    }

    private void Declare(string text)
    {
        if (text.StartsWith(".branchtargets", StringComparison.Ordinal) || text.StartsWith(".pragma", StringComparison.Ordinal)) return;
        if (RegisterGroup().Match(text) is { Success: true } group)
        {
            PtxType type = PtxType.Of(group.Groups[1].Value);
            groups[group.Groups[2].Value] = group.Groups[1].Value;
            for (int i = 0; i < int.Parse(group.Groups[3].Value, CultureInfo.InvariantCulture); i++)
                declarations.AppendLine(CultureInfo.InvariantCulture, $"{type.C} {group.Groups[2].Value}_{i} = 0;");
        }
        else if (Register().Match(text) is { Success: true } one)
        {
            PtxType type = PtxType.Of(one.Groups[1].Value);
            Variable variable = new($"own{++scoped}_{one.Groups[2].Value}", type);
            scopes[^1][one.Groups[2].Value] = variable;
            declarations.AppendLine(CultureInfo.InvariantCulture, $"{type.C} {variable.Name} = 0;");
        }
        else if (Shared().Match(text) is { Success: true } array)
        {
            int align = array.Groups[1].Success
                ? int.Parse(array.Groups[1].Value, CultureInfo.InvariantCulture)
                : PtxType.Of(array.Groups[2].Value).Bytes;
            int length = array.Groups[4].Success ? int.Parse(array.Groups[4].Value, CultureInfo.InvariantCulture) : 1;
            sharedBytes = (sharedBytes + align - 1) / align * align;
            shared[array.Groups[3].Value] = sharedBytes;
            sharedBytes += PtxType.Of(array.Groups[2].Value).Bytes * length;
        }
        else
        {
            throw new PtxException("the declaration is not known");
        }
    }

    private static string Label(string label) => "label_" + label.Replace('$', '_');

    private Variable? Find(string operand)
    {
        for (int i = scopes.Count - 1; i >= 0; i--)
            if (scopes[i].TryGetValue(operand, out Variable? found)) return found;
        return Numbered().Match(operand) is { Success: true } m && groups.TryGetValue(m.Groups[1].Value, out string? suffix)
            ? new($"{m.Groups[1].Value}_{m.Groups[2].Value}", PtxType.Of(suffix))
            : null;
    }

    /// <summary>An operand's value as an expression of a type.</summary>
    private string Read(string operand, PtxType type)
    {
        if (Special().Match(operand) is { Success: true } special)
            return special.Groups[3].Success
                ? $"(({type.C})t->lane)"
                : $"(({type.C})t->{special.Groups[1].Value}[{"xyz".IndexOf(special.Groups[2].Value[0], StringComparison.Ordinal)}])";
        if (Find(operand) is { } variable) return Read(variable, type);
        if (shared.TryGetValue(operand, out int place)) return string.Create(CultureInfo.InvariantCulture, $"(({type.C}){place})");
        return Literal(operand, type);
    }

    private static string Read(Variable variable, PtxType type)
    {
        if (variable.Type == PtxType.Predicate) return variable.Name;
        if (type.IsFloat)
            return variable.Type == type ? variable.Name
                : type.Bytes == 4 ? $"as_float((u32){variable.Name})"
                : $"as_double({variable.Name})";
        if (variable.Type.IsFloat) return $"(({type.C}){(variable.Type.Bytes == 4 ? "of_float" : "of_double")}({variable.Name}))";
        return $"(({type.C}){variable.Name})";
    }

    private static string Literal(string text, PtxType type)
    {
        if (FloatBits().IsMatch(text))
        {
            bool wide = text[1] is 'd' or 'D';
            string word = $"0x{text[2..]}{(wide ? "ull" : "u")}";
            return !type.IsFloat ? $"(({type.C}){word})"
                : wide == (type.Bytes == 8) ? $"{(wide ? "as_double" : "as_float")}({word})"
                : throw new PtxException($"{text} is of another precision");
        }
        if (!Whole().IsMatch(text)) throw new PtxException($"operand '{text}' is not understood");
        if (type.IsFloat) throw new PtxException($"whole number {text} for a float");
        string number = text.TrimEnd('U');
        return type == PtxType.Predicate ? number : $"(({type.C}){number}{(number.StartsWith('-') ? "ll" : "ull")})";
    }

    /// <summary>The statement that gives a register the value of an expression of a type.</summary>
    private string Write(string destination, PtxType type, string value)
    {
        Variable to = Find(destination) ?? throw new PtxException($"'{destination}' is no register");
        if (to.Type == PtxType.Predicate) return $"{to.Name} = ({value}) != 0;";
        if (type.IsFloat)
            return to.Type == type ? $"{to.Name} = {value};" : $"{to.Name} = {(type.Bytes == 4 ? "of_float" : "of_double")}({value});";
        if (to.Type.IsFloat) return $"{to.Name} = {(to.Type.Bytes == 4 ? $"as_float((u32)({value}))" : $"as_double((u64)({value}))")};";
        // Into a wider register signed values are extended by their sign.
        return $"{to.Name} = ({to.Type.C})({type.C})({value});";
    }

    /// <summary>An address in brackets, as an expression; of a parameter its offset.</summary>
    private string Address(string operand, out bool isParameter)
    {
        if (Bracketed().Match(operand) is not { Success: true } m) throw new PtxException($"address '{operand}' is not understood");
        string name = m.Groups[1].Value;
        int offset = m.Groups[2].Success ? int.Parse(m.Groups[2].Value, CultureInfo.InvariantCulture) : 0;
        isParameter = kernel.Parameters.TryGetValue(name, out int parameter);
        if (isParameter) return (parameter + offset).ToString(CultureInfo.InvariantCulture);
        if (shared.TryGetValue(name, out int place)) return string.Create(CultureInfo.InvariantCulture, $"((u64){place + offset})");
        PtxType type = (Find(name) ?? throw new PtxException($"'{name}' is no register")).Type.Bytes == 8
            ? PtxType.Of("u64")
            : PtxType.Of("u32");
        return string.Create(CultureInfo.InvariantCulture, $"((u64){Read(name, type)} + {offset}ll)");
    }

    private sealed record Variable(string Name, PtxType Type);

    [GeneratedRegex(@"^\.reg\s+\.(\w+)\s+%(\w+?)<(\d+)>$")]
    private static partial Regex RegisterGroup();

    [GeneratedRegex(@"^\.reg\s+\.(\w+)\s+(\w+)$")]
    private static partial Regex Register();

    [GeneratedRegex(@"^\.shared\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+(\w+)(?:\[(\d+)\])?$")]
    private static partial Regex Shared();

    [GeneratedRegex(@"^%([a-z]+)(\d+)$")]
    private static partial Regex Numbered();

    [GeneratedRegex(@"^%(?:(tid|ctaid|ntid|nctaid)\.([xyz])|(laneid))$")]
    private static partial Regex Special();

    [GeneratedRegex(@"^0[fF]([0-9a-fA-F]{8})$|^0[dD]([0-9a-fA-F]{16})$")]
    private static partial Regex FloatBits();

    [GeneratedRegex(@"^-?(0x[0-9a-fA-F]+|\d+)U?$")]
    private static partial Regex Whole();

    [GeneratedRegex(@"^\[\s*([^\s+\]]+)\s*(?:\+\s*(-?\d+))?\s*\]$")]
    private static partial Regex Bracketed();
}
