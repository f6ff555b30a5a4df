using System.Globalization;

namespace Nola.Cuda.Emulator;

// What each instruction is in C.
public sealed partial class Translator
{
    // The generation of cards that an instruction is there from.
    private static readonly (string Start, int Target)[] needs =
    [
        ("mma.sync.aligned.m16n8k16", 80), ("mma.sync.aligned.m16n8k8.row.col.f32.tf32", 80),
        ("cp.async", 80), ("cvt.rn.bf16x2", 80), ("cvt.rna.tf32", 80), ("ldmatrix", 75),
    ];

    private static readonly PtxType b32 = PtxType.Of("b32"), u32 = PtxType.Of("u32"), u64 = PtxType.Of("u64"), f32 = PtxType.Of("f32");

    private string Instruction(PtxInstruction x)
    {
        foreach ((string start, int from) in needs)
            if (target < from && x.Code.StartsWith(start, StringComparison.Ordinal))
                throw new PtxException($"needs .target sm_{from}, and this is for sm_{target}");
        return x.Name switch
        {
            "bra" => Branch(x),
            "brx" => IndirectBranch(x),
            "ret" or "exit" => "goto done;",
            "mov" => Write(x.Operands[0], x.Type, Read(x.Operands[1], x.Type)),
            "ld" or "st" => Access(x),
            "atom" or "red" => Atomic(x),
            "setp" => Compare(x),
            "selp" => Write(
                x.Operands[0],
                x.Type,
                $"{Read(x.Operands[3], PtxType.Predicate)} ? {Read(x.Operands[1], x.Type)} : {Read(x.Operands[2], x.Type)}"),
            "add" or "sub" or "mul" or "mad" or "fma" or "div" or "rem" or "min" or "max" => x.Type.IsFloat
                ? FloatArithmetic(x)
                : WholeArithmetic(x),
            "and" or "or" or "xor" => Write(
                x.Operands[0],
                x.Type,
                $"{Read(x.Operands[1], x.Type)} {x.Name switch { "and" => "&", "or" => "|", _ => "^" }} {Read(x.Operands[2], x.Type)}"),
            "not" => Write(x.Operands[0], x.Type, (x.Type == PtxType.Predicate ? "!" : "~") + Read(x.Operands[1], x.Type)),
            "neg" => Write(
                x.Operands[0], x.Type, x.Type.IsFloat ? "-" + Read(x.Operands[1], x.Type) : $"0 - {Read(x.Operands[1], x.Type.Unsigned)}"),
            "abs" => Absolute(x),
            "shl" or "shr" => Shift(x),
            "popc" => Write(x.Operands[0], u32, $"__builtin_popcountll({Read(x.Operands[1], x.Type)})"),
            "clz" => CountLeadingZeros(x),
            "ex2" or "lg2" or "rcp" or "sqrt" or "rsqrt" => Approximate(x),
            "cvt" => Convert(x),
            "cvta" => ConvertAddress(x),
            "bar" => Barrier(x),
            "shfl" => Shuffle(x),
            "ldmatrix" => LoadMatrices(x),
            "mma" => MultiplyMatrices(x),
            "cp" => CopyAsync(x),
            "membar" => ";",
            _ => throw new PtxException($"instruction {x.Code} is not known"),
        };
    }

    private string Branch(PtxInstruction x)
    {
        string to = $"goto {Label(x.Operands[0])};";
        if (x.Guard is not { } guard) return to;
        string taken = (x.GuardIsFalse ? "!" : "") + Read(guard, PtxType.Predicate);
        return x.Has("uni")
            ? Format($"{{ int taken = {taken}; machine->uniform(t, {uniforms++}, taken, {x.Line}); if (taken) {to} }}")
            : $"if ({taken}) {to}";
    }

