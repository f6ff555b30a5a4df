namespace Nola.Cuda.Emulator;

/// <summary>The command line: what the driver calls, and what a person or a script does.</summary>
internal static class Program
{
    private static int Main(string[] arguments)
    {
        try
        {
            switch (arguments)
            {
                case ["translate", string ptx, string c]:
                    File.WriteAllText(c, Translator.Translate(File.ReadAllText(ptx)));
                    return 0;
                case ["driver"]:
                    Console.Out.WriteLine(DriverBuild.Make());
                    return 0;
                case ["report", .. string[] files] when files.Length > 0:
                    Console.Out.Write(Report.Of(files));
                    return 0;
                default:
                    Console.Error.WriteLine("usage: translate FILE.ptx FILE.c | driver (prints its directory) | report FILE… (of NOLA_EMULATOR_COUNTS)");
                    return 2;
            }
        }
        catch (Exception error) when (error is PtxException or InvalidOperationException or IOException)
        {
            Console.Error.WriteLine(error.Message);
            return 1;
        }
    }
}
