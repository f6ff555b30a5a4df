using System.CommandLine;
using Nola.Cli;

ParseResult parsed = CommandLine.Parse(args);
if (parsed.Errors.Count > 0) return Usage.Explain(parsed);

// Signals are listened to here, not by the library, which knows one time for all commands.
Signals.Listen();
return parsed.Invoke(new InvocationConfiguration { ProcessTerminationTimeout = null });