    private string IndirectBranch(PtxInstruction x)
    {
        IEnumerable<string> cases = branchTargets[x.Operands[1]].Select((label, i) => Format($"case {i}: goto {Label(label)};"));
        string beyond = Format($"machine->fail(t, \"indirect branch beyond its targets\", {x.Line});");
        return $"switch ({Read(x.Operands[0], u32)}) {{ {string.Join(' ', cases)} default: {beyond} }}";
    }

    private string Access(PtxInstruction x)
    {
        string[] registers = PtxInstruction.Vector(x.Operands[x.Name == "ld" ? 0 : 1]);
        if (x.Has("local")) throw new PtxException("local memory is not known");
        if (registers.Length != (x.Has("v4") ? 4 : x.Has("v2") ? 2 : 1)) throw new PtxException("the vector has another length");
        string address = Address(x.Operands[x.Name == "ld" ? 1 : 0], out bool isParameter);
        string place = isParameter
            ? $"const u8 *at = t->parameters + {address};"
            : $"u8 *at = {Place(x, address, x.Type.Bytes * registers.Length, x.Name == "ld" ? "READ" : "WRITE")};";
        IEnumerable<string> moves = registers.Select((register, i) => x.Name == "ld"
            ? Format($"{{ {x.Type.C} v; memcpy(&v, at + {i * x.Type.Bytes}, {x.Type.Bytes}); {Write(register, x.Type, "v")} }}")
            : Format($"{{ {x.Type.C} v = {Read(register, x.Type)}; memcpy(at + {i * x.Type.Bytes}, &v, {x.Type.Bytes}); }}"));
        return $"{{ {place} {string.Join(' ', moves)} }}";
    }

    // The place of an access after its checks.
    private string Place(PtxInstruction x, string address, int bytes, string access)
    {
        if (x.Has("shared")) return Format($"machine->shared(t, {address}, {bytes}, {access}, {x.Line})");
        declarations.AppendLine(CultureInfo.InvariantCulture, $"static Site site_{sites} = {{ .line = {x.Line}, .regions = ~0u }};");
        return Format($"global(t, &site_{sites++}, {address}, {bytes}, {access})");
    }

    private string Atomic(PtxInstruction x)
    {
        int at = x.Name == "atom" ? 1 : 0;
        string[] kinds = ["add", "min", "max", "and", "or", "xor", "exch", "cas"];
        string kind = x.Parts.FirstOrDefault(p => Array.IndexOf(kinds, p) >= 0) ?? throw new PtxException("the operation is not known");
        string next = kind switch
        {
            "add" => "old + v",
            "min" => "v < old ? v : old",
            "max" => "v > old ? v : old",
            "and" => "old & v",
            "or" => "old | v",
            "xor" => "old ^ v",
            "exch" => "v",
            _ => $"old == v ? {Read(x.Operands[at + 2], x.Type)} : old",
        };
        string place = Place(x, Address(x.Operands[at], out _), x.Type.Bytes, "ATOMIC");
        string c = x.Type.C, size = x.Type.Bytes.ToString(CultureInfo.InvariantCulture);
        string result = at == 1 ? Write(x.Operands[0], x.Type, "old") : "";
        return $"{{ u8 *at = {place}; {c} old, v = {Read(x.Operands[at + 1], x.Type)}, next; "
            + $"memcpy(&old, at, {size}); next = {next}; memcpy(at, &next, {size}); {result} }}";
    }

    private string Compare(PtxInstruction x)
    {
        string a = Read(x.Operands[1], x.Type), b = Read(x.Operands[2], x.Type), how = x.Parts[1];
        string result = how switch
        {
            "equ" or "neu" or "ltu" or "leu" or "gtu" or "geu" => $"({a} != {a} || {b} != {b} || {a} {Operator(how[..^1])} {b})",
            "num" => $"({a} == {a} && {b} == {b})",
            "nan" => $"({a} != {a} || {b} != {b})",
            "ne" when x.Type.IsFloat => $"({a} == {a} && {b} == {b} && {a} != {b})",
            _ => $"({a} {Operator(how)} {b})",
        };
        if (x.Operands.Length > 3)
            result = $"({result} {Joining(x.Parts[2])} {Read(x.Operands[3], PtxType.Predicate)})";
        return Write(x.Operands[0], PtxType.Predicate, result);

        static string Joining(string how) => how switch
        {
            "and" => "&&",
            "or" => "||",
            "xor" => "^",
            _ => throw new PtxException("the operator is not known"),
        };

        static string Operator(string how) => how switch
        {
            "eq" => "==",
            "ne" => "!=",
            "lt" or "lo" => "<",
            "le" or "ls" => "<=",
            "gt" or "hi" => ">",
            "ge" or "hs" => ">=",
            _ => throw new PtxException($"comparison {how} is not known"),
        };
    }

    private string FloatArithmetic(PtxInstruction x)
    {
        string a = Read(x.Operands[1], x.Type), b = Read(x.Operands[2], x.Type);
        bool wide = x.Type.Bytes == 8;
        string value = x.Name switch
        {
            "fma" or "mad" => $"{(wide ? "fma" : "fmaf")}({a}, {b}, {Read(x.Operands[3], x.Type)})",
            "min" => $"{(wide ? "fmin" : "lesser")}({a}, {b})",
            "max" => $"{(wide ? "fmax" : "larger")}({a}, {b})",
            "add" => $"{a} + {b}",
            "sub" => $"{a} - {b}",
            "mul" => $"{a} * {b}",
            "div" => $"{a} / {b}",
            _ => throw new PtxException("there is no such operation on floats"),
        };
        return Write(x.Operands[0], x.Type, x.Has("ftz") ? throw new PtxException(".ftz is not known here") : value);
    }

    private string WholeArithmetic(PtxInstruction x)
    {
        PtxType type = x.Type, plain = type.Unsigned;
        string a = Read(x.Operands[1], type), b = Read(x.Operands[2], type);
        if (x.Name == "mul" && x.Has("wide")) return Write(x.Operands[0], type.Wide, $"({type.Wide.C}){a} * ({type.Wide.C}){b}");
        if (x.Name == "mul" && x.Has("hi"))
        {
            if (type.Bytes != 4) throw new PtxException("only products of 32 bits have a half here");
            return Write(x.Operands[0], type, $"(({type.Wide.C}){a} * ({type.Wide.C}){b}) >> 32");
        }
        if (x.Name is "div" or "rem") return Divide(x, a, b);
        if (x.Name is "min" or "max") return Write(x.Operands[0], type, $"{a} {(x.Name == "min" ? "<" : ">")} {b} ? {a} : {b}");
        (a, b) = (Read(x.Operands[1], plain), Read(x.Operands[2], plain));
        if (x.Name == "mad" && !x.Has("lo")) throw new PtxException("only mad.lo is known");
        return Write(x.Operands[0], type, x.Name switch
        {
            "add" => $"{a} + {b}",
            "sub" => $"{a} - {b}",
            "mul" => $"{a} * {b}",
            "mad" => $"{a} * {b} + {Read(x.Operands[3], plain)}",
            _ => throw new PtxException("there is no such operation on whole numbers"),
        });
    }

    // By zero PTX gives no defined result. The lowest number by −1 overflows, and C does not say to what.
    private string Divide(PtxInstruction x, string a, string b)
    {
        string c = x.Type.C, plain = x.Type.Unsigned.C, least = x.Name == "div" ? $"({c})(0 - ({plain})a)" : "0";
        string whole = $"a {(x.Name == "div" ? "/" : "%")} b", value = x.Type.IsSigned ? $"b == -1 ? {least} : {whole}" : whole;
        string byZero = Format($"machine->fail(t, \"division of whole numbers by zero\", {x.Line});");
        return $"{{ {c} a = {a}, b = {b}; if (!b) {byZero} {Write(x.Operands[0], x.Type, value)} }}";
    }

    private string Absolute(PtxInstruction x)
    {
        string a = Read(x.Operands[1], x.Type);
        return Write(x.Operands[0], x.Type, x.Type.IsFloat ? $"{(x.Type.Bytes == 4 ? "fabsf" : "fabs")}({a})" : $"{a} < 0 ? -{a} : {a}");
    }

    // By as many bits as there are or more, everything is shifted out. A negative number that loses a bit is rounded down, where a
    // division rounds towards zero: ILGPU makes such shifts of divisions, and no kernel means it so.
    private string Shift(PtxInstruction x)
    {
        bool isSigned = x.Name == "shr" && x.Type.IsSigned;
        string a = Read(x.Operands[1], x.Type), by = Read(x.Operands[2], u32), c = x.Type.C;
        string all = isSigned ? $"({a} < 0 ? -1 : 0)" : "0";
        string some = x.Name == "shl" ? $"({c})({Read(x.Operands[1], x.Type.Unsigned)} << {by})" : $"{a} >> {by}";
        string shifted = Write(x.Operands[0], x.Type, Format($"{by} >= {x.Type.Bits} ? {all} : {some}"));
        if (!isSigned) return shifted;
        string loses = Format($"{a} < 0 && ({by} >= {x.Type.Bits} || {a} & (((u64)1 << {by}) - 1))");
        return Format($"{{ if ({loses}) machine->doubt(t, \"signed shift that rounds a negative number down\", {x.Line}); {shifted} }}");
    }

    private string CountLeadingZeros(PtxInstruction x)
    {
        string a = Read(x.Operands[1], x.Type);
        return Write(x.Operands[0], u32, Format($"{a} ? __builtin_clz{(x.Type.Bytes == 8 ? "ll" : "")}({a}) : {x.Type.Bits}"));
    }

    // Exact or rounded once, where a card may err by a unit in the last place.
    private string Approximate(PtxInstruction x)
    {
        string a = Read(x.Operands[1], x.Type);
        if (x.Type.Bytes == 8)
            return Write(x.Operands[0], x.Type, x.Name switch
            {
                "sqrt" => $"sqrt({a})",
                "rcp" => $"1.0 / {a}",
                _ => throw new PtxException("there is no such operation on f64"),
            });
        bool flush = x.Has("ftz");
        if (flush) a = $"flush({a})";
        string value = x.Name switch
        {
            "ex2" => $"exp2f({a})",
            "lg2" => $"log2f({a})",
            "rcp" => $"1.0f / {a}",
            "rsqrt" => $"1.0f / sqrtf({a})",
            _ => $"sqrtf({a})",
        };
        return Write(x.Operands[0], x.Type, flush ? $"flush({value})" : value);
    }

    private string Convert(PtxInstruction x)
    {
        if (x.Has("bf16x2"))
            return Write(x.Operands[0], b32, $"bfloat16({Read(x.Operands[1], f32)}) << 16 | bfloat16({Read(x.Operands[2], f32)})");
        if (x.Has("tf32")) return Write(x.Operands[0], b32, $"tf32({Read(x.Operands[1], b32)})");
        PtxType to = PtxType.Of(x.Parts[^2]), from = x.Type;
        string a = Read(x.Operands[1], from), rounding = x.Parts[1..^2].FirstOrDefault(p => p is "rni" or "rmi" or "rpi" or "rzi") ?? "";
        if (!from.IsFloat) return Write(x.Operands[0], to, to.IsFloat ? $"({to.C}){a}" : a);
        string suffix = from.Bytes == 4 ? "f" : "";
        string whole = rounding switch
        {
            "rni" => $"nearbyint{suffix}({a})",
            "rmi" => $"floor{suffix}({a})",
            "rpi" => $"ceil{suffix}({a})",
            "rzi" => $"trunc{suffix}({a})",
            _ => a,
        };
        if (to.IsFloat) return Write(x.Operands[0], to, $"({to.C}){whole}");
        return Write(
            x.Operands[0],
            to,
            to.Suffix is "s32" or "u32" or "s64" ? $"to_{to.Suffix}({whole})" : throw new PtxException("there is no such conversion"));
    }

    // A generic address of shared memory is that of the block's copy of it.
    private string ConvertAddress(PtxInstruction x)
    {
        string a = Read(x.Operands[1], u64);
        return Write(x.Operands[0], u64, x.Has("shared") ? $"{a} {(x.Has("to") ? "-" : "+")} (u64)t->memory" : a);
    }

    private string Barrier(PtxInstruction x)
    {
        if (x.Has("warp"))
        {
            CheckMask(x.Operands[0]);
            return Meet(x, "WARP_BARRIER");
        }
        if (x.Parts[1] != "sync" || x.Operands.Length != 1) throw new PtxException("only bar.sync of a whole block is known");
        return Format($"machine->barrier(t, {x.Line});");
    }

    private string Shuffle(PtxInstruction x)
    {
        CheckMask(x.Operands[4]);
        string kind = x.Parts[2] switch
        {
            "bfly" => "BUTTERFLY",
            "idx" => "INDEX",
            "down" => "DOWN",
            "up" => "UP",
            _ => throw new PtxException("the kind of shuffle is not known"),
        };
        return $"{{ {Give(0, x.Operands[1])} {Give(1, x.Operands[2])} {Give(2, x.Operands[3])} "
            + $"{Meet(x, "SHUFFLE_" + kind)} {Write(x.Operands[0], b32, "t->out[0]")} }}";
    }

    private static void CheckMask(string mask)
    {
        if (mask is not ("0xffffffff" or "0xFFFFFFFF" or "-1" or "4294967295"))
            throw new PtxException($"only whole warps are known, not {mask}");
    }

    private string LoadMatrices(PtxInstruction x)
    {
        if (!x.Has("x4")) throw new PtxException("only four matrices at once are known");
        string meet = Meet(x, x.Has("trans") ? "LOAD_MATRICES_TRANSPOSED" : "LOAD_MATRICES");
        return $"{{ t->in[0] = (u32){Address(x.Operands[1], out _)}; {meet} {Take(x.Operands[0])} }}";
    }

    private string MultiplyMatrices(PtxInstruction x)
    {
        string[] operands = [.. x.Operands[1..].SelectMany(PtxInstruction.Vector)];
        string operation = x.Code switch
        {
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" => "MULTIPLY_BFLOAT16",
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" => "MULTIPLY_TF32",
            _ => throw new PtxException($"shape {x.Code} is not known"),
        };
        if (operands.Length != 10) throw new PtxException("four registers of a, two of b and four of c were expected");
        return $"{{ {string.Join(' ', operands.Select((o, i) => Give(i, o)))} {Meet(x, operation)} {Take(x.Operands[0])} }}";
    }

    private string CopyAsync(PtxInstruction x)
    {
        if (x.Has("commit_group")) return "machine->commit(t);";
        if (x.Has("wait_group")) return $"machine->wait(t, {x.Operands[0]});";
        if (x.Operands[2] != "16") throw new PtxException("only copies of 16 bytes are known");
        string bytes = x.Operands.Length > 3 ? Read(x.Operands[3], u32) : "16";
        return Format($"machine->copy(t, {Address(x.Operands[0], out _)}, {Address(x.Operands[1], out _)}, {bytes}, {x.Line});");
    }

    private string Give(int i, string operand) => Format($"t->in[{i}] = {Read(operand, b32)};");

    private static string Meet(PtxInstruction x, string operation) => Format($"machine->meet(t, {operation}, {x.Line});");

    private string Take(string vector) =>
        string.Join(' ', PtxInstruction.Vector(vector).Select((register, i) => Write(register, b32, Format($"t->out[{i}]"))));

    private static string Format(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
